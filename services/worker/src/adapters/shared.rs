//! What all workers know together about models, in two buckets.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_events::catalogue::{MODEL_SWITCH_BUCKET, MODEL_USE_BUCKET};
use millrace_router::{SWITCH_KEY, Shared, SharedError};
use millrace_runtime::broker::{Broker, BrokerError};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::clock::{Clock, Ids};
use millrace_runtime::kv::Kv;

/// The port of the router on buckets. The switch has one of its own, which a worker may read only.
pub struct SharedBuckets {
    switch: Bucket,
    used: Bucket,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl SharedBuckets {
    /// On the buckets that the bootstrap has made.
    pub fn new(broker: &Arc<dyn Broker>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        let bucket = |name: &str| Bucket::new(broker.clone(), name);
        Self { switch: bucket(MODEL_SWITCH_BUCKET), used: bucket(MODEL_USE_BUCKET), clock, ids }
    }

    fn bucket(&self, key: &str) -> &Bucket {
        if key == SWITCH_KEY { &self.switch } else { &self.used }
    }
}

#[async_trait]
impl Shared for SharedBuckets {
    async fn read(&self, key: &str) -> Result<Option<(Vec<u8>, u64)>, SharedError> {
        let entry = self.bucket(key).get(key).await.map_err(failed)?;
        Ok(entry.map(|entry| (entry.value, entry.revision)))
    }

    async fn write(&self, key: &str, value: &[u8], revision: Option<u64>) -> Result<bool, SharedError> {
        let bucket = self.bucket(key);
        let written = match revision {
            Some(revision) => bucket.update(key, value, revision).await,
            None => bucket.create(key, value).await,
        };
        written.map(|revision| revision.is_some()).map_err(failed)
    }

    fn now(&self) -> i64 {
        self.clock.now().as_micros()
    }

    fn ticket(&self) -> String {
        format!("{:032x}", self.ids.random())
    }
}

fn failed(error: BrokerError) -> SharedError {
    let passes = matches!(error, BrokerError::Timeout { .. } | BrokerError::Failed { .. });
    SharedError { message: error.to_string(), passes }
}
