//! The folder of one worker identity, with a folder for each order that is being worked on.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The folder, locked: two processes of one identity would throw each other's work away.
#[derive(Debug)]
pub struct Workplace {
    root: PathBuf,
    _lock: File,
}

impl Workplace {
    /// Takes the folder of the identity `id` below `directory`, and removes what a killed process left there.
    ///
    /// # Errors
    /// It cannot be made, or another process of this identity has it.
    pub fn take(directory: &Path, id: &str) -> io::Result<Self> {
        let root = std::path::absolute(directory)?.join(id);
        fs::create_dir_all(&root)?;
        let lock_path = root.join(LOCK);
        let lock = File::options().create(true).write(true).truncate(false).open(&lock_path)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other(format!(
                "another process works as `{id}` in {}; give each worker its own [worker] id",
                root.display()
            )),
            TryLockError::Error(error) => error,
        })?;
        for entry in fs::read_dir(&root)? {
            let entry = entry?;
            if entry.file_name() != LOCK {
                tracing::info!(path = %entry.path().display(), "removing what an earlier process left behind");
                remove(&entry.path())?;
            }
        }
        Ok(Self { root, _lock: lock })
    }

    /// Where an order is worked on.
    pub fn folder(&self, order: &str) -> PathBuf {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let name: String = order.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
        self.root.join(name)
    }
}

/// Makes a folder, empty.
pub(crate) fn prepare(folder: &Path) -> io::Result<()> {
    remove(folder)?;
    fs::create_dir_all(folder)
}

const LOCK: &str = "lock";

/// Removes a folder with everything in it, also where a command took away its own permissions. What is not
/// there is removed already.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    match remove_once(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            for entry in walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok) {
                if entry.file_type().is_dir() {
                    fs::set_permissions(entry.path(), Permissions::from_mode(0o700))?;
                }
            }
            remove_once(folder)
        }
        other => other,
    }
}

fn remove_once(folder: &Path) -> io::Result<()> {
    match fs::symlink_metadata(folder) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(folder),
        Ok(_) => fs::remove_file(folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_go_and_one_identity_has_one_process() {
        let directory = tempfile::tempdir().unwrap();
        let first = Workplace::take(directory.path(), "w1").unwrap();
        let folder = first.folder("VTID-01213/1.1/change/1");
        prepare(&folder).unwrap();
        assert_eq!(folder, directory.path().join("w1/VTID-01213-1-1-change-1"));
        fs::create_dir(folder.join("sealed")).unwrap();
        fs::write(folder.join("sealed/file"), "x").unwrap();
        fs::set_permissions(folder.join("sealed"), Permissions::from_mode(0o000)).unwrap();

        let refused = Workplace::take(directory.path(), "w1").unwrap_err();
        assert!(refused.to_string().contains("another process works as `w1`"), "{refused}");
        assert!(folder.exists());
        let _other = Workplace::take(directory.path(), "w2").unwrap();

        drop(first);
        let _again = Workplace::take(directory.path(), "w1").unwrap();
        assert!(!folder.exists());
    }
}
