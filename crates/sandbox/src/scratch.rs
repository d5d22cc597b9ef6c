//! The folder that a sandbox needs beside its workspace, and the ones that killed processes left behind.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tempfile::TempDir;

/// Every folder's name begins so.
const PREFIX: &str = "millrace-sandbox-";
/// Locked for as long as the process lives that made the folder: the kernel lets go of a lock, whatever
/// happens to its holder, and it holds across process tables and restarts, as a number in a file does not.
const LOCK: &str = "lock";

/// A folder that every user may read, removed when dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    // Before the lock: fields are dropped in order, and nobody else may sweep what is being removed.
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// A new, empty folder below `parent`.
    pub(crate) fn create(parent: &Path) -> io::Result<Self> {
        let open = || fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().prefix(PREFIX).permissions(open()).tempdir_in(parent)?;
        // The mode above passes through the umask; this one does not.
        fs::set_permissions(folder.path(), open())?;
        // Locked first and named then, so that a sweep never finds a lock that is not held yet.
        let unnamed = folder.path().join("unlocked");
        let lock = File::create_new(&unnamed)?;
        lock.lock()?;
        fs::rename(unnamed, folder.path().join(LOCK))?;
        Ok(Self { folder, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes our own folders below `parent` that no living process holds. What cannot be removed stays: it is
/// a few files, and no reason to refuse work.
pub(crate) fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether the folder is ours alone to write and its lock is free. `parent` may be open to everyone: what
/// others put there under such a name is not touched, and not even opened.
fn is_abandoned(folder: &Path) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    let private = |found: &fs::Metadata| found.uid() == ours && found.mode() & 0o022 == 0;
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir() && private(&found));
    let lock = folder.join(LOCK);
    let is_lock = fs::symlink_metadata(&lock).is_ok_and(|found| found.is_file());
    is_folder && is_lock && File::open(lock).is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_folders_of_ours_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let held = Scratch::create(parent.path()).unwrap();
        // A killed process: the folder is there, and nobody holds the lock.
        let Scratch { folder, _lock } = Scratch::create(parent.path()).unwrap();
        let abandoned = folder.keep();
        drop(_lock);
        let other = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            File::create(path.join(LOCK)).unwrap();
            path
        };
        let (unrelated, writable) = (other("something-else"), other("millrace-sandbox-writable"));
        fs::set_permissions(&writable, fs::Permissions::from_mode(0o777)).unwrap();
        let link = parent.path().join("millrace-sandbox-link");
        std::os::unix::fs::symlink(&unrelated, &link).unwrap();
        sweep(parent.path());
        assert!(!abandoned.exists());
        for kept in [held.path(), &unrelated.join(LOCK), &writable.join(LOCK), &link] {
            assert!(kept.exists(), "{}", kept.display());
        }
        let path = held.path().to_owned();
        drop(held);
        assert!(!path.exists());
    }
}
