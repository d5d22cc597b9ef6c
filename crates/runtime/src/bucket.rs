//! Key-value buckets over any broker, laid out as NATS's own tools do (NATS ADR-8): stream
//! `KV_<bucket>`, subject `$KV.<bucket>.<key>`, a deletion is a marker with the header `KV-Operation: DEL`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::broker::{Append, AppendError, Broker, BrokerError, Stored, wire};
use crate::kv::{Change, Entry, Kv};

const OPERATION: &str = "KV-Operation";
const DELETED: &str = "DEL";
/// The other marker, which NATS's tools write to forget the history of a key too.
const PURGED: &str = "PURGE";
/// Entries read at a time.
const PAGE: usize = 256;

/// The stream of a bucket.
pub(crate) fn stream(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// The subject of a key.
pub(crate) fn subject(bucket: &str, key: &str) -> String {
    format!("$KV.{bucket}.{key}")
}

/// One bucket. Keys are one or more subject tokens, such as `worker.01` .
#[derive(Clone)]
pub struct Bucket {
    broker: Arc<dyn Broker>,
    name: String,
}

impl Bucket {
    /// The bucket of that name, which the bootstrap has made.
    pub fn new(broker: Arc<dyn Broker>, name: impl Into<String>) -> Self {
        Self { broker, name: name.into() }
    }

    fn write(&self, key: &str, value: &[u8]) -> Append {
        Append::new(stream(&self.name), subject(&self.name, key), value.to_vec())
    }

    fn marker(&self, key: &str) -> Append {
        let mut marker = self.write(key, &[]);
        marker.headers.push((OPERATION.into(), DELETED.to_owned()));
        marker
    }

    async fn last(&self, key: &str) -> Result<Option<Stored>, BrokerError> {
        self.broker.last(&stream(&self.name), &subject(&self.name, key)).await
    }

    /// The new revision, or `None` when another message stands there.
    async fn write_after(&self, key: &str, value: &[u8], revision: u64) -> Result<Option<u64>, BrokerError> {
        self.append_after(self.write(key, value), revision).await
    }

    async fn append_after(&self, append: Append, revision: u64) -> Result<Option<u64>, BrokerError> {
        match self.broker.append(&append.expecting(revision)).await {
            Ok(appended) => Ok(Some(appended.sequence)),
            Err(AppendError::Conflict { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

#[async_trait]
impl Kv for Bucket {
    async fn get(&self, key: &str) -> Result<Option<Entry>, BrokerError> {
        Ok(self.last(key).await?.and_then(entry))
    }

    async fn create(&self, key: &str, value: &[u8]) -> Result<Option<u64>, BrokerError> {
        if let Some(revision) = self.write_after(key, value, 0).await? {
            return Ok(Some(revision));
        }
        // A marker is no entry: what stands there may be one.
        match self.last(key).await? {
            Some(marker) if is_marker(&marker) => self.write_after(key, value, marker.sequence).await,
            Some(_) => Ok(None),
            None => self.write_after(key, value, 0).await,
        }
    }

    async fn update(&self, key: &str, value: &[u8], revision: u64) -> Result<Option<u64>, BrokerError> {
        self.write_after(key, value, revision).await
    }

    async fn put(&self, key: &str, value: &[u8]) -> Result<u64, BrokerError> {
        let appended = self.broker.append(&self.write(key, value)).await.map_err(failed)?;
        Ok(appended.sequence)
    }

    async fn delete(&self, key: &str) -> Result<(), BrokerError> {
        // Without a look first: who writes a key need not be allowed to read the bucket.
        self.broker.append(&self.marker(key)).await.map(|_| ()).map_err(failed)
    }

    async fn delete_at(&self, key: &str, revision: u64, keep: Duration) -> Result<bool, BrokerError> {
        let mut marker = self.marker(key);
        marker.headers.push((wire::TTL.into(), wire::time_to_live(keep)));
        Ok(self.append_after(marker, revision).await?.is_some())
    }

    async fn changes(&self, revision: u64, limit: usize) -> Result<Vec<Change>, BrokerError> {
        let prefix = subject(&self.name, "");
        let changed = self.broker.read(&stream(&self.name), None, revision + 1, limit).await?.into_iter();
        let changes = changed.map(|message| Change {
            key: message.subject.strip_prefix(&prefix).unwrap_or_default().to_owned(),
            revision: message.sequence,
            value: entry(message).map(|entry| entry.value),
        });
        Ok(changes.collect())
    }

    async fn entries(&self) -> Result<Vec<(String, Entry)>, BrokerError> {
        let stream = stream(&self.name);
        let prefix = subject(&self.name, "");
        let mut entries = BTreeMap::new();
        let mut from = 1;
        loop {
            let page = self.broker.read(&stream, None, from, PAGE).await?;
            let is_last = page.len() < PAGE;
            for message in page {
                from = message.sequence + 1;
                let Some(key) = message.subject.strip_prefix(&prefix).map(str::to_owned) else { continue };
                match entry(message) {
                    Some(entry) => entries.insert(key, entry),
                    None => entries.remove(&key),
                };
            }
            if is_last {
                return Ok(entries.into_iter().collect());
            }
        }
    }
}

fn is_marker(message: &Stored) -> bool {
    matches!(message.header(OPERATION), Some(DELETED | PURGED))
}

fn entry(message: Stored) -> Option<Entry> {
    (!is_marker(&message)).then_some(Entry { revision: message.sequence, value: message.payload })
}

fn failed(error: AppendError) -> BrokerError {
    match error {
        AppendError::Broker(error) => error,
        AppendError::Forbidden { subject } => {
            BrokerError::Forbidden { operation: format!("write {subject}") }
        }
        other => {
            BrokerError::Failed { operation: "write to a bucket".to_owned(), message: other.to_string() }
        }
    }
}
