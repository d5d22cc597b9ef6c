//! A message of a log as the ledger takes it in.

use millrace_decider::{Cause, Timestamp};
use millrace_events::{Envelope, Event, Log, key_in_subject, read_message};

/// A message as it stands in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Stream.
    pub stream: String,
    /// Subject.
    pub subject: String,
    /// Stream sequence, from 1.
    pub sequence: u64,
    /// When the broker stored it.
    pub time: Timestamp,
    /// Headers as they were sent.
    pub headers: Vec<(String, String)>,
    /// Bytes.
    pub payload: Vec<u8>,
}

/// A stored message, read once.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The message.
    pub stored: StoredEvent,
    /// The log that its stream belongs to.
    pub log: Option<Log>,
    /// Its envelope, if it has one that can be read.
    pub envelope: Option<Envelope>,
    /// Its event, if this version knows it.
    pub event: Option<Event>,
    /// Why there is no envelope or event although there should be one.
    pub fault: Option<String>,
    /// The cause was not in its stream when the ledger asked for it.
    pub cause_missing: bool,
}

impl Entry {
    /// Reads a message. Never fails: what cannot be read is kept with the reason.
    pub fn read(stored: StoredEvent) -> Self {
        let log = Log::from_stream(&stored.stream);
        let mut entry = Self { stored, log, envelope: None, event: None, fault: None, cause_missing: false };
        let Some(log) = log else {
            entry.fault = Some("the stream belongs to no log of the catalogue".to_owned());
            return entry;
        };
        let header = |name: &str| {
            entry.stored.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
        };
        let envelope = match read_message(log, header, &entry.stored.payload, entry.stored.time) {
            Ok(envelope) => envelope,
            Err(error) => {
                entry.fault = Some(error.to_string());
                return entry;
            }
        };
        if let Err(problem) = key_in_subject(log, &entry.stored.subject, &envelope) {
            entry.fault = Some(problem);
            entry.envelope = Some(envelope);
            return entry;
        }
        match envelope.event() {
            Ok(Some(event)) if event.log() != log => {
                entry.fault =
                    Some(format!("{} does not belong in the log {}", envelope.event_type, log.name()));
            }
            Ok(event) => entry.event = event,
            Err(error) => entry.fault = Some(error.to_string()),
        }
        entry.envelope = Some(envelope);
        entry
    }

    /// The log message that led to it.
    pub fn cause(&self) -> Option<&Cause> {
        self.envelope.as_ref()?.cause.as_ref()
    }

    /// When it was decided; when it was stored, where that cannot be read.
    pub fn time(&self) -> Timestamp {
        self.envelope.as_ref().map_or(self.stored.time, |envelope| envelope.time)
    }
}
