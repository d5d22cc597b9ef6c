//! A broker behind a gate: while the gate is shut, every question goes unanswered.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::broker::{Append, AppendError, Appended, Broker, BrokerError, Consumer, Stored, StreamState};
use crate::inspect::Inspect;

/// Asks the gate before each call; a call that finds it shut ends as one that got no answer. The gate is
/// given the stream that is asked.
pub struct GatedBroker<Gate> {
    inner: Arc<dyn Broker>,
    gate: Gate,
}

impl<Gate: Fn(&str) -> bool + Send + Sync + 'static> GatedBroker<Gate> {
    /// `inner`, as long as `gate` says so.
    pub fn new(inner: Arc<dyn Broker>, gate: Gate) -> Self {
        Self { inner, gate }
    }

    fn pass(&self, stream: &str) -> Result<(), BrokerError> {
        if (self.gate)(stream) {
            return Ok(());
        }
        Err(BrokerError::Timeout { operation: stream.to_owned(), after: Duration::ZERO })
    }
}

#[async_trait]
impl<Gate: Fn(&str) -> bool + Send + Sync + 'static> Broker for GatedBroker<Gate> {
    async fn append(&self, message: &Append) -> Result<Appended, AppendError> {
        self.pass(&message.stream)?;
        self.inner.append(message).await
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<Option<Stored>, BrokerError> {
        self.pass(stream)?;
        self.inner.last(stream, subject).await
    }

    async fn get(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, BrokerError> {
        self.pass(stream)?;
        self.inner.get(stream, sequence).await
    }

    async fn read(
        &self,
        stream: &str,
        subject: Option<&str>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, BrokerError> {
        self.pass(stream)?;
        self.inner.read(stream, subject, from, limit).await
    }

    async fn stream_state(&self, stream: &str) -> Result<StreamState, BrokerError> {
        self.pass(stream)?;
        self.inner.stream_state(stream).await
    }

    async fn purge_subject(&self, stream: &str, subject: &str) -> Result<(), BrokerError> {
        self.pass(stream)?;
        self.inner.purge_subject(stream, subject).await
    }

    /// What is attached stays attached: deliveries do not go through the gate.
    async fn consumer(&self, stream: &str, durable: &str) -> Result<Box<dyn Consumer>, BrokerError> {
        self.inner.consumer(stream, durable).await
    }

    fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        self.inner.inspect()
    }
}
