//! Results on disk: made under another name and renamed when complete, so that a crash leaves nothing half.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{SetupError, digest};

/// A complete result.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) folder: PathBuf,
    pub(super) content_sha256: String,
}

const CONTENT: &str = "content";
const CHECKOUT: &str = "checkout";
const RECORD: &str = "result.json";
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Serialize, Deserialize)]
struct Record {
    content_sha256: String,
}

/// A result that was made before.
pub(super) fn find(cache: &Path, key: &str) -> Result<Option<Found>, SetupError> {
    let folder = cache.join(key);
    match fs::read(folder.join(RECORD)) {
        Ok(text) => {
            let record: Record =
                serde_json::from_slice(&text).map_err(|error| store("reading", &folder)(error.into()))?;
            Ok(Some(Found { folder: folder.join(CONTENT), content_sha256: record.content_sha256 }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(store("reading", &folder)(error)),
    }
}

/// Waits until nobody else, in whatever process, makes the same result.
pub(super) async fn turn(cache: &Path, key: &str, cancel: &CancellationToken) -> Result<File, SetupError> {
    fs::create_dir_all(cache).map_err(store("making", cache))?;
    let path = cache.join(format!("{key}.lock"));
    let open = File::options().create(true).write(true).truncate(false).open(&path);
    let lock = open.map_err(store("opening", &path))?;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(error)) => return Err(store("locking", &path)(error)),
            Err(TryLockError::WouldBlock) => tokio::select! {
                () = cancel.cancelled() => return Err(SetupError::Cancelled),
                () = sleep(LOOK_AGAIN) => {}
            },
        }
    }
}

/// A result in the making, with a copy of the checkout to make it in; both are removed when dropped.
pub(super) struct Staging {
    folder: PathBuf,
    kept: PathBuf,
}

impl Staging {
    /// Removes what an earlier process left, and copies the checkout without its `.git`.
    pub(super) async fn begin(cache: &Path, key: &str, checkout: &Path) -> Result<Self, SetupError> {
        let staging = Self { folder: cache.join(format!("{key}.part")), kept: cache.join(key) };
        let (folder, checkout) = (staging.folder.clone(), checkout.to_owned());
        blocking("copying the checkout to", &staging.folder, move || {
            remove(&folder)?;
            fs::create_dir_all(folder.join(CONTENT))?;
            // Commands run as somebody else, who must be able to look into the result, not into what is beside it.
            copy(&checkout, &folder.join(CHECKOUT), true)
        })
        .await?;
        Ok(staging)
    }

    pub(super) fn content(&self) -> PathBuf {
        self.folder.join(CONTENT)
    }

    pub(super) fn checkout(&self) -> PathBuf {
        self.folder.join(CHECKOUT)
    }

    /// Takes the result back from whom the step ran as, hashes it, and gives it its name.
    pub(super) async fn keep(self) -> Result<Found, SetupError> {
        let (folder, kept) = (self.folder.clone(), self.kept.clone());
        let content_sha256 = blocking("keeping", &self.kept, move || {
            remove(&folder.join(CHECKOUT))?;
            take_back(&folder.join(CONTENT))?;
            let content_sha256 = digest::of_tree(&folder.join(CONTENT))?;
            let record = serde_json::to_vec(&Record { content_sha256: content_sha256.clone() })?;
            fs::write(folder.join(RECORD), record)?;
            // The record is only ever seen with the folder's new name.
            remove(&kept)?;
            fs::rename(&folder, &kept)?;
            Ok(content_sha256)
        })
        .await?;
        Ok(Found { folder: self.kept.join(CONTENT), content_sha256 })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After `keep` there is nothing under this name; what cannot be removed is removed by the next attempt.
        let _ = remove(&self.folder);
    }
}

/// Makes a result ours, readable by all and writable by nobody.
fn take_back(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::lchown;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let found = fs::symlink_metadata(path)?;
    if found.is_symlink() {
        return lchown(path, Some(uid), Some(gid));
    }
    if !found.is_dir() && !found.is_file() {
        return fs::remove_file(path);
    }
    if uid == 0 {
        lchown(path, Some(uid), Some(gid))?;
    }
    let executable = found.is_dir() || found.permissions().mode() & 0o111 != 0;
    if found.is_dir() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        for entry in fs::read_dir(path)? {
            take_back(&entry?.path())?;
        }
    } else {
        fs::set_permissions(path, fs::Permissions::from_mode(if executable { 0o555 } else { 0o444 }))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, is_top: bool) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if is_top && entry.file_name() == ".git" {
            continue;
        }
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target, false)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

/// Directories may have taken away their own permissions.
fn open_up(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

fn store(action: &'static str, path: &Path) -> impl Fn(io::Error) -> SetupError {
    let path = path.to_owned();
    move |source| SetupError::Store { action, path: path.clone(), source }
}

async fn blocking<T: Send + 'static>(
    action: &'static str,
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, SetupError> {
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(store(action, path))
}
