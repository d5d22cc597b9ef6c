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
    /// Where `.git` was put for the time of the command.
    git_aside: Option<PathBuf>,
    guard: Guard,
    given_back: bool,
}

impl Lent {
    /// Checks the workspace and, where commands run as somebody else, hands it over to them. `.git` is left
    /// alone: it stays read-only, and a local clone shares its objects with another repository by hard link.
    pub(crate) async fn lend(
        workspace: &Path,
        run_as: Option<RunAs>,
        guard: Guard,
    ) -> Result<Self, SandboxError> {
        let workspace = workspace.to_owned();
        blocking(move || Self::lend_now(&workspace, run_as, guard)).await
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

    /// Where `.git` is while it is not in the workspace.
    pub(crate) fn git_aside(&self) -> Option<PathBuf> {
        self.git_aside.clone()
    }

    fn lend_now(workspace: &Path, run_as: Option<RunAs>, guard: Guard) -> Result<Self, SandboxError> {
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
            git_aside: None,
            guard,
            given_back: false,
            run_as,
            root,
        };
        match guard {
            Guard::Mount => lent.guard_git()?,
            Guard::Aside => lent.put_git_aside()?,
        }
        if let Some(to) = run_as {
            hand_over(&lent.root, to)?;
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

    /// Moves `.git` next to the workspace, where the command may read and not write.
    fn put_git_aside(&mut self) -> Result<(), SandboxError> {
        let git = self.root.join(".git");
        let aside = aside_of(&self.root);
        // Still there from a process that was killed.
        if fs::symlink_metadata(&aside).is_ok() {
            remove_all(&git)?;
            fs::rename(&aside, &git).map_err(|source| SandboxError::io("moving back", &aside, source))?;
        }
        match fs::symlink_metadata(&git) {
            Ok(found) if found.is_dir() => {
                fs::rename(&git, &aside).map_err(|source| SandboxError::io("moving", &git, source))?;
                self.git_aside = Some(aside);
                Ok(())
            }
            Ok(_) => Err(SandboxError::refused(format!(
                "{} is not a directory, which cannot be kept from the command",
                git.display()
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(SandboxError::io("reading", &git, source)),
        }
    }

    fn give_back_now(&mut self) -> Result<(), SandboxError> {
        if std::mem::replace(&mut self.given_back, true) {
            return Ok(());
        }
        if self.git_stands_in {
            let git = self.root.join(".git");
            fs::remove_dir(&git).map_err(|source| SandboxError::io("removing", &git, source))?;
        }
        if self.guard == Guard::Aside {
            // Whatever a command made under this name is not a repository of ours.
            let git = self.root.join(".git");
            remove_all(&git)?;
            if let Some(aside) = self.git_aside.take() {
                fs::rename(&aside, &git).map_err(|source| SandboxError::io("moving back", &aside, source))?;
            }
        }
        match self.run_as {
            Some(_) => hand_over(&self.root, self.owner),
            None => Ok(()),
        }
    }
}

/// How `.git` is kept from a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// A read-only mount over it.
    Mount,
    /// It is somewhere else meanwhile.
    Aside,
}

fn aside_of(root: &Path) -> PathBuf {
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    root.with_file_name(format!(".millrace-git-of-{name}"))
}

fn remove_all(path: &Path) -> Result<(), SandboxError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| SandboxError::io("removing", path, source)),
    }
}

/// Makes a directory and everything in it somebody's, `.git` apart.
pub(crate) fn hand_over(root: &Path, to: RunAs) -> Result<(), SandboxError> {
    let (uid, gid) = (Uid::from_raw(to.uid), Gid::from_raw(to.gid));
    lchown(root, Some(to.uid), Some(to.gid))
        .and_then(|()| {
            tree::walk(root, &mut |parent, name, stat| {
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
        .map_err(|source| SandboxError::io("changing the owner of", root, source))
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
