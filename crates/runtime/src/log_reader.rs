//! Asks a log what it says about one key: for questions, never to follow it.

use std::sync::Arc;

use millrace_decider::Timestamp;
use millrace_events::{Envelope, Event, Key, Log};

use crate::broker::{Broker, BrokerError, follows};

/// Messages read at once.
const BATCH: usize = 256;

/// Reads single keys of logs.
#[derive(Clone)]
pub struct LogReader {
    broker: Arc<dyn Broker>,
    partitions: u32,
}

/// An event and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedEvent {
    /// The event.
    pub event: Event,
    /// Its stream sequence.
    pub sequence: u64,
    /// When it was decided.
    pub time: Timestamp,
}

impl LogReader {
    /// A reader of logs with that many partitions.
    pub fn new(broker: Arc<dyn Broker>, partitions: u32) -> Self {
        Self { broker, partitions }
    }

    /// All events of `key` in `log`, in order, the newest as the leader knows it. What this version cannot
    /// read is left out.
    pub async fn events(&self, log: Log, key: &Key) -> Result<Vec<LoggedEvent>, BrokerError> {
        let stream = log.stream(key.partition(self.partitions));
        let subject = log.subject(key, self.partitions);
        let Some(newest) = self.broker.last(&stream, &subject).await? else { return Ok(Vec::new()) };
        let mut events = Vec::new();
        let (mut from, mut seen) = (1, 0);
        while from < newest.sequence {
            let batch = self.broker.read(&stream, Some(&subject), from, BATCH).await?;
            let Some(last) = batch.last().map(|stored| stored.sequence) else { break };
            for stored in batch.iter().filter(|stored| stored.sequence < newest.sequence) {
                follows(stored, seen)?;
                seen = stored.sequence;
                events.extend(read(stored));
            }
            if last >= newest.sequence || batch.len() < BATCH {
                break;
            }
            from = last + 1;
        }
        follows(&newest, seen)?;
        events.extend(read(&newest));
        Ok(events)
    }
}

fn read(stored: &crate::broker::Stored) -> Option<LoggedEvent> {
    let envelope = Envelope::decode(&stored.payload).ok()?;
    let event = envelope.event().ok()??;
    Some(LoggedEvent { event, sequence: stored.sequence, time: envelope.time })
}
