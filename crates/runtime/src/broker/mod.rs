//! The seam to JetStream: what the runtime needs of it, and nothing more.
//!
//! [`Broker`] has two implementations, [`crate::nats`] on a real server and [`crate::memory`] in memory;
//! one conformance suite runs on both.

pub(crate) mod subject;
pub(crate) mod wire;

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::Timestamp;

use crate::inspect::Inspect;

/// Append, read and consume streams.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Appends one message and waits until it is stored.
    async fn append(&self, message: &Append) -> Result<Appended, AppendError>;

    /// The last message on a subject, as the stream's leader knows it.
    async fn last(&self, stream: &str, subject: &str) -> Result<Option<Stored>, BrokerError>;

    /// The message at a sequence, as the stream's leader knows it.
    async fn get(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, BrokerError>;

    /// Up to `limit` messages from `from` (inclusive) on, in order; of one subject (which may have
    /// wildcards) or, with `None`, of all.
    /// May be answered by a follower, so the newest may be missing.
    async fn read(
        &self,
        stream: &str,
        subject: Option<&str>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, BrokerError>;

    /// First and last sequence and the number of messages of a stream.
    async fn stream_state(&self, stream: &str) -> Result<StreamState, BrokerError>;

    /// Removes all messages on a subject, where the stream and the permissions allow it.
    async fn purge_subject(&self, stream: &str, subject: &str) -> Result<(), BrokerError>;

    /// Attaches to a durable pull consumer that the bootstrap has made.
    async fn consumer(&self, stream: &str, durable: &str) -> Result<Box<dyn Consumer>, BrokerError>;

    /// Whether the connection is up, for readiness.
    fn is_connected(&self) -> bool;

    /// How the server is configured, where this broker can tell.
    fn inspect(&self) -> Option<&dyn Inspect> {
        None
    }
}

/// A durable pull consumer.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// Waits for messages, at most `limit`, at most `wait`; comes back early with what there is. An empty
    /// answer means that nothing came in time.
    async fn fetch(&self, limit: usize, wait: Duration) -> Result<Vec<Box<dyn Delivery>>, BrokerError>;
}

/// A delivered message that wants an answer. Dropping it without one leaves it to redelivery.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// The message.
    fn message(&self) -> &Stored;
    /// Whether it was delivered before, where the broker says so. For people; decides nothing.
    fn is_redelivered(&self) -> bool {
        false
    }
    /// Done with; it does not come back. Not durable at a kill of the server: it may come back all the same.
    async fn acknowledge(&self) -> Result<(), BrokerError>;
    /// Hand it back; it comes again after `delay`.
    async fn give_back(&self, delay: Duration) -> Result<(), BrokerError>;
    /// Still working on it.
    async fn in_progress(&self) -> Result<(), BrokerError>;
}

/// A message to append.
#[derive(Debug, Clone)]
pub struct Append {
    /// The stream that must take it.
    pub stream: String,
    /// Its subject.
    pub subject: String,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Its content type; `None` for raw bytes.
    pub content_type: Option<&'static str>,
    /// The last sequence on the subject that the writer has seen (0: none). `None`: no check.
    pub expected_last: Option<u64>,
    /// The id under which a resend inside the stream's window is the same message.
    pub message_id: Option<String>,
    /// Deliver it later, on another subject of the same stream.
    pub schedule: Option<Schedule>,
    /// Further headers, such as `KV-Operation`.
    pub headers: Vec<(Cow<'static, str>, String)>,
}

/// Delayed delivery inside one stream (NATS ADR-51).
#[derive(Debug, Clone)]
pub struct Schedule {
    /// When; a time in the past is at once. Whole seconds are kept, rounded up.
    pub at: Timestamp,
    /// The subject on which it is delivered.
    pub target: String,
    /// How long the delivered message is kept.
    pub keep: Duration,
}

impl Append {
    /// A plain message without any check.
    pub fn new(stream: impl Into<String>, subject: impl Into<String>, payload: Vec<u8>) -> Self {
        Self {
            stream: stream.into(),
            subject: subject.into(),
            payload,
            content_type: None,
            expected_last: None,
            message_id: None,
            schedule: None,
            headers: Vec::new(),
        }
    }

    /// `stored` once more, with the headers that it was sent with: for a log that has lost it. The check of
    /// the expected sequence is part of them.
    pub fn again(stored: &Stored) -> Self {
        let mut append = Self::new(&stored.stream, &stored.subject, stored.payload.clone());
        for (name, value) in &stored.headers {
            match name.as_str() {
                wire::EXPECTED_LAST if value.parse::<u64>().is_ok_and(|last| last.to_string() == *value) => {
                    append.expected_last = value.parse().ok();
                }
                wire::MESSAGE_ID => append.message_id = Some(value.clone()),
                _ => append.headers.push((Cow::Owned(name.clone()), value.clone())),
            }
        }
        append
    }

    /// With a content type.
    pub fn content_type(mut self, content_type: &'static str) -> Self {
        self.content_type = Some(content_type);
        self
    }

    /// Only if `sequence` is the last on its subject.
    pub fn expecting(mut self, sequence: u64) -> Self {
        self.expected_last = Some(sequence);
        self
    }

    /// Once inside the stream's window.
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    /// Later.
    pub fn scheduled(mut self, schedule: Schedule) -> Self {
        self.schedule = Some(schedule);
        self
    }
}

/// Where a message was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Appended {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// It was there already, under the same message id.
    pub duplicate: bool,
}

/// A message as it stands in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Stream.
    pub stream: String,
    /// Subject.
    pub subject: String,
    /// Sequence, from 1.
    pub sequence: u64,
    /// When the server stored it.
    pub time: Timestamp,
    /// Headers as they were sent, sorted by name.
    pub headers: Vec<(String, String)>,
    /// Bytes.
    pub payload: Vec<u8>,
}

impl Stored {
    /// The value of a header. NATS header names are case-sensitive.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Checks that `stored` follows the message at `last` on its subject, by the expected sequence that it was
/// written with (0: it is the first). A read that a lagging follower answered may lack one in between; then
/// this is an error that a later read does not have. What was written without a check follows anything.
pub(crate) fn follows(stored: &Stored, last: u64) -> Result<(), BrokerError> {
    let expected = stored.header(wire::EXPECTED_LAST).and_then(|text| text.parse::<u64>().ok());
    match expected {
        Some(expected) if expected != last => Err(BrokerError::Failed {
            operation: format!("reading {}", stored.subject),
            message: format!("message {} follows {expected}, but {last} was read before it", stored.sequence),
        }),
        _ => Ok(()),
    }
}

/// The extent of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamState {
    /// First sequence; 0 when it never held anything.
    pub first: u64,
    /// Last sequence ever given.
    pub last: u64,
    /// Messages held.
    pub messages: u64,
}

/// Why something was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The expected sequence is not the last on the subject (server codes 10071 and 10164).
    #[error("the log has moved on: another message stands on {subject}")]
    Conflict {
        /// The subject.
        subject: String,
    },
    /// No answer in time: it may or may not be stored.
    #[error("no answer to an append on {subject}; it may or may not be stored")]
    Timeout {
        /// The subject.
        subject: String,
    },
    /// The payload is larger than the server takes.
    #[error("{bytes} bytes on {subject} are more than the server takes")]
    TooLarge {
        /// The subject.
        subject: String,
        /// Its size.
        bytes: usize,
    },
    /// The server does not let this identity publish there. Final.
    #[error("this identity may not publish on {subject}: its permissions do not come from this catalogue")]
    Forbidden {
        /// The subject.
        subject: String,
    },
    /// Anything else.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// The broker did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// A stream, consumer or bucket that the bootstrap should have made is not there.
    #[error("{what} does not exist; run `millrace bootstrap`")]
    Missing {
        /// What is missing.
        what: String,
    },
    /// The server does not let this identity do that. Final.
    #[error("this identity may not do this: {operation}; its permissions do not come from this catalogue")]
    Forbidden {
        /// What was asked for.
        operation: String,
    },
    /// No answer in time.
    #[error("no answer from NATS within {after:?} to: {operation}")]
    Timeout {
        /// What was asked for.
        operation: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The server refused or the connection failed.
    #[error("{operation}: {message}")]
    Failed {
        /// What was asked for.
        operation: String,
        /// What came back.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_again_has_the_same_headers() {
        let sent = Append::new("S", "s", vec![1]).content_type("text/plain").expecting(7).with_id("id");
        let mut headers = wire::headers(&sent);
        headers.push(("ce-type".to_owned(), "x".to_owned()));
        headers.push(("ce-type".to_owned(), "y".to_owned()));
        headers.sort();
        let stored = Stored {
            stream: sent.stream.clone(),
            subject: sent.subject.clone(),
            sequence: 9,
            time: Timestamp::default(),
            headers: headers.clone(),
            payload: sent.payload.clone(),
        };
        let again = Append::again(&stored);
        assert_eq!((wire::headers(&again), again.expected_last), (headers, Some(7)));
        assert_eq!((again.payload, again.subject), (sent.payload, sent.subject));
    }

    #[test]
    fn a_read_that_lacks_a_message_in_between_is_noticed() {
        let stored = |sequence: u64, expected: Option<u64>| Stored {
            stream: "S".to_owned(),
            subject: "s".to_owned(),
            sequence,
            time: Timestamp::default(),
            headers: expected.iter().map(|last| (wire::EXPECTED_LAST.to_owned(), last.to_string())).collect(),
            payload: Vec::new(),
        };
        assert!(follows(&stored(4, Some(0)), 0).is_ok());
        assert!(follows(&stored(9, Some(4)), 4).is_ok());
        assert!(follows(&stored(12, Some(9)), 4).is_err());
        assert!(follows(&stored(12, None), 4).is_ok(), "written without a check");
    }
}
