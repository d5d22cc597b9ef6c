//! All streams, under one lock, moved on by the clock before every operation.

use std::collections::BTreeMap;

use millrace_decider::Timestamp;

use super::stream::{CheckOrder, MemoryStream};
use crate::bootstrap::Declared;
use crate::broker::{Append, AppendError, Appended, BrokerError, Stored};
use crate::memory::consumer::MemoryConsumer;

/// Where a durable consumer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerState {
    /// Its stream.
    pub stream: String,
    /// Its name.
    pub durable: String,
    /// Messages that were delivered and not acknowledged.
    pub unanswered: usize,
    /// Messages that were never delivered.
    pub undelivered: usize,
}

#[derive(Default)]
pub(super) struct State {
    streams: BTreeMap<String, MemoryStream>,
}

impl State {
    pub(super) fn declare(&mut self, declared: &Declared) {
        for stream in &declared.streams {
            self.streams.entry(stream.name.clone()).or_insert_with(|| MemoryStream::new(stream.clone()));
        }
        for consumer in &declared.consumers {
            if let Some(stream) = self.streams.get_mut(&consumer.stream) {
                let made = MemoryConsumer::new(consumer.clone());
                stream.consumers.entry(consumer.durable.clone()).or_insert(made);
            }
        }
    }

    /// The stream, for whoever administers the server.
    pub(super) fn stream_mut(&mut self, name: &str) -> Option<&mut MemoryStream> {
        self.streams.get_mut(name)
    }

    pub(super) fn delete_stream(&mut self, name: &str) {
        self.streams.remove(name);
    }

    /// The stream, as of now.
    pub(super) fn stream(&mut self, name: &str, now: Timestamp) -> Result<&mut MemoryStream, BrokerError> {
        let stream = self.streams.get_mut(name);
        let stream = stream.ok_or_else(|| BrokerError::Missing { what: format!("stream {name}") })?;
        stream.settle(now);
        Ok(stream)
    }

    /// The subject decides which stream takes a message, as on a server.
    pub(super) fn append(
        &mut self,
        append: &Append,
        now: Timestamp,
        order: CheckOrder,
    ) -> Result<Appended, AppendError> {
        let Append { subject, stream: wanted, .. } = append;
        let takes = |stream: &MemoryStream| stream.takes(subject);
        let taken_by = match self.streams.get(wanted) {
            Some(stream) if takes(stream) => Some(wanted),
            _ => self.streams.iter().find(|(_, stream)| takes(stream)).map(|(name, _)| name),
        };
        let Some(stream) = taken_by.cloned().and_then(|name| self.streams.get_mut(&name)) else {
            let what = format!("a stream for {subject} (it should be {wanted})");
            return Err(BrokerError::Missing { what }.into());
        };
        stream.settle(now);
        let taken_by = stream.declared.name.clone();
        let appended = stream.append(append, now, order)?;
        // A schedule in the past is delivered at once.
        stream.settle(now);
        if taken_by == *wanted {
            return Ok(appended);
        }
        let message = format!("stream {taken_by} took it instead of {wanted}");
        Err(BrokerError::Failed { operation: format!("append on {subject}"), message }.into())
    }

    /// Where every consumer stands, as of now.
    pub(super) fn consumers(&mut self, now: Timestamp) -> Vec<ConsumerState> {
        let mut states = Vec::new();
        for (name, stream) in &mut self.streams {
            stream.settle(now);
            for (durable, consumer) in &stream.consumers {
                let filter = Some(consumer.declared.filter.as_str());
                let is_held = |sequence: &&u64| stream.get(**sequence).is_some();
                states.push(ConsumerState {
                    stream: name.clone(),
                    durable: durable.clone(),
                    unanswered: consumer.pending.keys().filter(is_held).count(),
                    undelivered: stream.from(consumer.next, filter).count(),
                });
            }
        }
        states
    }

    /// What a consumer gets now, and otherwise when to look again at the latest.
    pub(super) fn deliver(
        &mut self,
        stream: &str,
        durable: &str,
        limit: usize,
        now: Timestamp,
    ) -> Result<(Vec<Stored>, Option<Timestamp>), BrokerError> {
        let messages = self.stream(stream, now)?;
        let Some(mut consumer) = messages.consumers.remove(durable) else {
            return Err(BrokerError::Missing { what: format!("consumer {durable} of stream {stream}") });
        };
        let mut delivered: Vec<Stored> = Vec::new();
        for sequence in consumer.due(now).into_iter().take(limit) {
            match messages.get(sequence) {
                Some(stored) => {
                    delivered.push(stored.clone());
                    consumer.delivered(sequence, now);
                }
                // Replaced, expired or purged meanwhile.
                None => consumer.acknowledge(sequence),
            }
        }
        let filter = consumer.declared.filter.clone();
        for stored in messages.from(consumer.next, Some(&filter)) {
            if delivered.len() >= limit || !consumer.has_room() {
                break;
            }
            consumer.delivered(stored.sequence, now);
            delivered.push(stored.clone());
        }
        let again = consumer.pending.values().min().copied();
        messages.consumers.insert(durable.to_owned(), consumer);
        let fires = messages.next_event();
        Ok((delivered, again.into_iter().chain(fires).min()))
    }
}
