//! Streams of the broker as the ledger reads them.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_ledger::{Extent, ReadError, StoredEvent, StreamReader, StreamWriter, WriteError};
use millrace_runtime::broker::{Append, AppendError, Broker, BrokerError, Stored};

/// How often an append is asked for that nobody answers.
const TRIES: u32 = 5;

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
        match self.broker.stream_state(stream).await {
            Ok(state) => Ok(Extent { first: state.first, last: state.last }),
            // A stream that was deleted holds nothing.
            Err(BrokerError::Missing { .. }) => Ok(Extent::default()),
            Err(error) => Err(ReadError(Box::new(error))),
        }
    }
}

/// Writes events back into streams that have lost them.
#[derive(Clone)]
pub struct BrokerWriter {
    broker: Arc<dyn Broker>,
}

impl BrokerWriter {
    /// Over `broker`, whose identity may write there.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker }
    }
}

#[async_trait]
impl StreamWriter for BrokerWriter {
    async fn write(&self, event: &StoredEvent) -> Result<u64, WriteError> {
        let StoredEvent { stream, subject, sequence, time, headers, payload } = event.clone();
        let stored = Stored { stream, subject, sequence, time, headers, payload };
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.broker.append(&Append::again(&stored)).await {
                Ok(appended) => return Ok(appended.sequence),
                Err(error) => error,
            };
            // An answer that was lost: the message may stand there.
            let held = self.broker.get(&stored.stream, stored.sequence).await;
            let is_there = held.is_ok_and(|held| held.is_some_and(|held| is_same(&held, &stored)));
            if is_there {
                return Ok(stored.sequence);
            }
            if tries == TRIES || !matches!(error, AppendError::Timeout { .. }) {
                return Err(WriteError(Box::new(error)));
            }
        }
    }
}

fn is_same(held: &Stored, stored: &Stored) -> bool {
    held.subject == stored.subject && held.headers == stored.headers && held.payload == stored.payload
}

/// A message of the broker as the ledger keeps it.
pub fn stored_event(stored: Stored) -> StoredEvent {
    let Stored { stream, subject, sequence, time, headers, payload } = stored;
    StoredEvent { stream, subject, sequence, time, headers, payload }
}
