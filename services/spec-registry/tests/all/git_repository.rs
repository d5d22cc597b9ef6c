//! A git repository of a test.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub(crate) struct GitRepository {
    directory: TempDir,
}

impl GitRepository {
    /// A working tree with the branch `main` and nothing in it.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let repository = Self { directory };
        repository.git(&["init", "-q", "-b", "main", "work"], repository.directory.path());
        repository
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// Writes files and commits them.
    pub(crate) fn commit(&self, files: &[(&str, &[u8])]) {
        for (path, bytes) in files {
            let path = self.work().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        self.in_work(&["add", "--all"]);
        self.in_work(&["commit", "-q", "--allow-empty", "-m", "change"]);
    }

    /// A bare clone of what is committed.
    pub(crate) fn bare(&self) -> PathBuf {
        let bare = self.directory.path().join("bare.git");
        self.git(&["clone", "-q", "--bare", "work", "bare.git"], self.directory.path());
        bare
    }

    pub(crate) fn in_work(&self, arguments: &[&str]) {
        self.git(arguments, &self.work());
    }

    fn git(&self, arguments: &[&str], directory: &Path) {
        let status = Command::new("git")
            .args(["-c", "user.name=Test", "-c", "user.email=test@example.org"])
            .args(arguments)
            .current_dir(directory)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .status()
            .unwrap();
        assert!(status.success(), "git {arguments:?}");
    }
}
