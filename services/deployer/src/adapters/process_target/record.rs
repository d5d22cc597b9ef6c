//! What the target remembers, written whole or not at all, by one writer at a time.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Identity, KEPT_RELEASES, failed};
use crate::ports::TargetError;

/// How long to wait for another roll-out on the same target.
const LOCK_WAIT: Duration = Duration::from_secs(60);
const LOCK_POLL: Duration = Duration::from_millis(50);

/// The content of `target.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Where releases listen; 0 before the first.
    pub(super) port: u16,
    /// Counts starts, so that each has its own log and exit status.
    pub(super) generation: u64,
    /// The release rolled out last.
    pub(super) release: Option<Release>,
    /// Commits rolled out, newest first, without repetition, at most [`KEPT_RELEASES`].
    recent: Vec<String>,
}

/// One roll-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Release {
    pub(super) commit: String,
    pub(super) previous: Option<String>,
    pub(super) generation: u64,
    /// Absent from before the old process is stopped until the new one is held, and after it ended.
    pub(super) process: Option<Identity>,
    /// The process of the release before, until this one is held.
    replaces: Option<Identity>,
}

impl Release {
    pub(super) fn lives(&self) -> bool {
        self.process.as_ref().is_some_and(Identity::lives)
    }
}

impl Record {
    /// The process of this commit, if it is current and lives.
    pub(super) fn running(&self, commit: &str) -> Option<i32> {
        let release = self.release.as_ref()?;
        let process = release.process.as_ref()?;
        (release.commit == commit && process.lives()).then_some(process.pid)
    }

    pub(super) fn previous(&self) -> Option<String> {
        self.release.as_ref()?.previous.clone()
    }

    /// Whatever process there may be to stop.
    pub(super) fn process(&self) -> Option<Identity> {
        let release = self.release.as_ref()?;
        release.process.clone().or_else(|| release.replaces.clone())
    }

    /// Notes that a commit is about to be started; returns the process that it replaces.
    pub(super) fn begin(&mut self, commit: &str) -> Option<Identity> {
        let replaces = self.process();
        let previous = match self.release.take() {
            Some(release) if release.commit == commit => release.previous,
            Some(release) => Some(release.commit),
            None => None,
        };
        self.generation += 1;
        self.release = Some(Release {
            commit: commit.to_owned(),
            previous,
            generation: self.generation,
            process: None,
            replaces: replaces.clone(),
        });
        self.recent.retain(|recent| recent != commit);
        self.recent.insert(0, commit.to_owned());
        self.recent.truncate(KEPT_RELEASES);
        replaces
    }

    pub(super) fn adopt(&mut self, process: Identity) {
        if let Some(release) = &mut self.release {
            release.process = Some(process);
            release.replaces = None;
        }
    }

    pub(super) fn forget_process(&mut self) {
        if let Some(release) = &mut self.release {
            release.process = None;
            release.replaces = None;
        }
    }

    pub(super) fn keeps(&self, commit: &str) -> bool {
        self.recent.iter().any(|recent| recent == commit)
    }
}

/// The file and its lock.
pub(super) struct Store {
    target: String,
    root: PathBuf,
}

/// Held for the whole of a roll-out or stop; the kernel frees it when its holder dies.
pub(super) struct Lock(#[expect(dead_code, reason = "open is locked")] File);

impl Store {
    pub(super) fn new(target: &str, root: &Path) -> Self {
        Self { target: target.to_owned(), root: root.to_owned() }
    }

    pub(super) async fn lock(&self) -> Result<Lock, TargetError> {
        for directory in ["releases", "logs", "data"] {
            let directory = self.root.join(directory);
            tokio::fs::create_dir_all(&directory).await.map_err(failed("create", &directory))?;
        }
        let path = self.root.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed("open", &path))?;
        let end = Instant::now() + LOCK_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= end => {
                    return Err(TargetError::Busy { target: self.target.clone() });
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
            }
        }
    }

    pub(super) async fn load(&self) -> Result<Record, TargetError> {
        let path = self.path();
        match tokio::fs::read(&path).await {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| TargetError::Damaged { path, source })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Record::default()),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    pub(super) async fn save(&self, record: &Record) -> Result<(), TargetError> {
        let path = self.path();
        let bytes = serde_json::to_vec_pretty(record)
            .map_err(|source| TargetError::Damaged { path: path.clone(), source })?;
        let root = self.root.clone();
        let destination = path.clone();
        tokio::task::spawn_blocking(move || replace(&root, &destination, &bytes))
            .await
            .unwrap_or_else(|failure| Err(std::io::Error::other(failure)))
            .map_err(failed("write", &path))
    }

    fn path(&self) -> PathBuf {
        self.root.join("target.json")
    }
}

fn replace(root: &Path, destination: &Path, bytes: &[u8]) -> Result<(), std::io::Error> {
    let mut file = tempfile::NamedTempFile::new_in(root)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(destination)?;
    File::open(root)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn own() -> Identity {
        Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap()
    }

    #[test]
    fn a_repeated_start_keeps_the_previous_release() {
        let mut record = Record::default();
        for commit in ["a", "b", "b"] {
            assert_eq!(record.begin(commit), None);
        }
        assert_eq!(record.previous().as_deref(), Some("a"));
        assert_eq!(record.generation, 3);
    }

    #[test]
    fn a_crash_before_the_old_process_ended_does_not_lose_it() {
        let mut record = Record::default();
        record.begin("a");
        record.adopt(own());
        assert!(record.running("a").is_some());
        assert_eq!(record.begin("b"), Some(own()));
        assert_eq!(record.running("a"), None);
        assert_eq!(record.begin("b"), Some(own()), "a second try stops it too");
        record.adopt(own());
        record.forget_process();
        assert_eq!(record.process(), None);
    }

    #[test]
    fn the_last_three_are_kept() {
        let mut record = Record::default();
        for commit in ["a", "b", "c", "a", "d"] {
            record.begin(commit);
        }
        let kept: Vec<&str> =
            ["a", "b", "c", "d"].into_iter().filter(|commit| record.keeps(commit)).collect();
        assert_eq!(kept, ["a", "c", "d"]);
    }
}
