//! A message of a log as the ledger takes it in.

use millrace_decider::{Cause, Timestamp};
use millrace_events::{CONTENT_TYPE_JSON, Envelope, Event, Log};

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
        let mut envelope = match envelope(log, &entry.stored) {
            Ok(envelope) => envelope,
            Err(fault) => {
                entry.fault = Some(fault);
                return entry;
            }
        };
        if matches!(log, Log::Intake | Log::Operator) {
            // A cause given from outside is ignored. DESIGN section 3.
            envelope.cause = None;
        }
        match envelope.event() {
            _ if log.key(&entry.stored.subject).as_ref() != Some(&envelope.key) => {
                entry.fault = Some(format!(
                    "the key {} is not the last token of the subject {}",
                    envelope.key, entry.stored.subject
                ));
            }
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

fn envelope(log: Log, stored: &StoredEvent) -> Result<Envelope, String> {
    let content_type = stored.headers.iter().find(|(name, _)| name == "Content-Type").map(|(_, value)| value);
    if content_type.is_some_and(|found| found.starts_with(CONTENT_TYPE_JSON)) {
        let value = serde_json::from_slice(&stored.payload).map_err(|error| error.to_string())?;
        return Envelope::from_producer_json(log, &value, stored.time).map_err(|error| error.to_string());
    }
    Envelope::decode(&stored.payload).map_err(|error| error.to_string())
}
