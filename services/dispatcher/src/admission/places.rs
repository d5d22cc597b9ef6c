//! The places of those that wait: one entry a task, in a bucket that all dispatchers share.
//!
//! What stands there decides, not what a process remembers: another may have changed it a moment ago. An entry
//! is replaced and deleted by compare-and-swap only, and never for the sake of an earlier run: an effect that
//! comes late does nothing to the run after it.

use std::sync::Arc;
use std::time::Duration;

use millrace_runtime::broker::BrokerError;
use millrace_runtime::kv::{Change, Kv};
use serde::{Deserialize, Serialize};

/// How often a change is tried while others change the same entry.
const MAX_TRIES: usize = 64;
/// How long the marker of a deleted entry tells other dispatchers. One that was cut off for longer finds out
/// when it chooses the task.
const MARKER: Duration = Duration::from_secs(24 * 3600);

/// The bucket.
pub(super) struct Places(Arc<dyn Kv>);

/// An entry; its key is the task.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) run: u32,
    pub(super) repository: String,
    pub(super) domain: String,
    /// 1 (low) to 4 (urgent).
    pub(super) level: u8,
    /// Since when, in microseconds since the epoch.
    pub(super) since: i64,
}

impl Places {
    pub(super) fn new(bucket: Arc<dyn Kv>) -> Self {
        Self(bucket)
    }

    /// Gives a run its place, unless it has one. Whether it has one now: not where a later run has it.
    pub(super) async fn take(&self, task: &str, entry: &Entry) -> Result<bool, BrokerError> {
        let value = serde_json::to_vec(entry).unwrap_or_default();
        for _ in 0..MAX_TRIES {
            if self.0.create(task, &value).await?.is_some() {
                return Ok(true);
            }
            let Some(found) = self.0.get(task).await? else { continue };
            // What cannot be read is nobody's place.
            let run = read(&found.value).map_or(0, |entry| entry.run);
            if run >= entry.run {
                return Ok(run == entry.run);
            }
            if self.0.update(task, &value, found.revision).await?.is_some() {
                return Ok(true);
            }
        }
        Err(contended(task))
    }

    /// Gives up the place of a run, or of one before it of the same task.
    pub(super) async fn give_up(&self, task: &str, run: u32) -> Result<(), BrokerError> {
        for _ in 0..MAX_TRIES {
            let Some(found) = self.0.get(task).await? else { return Ok(()) };
            let is_later = read(&found.value).is_some_and(|entry| entry.run > run);
            if is_later || self.0.delete_at(task, found.revision, MARKER).await? {
                return Ok(());
            }
        }
        Err(contended(task))
    }

    /// Whether a task has a place.
    pub(super) async fn has(&self, task: &str) -> Result<bool, BrokerError> {
        Ok(self.0.get(task).await?.is_some())
    }

    /// What has changed after a revision.
    pub(super) async fn changes(&self, after: u64, limit: usize) -> Result<Vec<Change>, BrokerError> {
        self.0.changes(after, limit).await
    }
}

fn read(value: &[u8]) -> Option<Entry> {
    serde_json::from_slice(value).ok()
}

fn contended(task: &str) -> BrokerError {
    let message = format!("other dispatchers have changed the place of {task} {MAX_TRIES} times meanwhile");
    BrokerError::Failed { operation: "change a place in the queue".to_owned(), message }
}
