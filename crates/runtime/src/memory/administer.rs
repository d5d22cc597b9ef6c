//! What an administrator, or bad luck, does to a server: made, changed, deleted, restored from an old copy.

use async_trait::async_trait;
use serde_json::Value;

use super::MemoryBroker;
use crate::bootstrap::{Declared, StreamDeclaration};
use crate::broker::BrokerError;
use crate::inspect::Inspect;

impl MemoryBroker {
    /// Makes what is missing, as the bootstrap does. A consumer made anew begins at the first message.
    pub fn declare(&self, declared: &Declared) {
        self.administer(|state| state.declare(declared));
    }

    /// Gives a stream another configuration; what it holds stays.
    pub fn reconfigure(&self, declaration: StreamDeclaration) {
        self.administer(|state| {
            if let Some(stream) = state.stream_mut(&declaration.name) {
                stream.declared = declaration;
            }
        });
    }

    /// Deletes a stream with all that it holds, its consumers too.
    pub fn delete_stream(&self, stream: &str) {
        self.administer(|state| state.delete_stream(stream));
    }

    /// Deletes a consumer.
    pub fn delete_consumer(&self, stream: &str, durable: &str) {
        self.administer(|state| {
            if let Some(stream) = state.stream_mut(stream) {
                stream.consumers.remove(durable);
            }
        });
    }

    /// Forgets every message behind `last`, as a server does that is restored from an old copy: the next
    /// message gets a sequence that was given before.
    pub fn roll_back(&self, stream: &str, last: u64) {
        self.administer(|state| {
            if let Some(stream) = state.stream_mut(stream) {
                stream.roll_back(last);
            }
        });
    }

    /// Removes one message, or gives it other bytes.
    pub fn tamper(&self, stream: &str, sequence: u64, payload: Option<Vec<u8>>) {
        self.administer(|state| {
            if let Some(stream) = state.stream_mut(stream) {
                stream.tamper(sequence, payload);
            }
        });
    }
}

#[async_trait]
impl Inspect for MemoryBroker {
    async fn stream_config(&self, stream: &str) -> Result<Option<Value>, BrokerError> {
        let mut config = None;
        self.administer(|state| {
            config = state.stream_mut(stream).map(|stream| Value::Object(stream.declared.config()));
        });
        Ok(config)
    }

    async fn consumer_config(&self, stream: &str, durable: &str) -> Result<Option<Value>, BrokerError> {
        let mut config = None;
        self.administer(|state| {
            let consumer = state.stream_mut(stream).and_then(|stream| stream.consumers.get(durable));
            config = consumer.map(|consumer| Value::Object(consumer.declared.config()));
        });
        Ok(config)
    }

    async fn unanswered(&self, stream: &str, durable: &str) -> Result<Option<u64>, BrokerError> {
        let mut unanswered = None;
        self.administer(|state| {
            let consumer = state.stream_mut(stream).and_then(|stream| stream.consumers.get(durable));
            unanswered = consumer.map(|consumer| consumer.pending.len() as u64);
        });
        Ok(unanswered)
    }
}
