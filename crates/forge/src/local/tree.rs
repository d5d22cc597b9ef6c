//! Files of a commit: one of them, or all of them in a directory.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::repository::Repository;
use crate::error::ForgeError;
use crate::names::check_path;

pub(super) async fn read_file(
    repository: &Repository,
    commit: &str,
    path: &str,
) -> Result<Option<Vec<u8>>, ForgeError> {
    check_path(path)?;
    repository.require_commit(commit).await?;
    let listing = repository
        .git()
        .run(["--literal-pathspecs", "ls-tree", "--full-tree", "-z", commit, "--", path])
        .await?
        .text();
    // `<mode> <type> <id>\t<path>\0`; a mode of 100… is a regular file, which a link is not.
    let Some(id) = listing.strip_prefix("100").and_then(|entry| entry.split(['\t', ' ']).nth(2)) else {
        return Ok(None);
    };
    let blob = repository.git().run(["cat-file", "blob", id]).await?;
    Ok(Some(blob.stdout))
}

pub(super) async fn checkout(repository: &Repository, commit: &str, into: &Path) -> Result<(), ForgeError> {
    repository.require_commit(commit).await?;
    let not_empty = || ForgeError::DirectoryNotEmpty { directory: into.to_owned() };
    if is_occupied(into).await? {
        return Err(not_empty());
    }
    let parent = into.parent().unwrap_or(Path::new("/"));
    tokio::fs::create_dir_all(parent).await.map_err(|source| failed("create", parent, source))?;
    // Beside the destination, so that the rename stays inside one file system.
    let scratch = tempfile::Builder::new()
        .prefix(".checkout-")
        .tempdir_in(parent)
        .map_err(|source| failed("create a directory in", parent, source))?;
    let tree = scratch.path().join("tree");
    tokio::fs::create_dir(&tree).await.map_err(|source| failed("create", &tree, source))?;
    let git = repository
        .git()
        .clone()
        .with_variable("GIT_INDEX_FILE", scratch.path().join("index"))
        .with_variable("GIT_DIR", repository.directory().await?)
        .with_variable("GIT_WORK_TREE", &tree);
    git.run(["read-tree", commit]).await?;
    git.run(["checkout-index", "--all", "--force"]).await?;
    let readable = tree.clone();
    tokio::task::spawn_blocking(move || make_readable(&readable))
        .await
        .unwrap_or_else(|failure| Err(std::io::Error::other(failure)))
        .map_err(|source| failed("set the permissions in", &tree, source))?;
    match tokio::fs::rename(&tree, into).await {
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Err(not_empty()),
        other => other.map_err(|source| failed("create", into, source)),
    }
}

async fn is_occupied(directory: &Path) -> Result<bool, ForgeError> {
    match tokio::fs::read_dir(directory).await {
        Ok(mut entries) => {
            Ok(entries.next_entry().await.map_err(|source| failed("read", directory, source))?.is_some())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(true),
        Err(source) => Err(failed("read", directory, source)),
    }
}

/// Git applies this process's umask; a release is run by another user.
fn make_readable(tree: &Path) -> Result<(), std::io::Error> {
    for entry in walkdir::WalkDir::new(tree).follow_links(false) {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_symlink() {
            continue;
        }
        let runs = metadata.is_dir() || metadata.permissions().mode() & 0o100 != 0;
        let mode = if runs { 0o755 } else { 0o644 };
        std::fs::set_permissions(entry.path(), Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn failed(verb: &str, path: &Path, source: std::io::Error) -> ForgeError {
    ForgeError::Io { action: format!("{verb} {}", path.display()), source }
}
