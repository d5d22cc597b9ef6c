//! Streams of the broker as the ledger reads them.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_ledger::{Extent, ReadError, StoredEvent, StreamReader};
use millrace_runtime::broker::{Broker, Stored};

/// Reads streams through a broker; for following, verifying and rebuilding.
#[derive(Clone)]
pub struct BrokerReader {
    broker: Arc<dyn Broker>,
}

impl BrokerReader {
    /// Over `broker`.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker }
    }
}

#[async_trait]
impl StreamReader for BrokerReader {
    async fn read(&self, stream: &str, from: u64, limit: usize) -> Result<Vec<StoredEvent>, ReadError> {
        let found = self.broker.read(stream, None, from, limit).await;
        let found = found.map_err(|error| ReadError(Box::new(error)))?;
        Ok(found.into_iter().map(stored_event).collect())
    }

    async fn extent(&self, stream: &str) -> Result<Extent, ReadError> {
        let state = self.broker.stream_state(stream).await.map_err(|error| ReadError(Box::new(error)))?;
        Ok(Extent { first: state.first, last: state.last })
    }
}

/// A message of the broker as the ledger keeps it.
pub fn stored_event(stored: Stored) -> StoredEvent {
    let Stored { stream, subject, sequence, time, headers, payload } = stored;
    StoredEvent { stream, subject, sequence, time, headers, payload }
}
