//! The streams as the ledger's checks read them.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_ledger::{Extent, Ledger, ReadError, StoredEvent, StreamReader, Verified, verify};
use millrace_rpc::v1;
use millrace_runtime::broker::{Broker, BrokerError, Stored};

use crate::ports::{PortError, Verifier};

/// Reads streams through a [`Broker`].
pub struct BrokerStreams {
    broker: Arc<dyn Broker>,
}

impl BrokerStreams {
    /// Streams of `broker`, whose identity must be allowed to read them.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker }
    }
}

#[async_trait]
impl StreamReader for BrokerStreams {
    async fn read(&self, stream: &str, from: u64, limit: usize) -> Result<Vec<StoredEvent>, ReadError> {
        let found = self.broker.read(stream, None, from, limit).await;
        Ok(found.map_err(|error| ReadError(Box::new(error)))?.into_iter().map(stored).collect())
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

fn stored(message: Stored) -> StoredEvent {
    StoredEvent {
        stream: message.stream,
        subject: message.subject,
        sequence: message.sequence,
        time: message.time,
        headers: message.headers,
        payload: message.payload,
    }
}

/// Compares a ledger with the streams it was made from.
pub struct ChainVerifier {
    ledger: Ledger,
    streams: BrokerStreams,
}

impl ChainVerifier {
    /// Compares `ledger` with `streams`.
    pub fn new(ledger: Ledger, streams: BrokerStreams) -> Self {
        Self { ledger, streams }
    }
}

#[async_trait]
impl Verifier for ChainVerifier {
    async fn verify(&self) -> Result<Vec<v1::LogVerdict>, PortError> {
        let verified = verify(&self.ledger, &self.streams)
            .await
            .map_err(|error| PortError::unavailable("the ledger cannot be compared", error))?;
        Ok(verdicts(verified))
    }
}

/// One verdict for each stream that was walked.
pub fn verdicts(verified: Verified) -> Vec<v1::LogVerdict> {
    let intact = verified.heads.into_iter().map(|(stream, (sequence, hash))| v1::LogVerdict {
        stream,
        sequence,
        hash,
        intact: true,
        ..v1::LogVerdict::default()
    });
    let differs = verified.difference.map(|difference| v1::LogVerdict {
        problem: format!(
            "{}: the ledger has {}, the stream {}",
            difference.field, difference.ledger, difference.stream_has
        ),
        stream: difference.stream,
        sequence: difference.sequence.saturating_sub(1),
        intact: false,
        first_difference: difference.sequence,
        ..v1::LogVerdict::default()
    });
    intact.chain(differs).collect()
}
