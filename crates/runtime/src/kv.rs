//! What is not history: leases, slots, heartbeats. Compare-and-swap over one entry per key.

use std::time::Duration;

use async_trait::async_trait;

use crate::broker::BrokerError;

/// A bucket of entries, each with a revision.
#[async_trait]
pub trait Kv: Send + Sync + 'static {
    /// The entry, as the leader knows it; `None` when there is none, or it has expired.
    async fn get(&self, key: &str) -> Result<Option<Entry>, BrokerError>;
    /// Makes an entry that does not exist. The revision, or `None` when somebody was first.
    async fn create(&self, key: &str, value: &[u8]) -> Result<Option<u64>, BrokerError>;
    /// Replaces an entry if it still is at `revision`, which also renews its life. The new revision, or
    /// `None` when it has moved on, expired or been deleted.
    async fn update(&self, key: &str, value: &[u8], revision: u64) -> Result<Option<u64>, BrokerError>;
    /// Writes an entry whatever stands there.
    async fn put(&self, key: &str, value: &[u8]) -> Result<u64, BrokerError>;
    /// Deletes an entry. Deleting what is not there changes nothing.
    async fn delete(&self, key: &str) -> Result<(), BrokerError>;
    /// Deletes an entry if it still is at `revision`. Whether it was; `false` when it has moved on, expired or
    /// been deleted. The marker stays for `keep`, in whole seconds rounded up. For a bucket that is declared to
    /// take life spans of single messages.
    async fn delete_at(&self, key: &str, revision: u64, keep: Duration) -> Result<bool, BrokerError>;
    /// What has changed after `revision`, at most `limit` changes, oldest first; of a key that has changed
    /// several times the last change only. May be answered by a follower, so the newest may be missing.
    async fn changes(&self, revision: u64, limit: usize) -> Result<Vec<Change>, BrokerError>;
    /// All keys with their entries; for small buckets.
    async fn entries(&self) -> Result<Vec<(String, Entry)>, BrokerError>;
}

/// What stands under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// Grows with every change; the base of compare-and-swap.
    pub revision: u64,
}

/// A change of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// Its revision since.
    pub revision: u64,
    /// The value; `None`: deleted.
    pub value: Option<Vec<u8>>,
}
