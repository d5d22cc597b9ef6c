//! What is not history: leases, slots, heartbeats. Compare-and-swap over one entry per key.

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
