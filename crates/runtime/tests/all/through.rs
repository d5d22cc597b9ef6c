//! A broker in front of another one, with a say in what becomes of each append.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_runtime::broker::{
    Append, AppendError, Appended, Broker, BrokerError, Consumer, Stored, StreamState,
};

/// What becomes of an append.
pub(crate) enum Fate {
    Passes,
    /// Nothing is stored, and no answer comes.
    Hangs,
    /// It is stored, and the answer is lost.
    StoredUnanswered,
}

/// Passes everything on, appends as it is told.
pub(crate) struct Through<F> {
    inner: Arc<dyn Broker>,
    fate: F,
}

impl<F: Fn(&Append) -> Fate> Through<F> {
    pub(crate) fn new(inner: Arc<dyn Broker>, fate: F) -> Self {
        Self { inner, fate }
    }
}

#[async_trait]
impl<F: Fn(&Append) -> Fate + Send + Sync + 'static> Broker for Through<F> {
    async fn append(&self, message: &Append) -> Result<Appended, AppendError> {
        match (self.fate)(message) {
            Fate::Passes => self.inner.append(message).await,
            Fate::Hangs => std::future::pending().await,
            Fate::StoredUnanswered => {
                let _unanswered = self.inner.append(message).await?;
                let operation = format!("an append on {}", message.subject);
                Err(BrokerError::Timeout { operation, after: Duration::from_secs(2) }.into())
            }
        }
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<Option<Stored>, BrokerError> {
        self.inner.last(stream, subject).await
    }

    async fn get(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, BrokerError> {
        self.inner.get(stream, sequence).await
    }

    async fn read(
        &self,
        stream: &str,
        subject: Option<&str>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, BrokerError> {
        self.inner.read(stream, subject, from, limit).await
    }

    async fn stream_state(&self, stream: &str) -> Result<StreamState, BrokerError> {
        self.inner.stream_state(stream).await
    }

    async fn purge_subject(&self, stream: &str, subject: &str) -> Result<(), BrokerError> {
        self.inner.purge_subject(stream, subject).await
    }

    async fn consumer(&self, stream: &str, durable: &str) -> Result<Box<dyn Consumer>, BrokerError> {
        self.inner.consumer(stream, durable).await
    }

    fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }
}
