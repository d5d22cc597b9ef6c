//! A workspace on loan to a command: checked, owned by whom the command runs as, and given back.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Uid};

use crate::error::SandboxError;
use crate::sandbox::RunAs;
use crate::tree;

/// The workspace while a command may write to it. Dropping it gives the workspace back all the same.
#[derive(Debug)]
pub(crate) struct Lent {
    root: PathBuf,
    run_as: Option<RunAs>,
    owner: RunAs,
    /// `.git` did not exist: an empty one stands in, so that a command cannot make its own with hooks in it.
    git_stands_in: bool,
    given_back: bool,
}

impl Lent {
    /// Checks the workspace and, where commands run as somebody else, hands it over to them. `.git` is left
    /// alone: it stays read-only, and a local clone shares its objects with another repository by hard link.
    pub(crate) async fn lend(workspace: &Path, run_as: Option<RunAs>) -> Result<Self, SandboxError> {
        let workspace = workspace.to_owned();
        blocking(move || Self::lend_now(&workspace, run_as)).await
    }

    /// Gives the workspace back to its owner; called after the last process of the command is gone.
    pub(crate) async fn give_back(mut self) -> Result<(), SandboxError> {
        blocking(move || self.give_back_now()).await
    }

    /// The workspace, without symbolic links.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whom the command runs as, if not as ourselves.
    pub(crate) fn run_as(&self) -> Option<RunAs> {
        self.run_as
    }

    fn lend_now(workspace: &Path, run_as: Option<RunAs>) -> Result<Self, SandboxError> {
        let root = fs::canonicalize(workspace)
            .map_err(|source| SandboxError::io("finding the workspace", workspace, source))?;
        let found =
            fs::metadata(&root).map_err(|source| SandboxError::io("reading the workspace", &root, source))?;
        if !found.is_dir() || root == Path::new("/") {
            let shown = root.display();
            return Err(SandboxError::refused(format!("workspace {shown} is not a directory of its own")));
        }
        let mut lent = Self {
            owner: RunAs { uid: found.uid(), gid: found.gid() },
            git_stands_in: false,
            given_back: false,
            run_as,
            root,
        };
        lent.guard_git()?;
        if let Some(to) = run_as {
            lent.hand_to(to)?;
        }
        Ok(lent)
    }

    fn guard_git(&mut self) -> Result<(), SandboxError> {
        let git = self.root.join(".git");
        match fs::symlink_metadata(&git) {
            Ok(found) if found.is_symlink() => Err(SandboxError::refused(format!(
                "{} is a symbolic link, which cannot be made read-only",
                git.display()
            ))),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(&git).map_err(|source| SandboxError::io("creating", &git, source))?;
                self.git_stands_in = true;
                Ok(())
            }
            Err(source) => Err(SandboxError::io("reading", &git, source)),
        }
    }

    fn hand_to(&self, to: RunAs) -> Result<(), SandboxError> {
        let (uid, gid) = (Uid::from_raw(to.uid), Gid::from_raw(to.gid));
        lchown(&self.root, Some(to.uid), Some(to.gid))
            .and_then(|()| {
                tree::walk(&self.root, &mut |parent, name, stat| {
                    if (stat.st_uid, stat.st_gid) == (to.uid, to.gid) {
                        return Ok(());
                    }
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    match rustix::fs::chownat(parent, name, Some(uid), Some(gid), flags) {
                        Err(rustix::io::Errno::NOENT) => Ok(()),
                        other => Ok(other?),
                    }
                })
            })
            .map_err(|source| SandboxError::io("changing the owner of", &self.root, source))
    }

    fn give_back_now(&mut self) -> Result<(), SandboxError> {
        if std::mem::replace(&mut self.given_back, true) {
            return Ok(());
        }
        if self.git_stands_in {
            let git = self.root.join(".git");
            fs::remove_dir(&git).map_err(|source| SandboxError::io("removing", &git, source))?;
        }
        match self.run_as {
            Some(_) => self.hand_to(self.owner),
            None => Ok(()),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Reached when the run was dropped or failed to start. The owner is ourselves or someone with less,
        // and the walk follows no link, so doing it beside a dying command gives nothing away.
        let _ = self.give_back_now();
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SandboxError> + Send + 'static,
) -> Result<T, SandboxError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(SandboxError::io("preparing", "the workspace", io::Error::other(error))),
    }
}
