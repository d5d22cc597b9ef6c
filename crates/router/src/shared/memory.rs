//! The port [`Shared`] in memory, by the runtime's clock, which tests may stop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Shared, SharedError};

/// Values and revisions.
type Entries = BTreeMap<String, (Vec<u8>, u64)>;

/// Clones share everything, as workers at one server do.
#[derive(Debug, Clone)]
pub struct MemoryShared {
    entries: Arc<Mutex<Entries>>,
    revisions: Arc<AtomicU64>,
    began: (i64, Instant),
}

impl MemoryShared {
    /// Empty; it is `now` microseconds after 1970.
    #[must_use]
    pub fn at(now: i64) -> Self {
        Self { entries: Arc::default(), revisions: Arc::default(), began: (now, Instant::now()) }
    }

    /// Writes whatever stands there.
    pub fn put(&self, key: &str, value: &[u8]) {
        let revision = self.next();
        self.lock().insert(key.to_owned(), (value.to_vec(), revision));
    }

    fn next(&self) -> u64 {
        self.revisions.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Shared for MemoryShared {
    async fn read(&self, key: &str) -> Result<Option<(Vec<u8>, u64)>, SharedError> {
        // As a server would: whoever else is ready goes first.
        tokio::task::yield_now().await;
        Ok(self.lock().get(key).cloned())
    }

    async fn write(&self, key: &str, value: &[u8], revision: Option<u64>) -> Result<bool, SharedError> {
        tokio::task::yield_now().await;
        let next = self.next();
        let mut entries = self.lock();
        if entries.get(key).map(|(_, revision)| *revision) != revision {
            return Ok(false);
        }
        entries.insert(key.to_owned(), (value.to_vec(), next));
        Ok(true)
    }

    fn now(&self) -> i64 {
        let (start, instant) = self.began;
        start + i64::try_from(instant.elapsed().as_micros()).unwrap_or(i64::MAX / 2)
    }

    fn ticket(&self) -> String {
        self.next().to_string()
    }
}
