//! Looking at what a server keeps, without touching it: the seam through which a watchdog compares the
//! server with what is declared.

use async_trait::async_trait;
use serde_json::Value;

use crate::broker::BrokerError;
use crate::nats::NatsBroker;

/// Reads configurations. Needs no more than permission to look.
#[async_trait]
pub trait Inspect: Send + Sync + 'static {
    /// The configuration of a stream as the server has it; `None` when there is no such stream.
    async fn stream_config(&self, stream: &str) -> Result<Option<Value>, BrokerError>;

    /// The configuration of a consumer as the server has it; `None` when there is no such consumer.
    async fn consumer_config(&self, stream: &str, durable: &str) -> Result<Option<Value>, BrokerError>;

    /// Deliveries of a consumer that are unanswered just now; `None` when there is no such consumer.
    async fn unanswered(&self, stream: &str, durable: &str) -> Result<Option<u64>, BrokerError>;
}

#[async_trait]
impl Inspect for NatsBroker {
    async fn stream_config(&self, stream: &str) -> Result<Option<Value>, BrokerError> {
        Self::stream_config(self, stream).await
    }

    async fn consumer_config(&self, stream: &str, durable: &str) -> Result<Option<Value>, BrokerError> {
        Self::consumer_config(self, stream, durable).await
    }

    async fn unanswered(&self, stream: &str, durable: &str) -> Result<Option<u64>, BrokerError> {
        Self::unanswered(self, stream, durable).await
    }
}
