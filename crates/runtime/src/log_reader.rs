//! Asks a log what it says about one key: for questions, never to follow it.

use std::sync::Arc;

use millrace_decider::{Cause, Timestamp};
use millrace_events::{Envelope, Event, Key, Log, key_in_subject, read_message};

use crate::broker::{Broker, BrokerError, Stored, follows};

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
    /// The log message that led to it.
    pub cause: Option<Cause>,
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
                events.extend(logged(log, stored));
            }
            if last >= newest.sequence || batch.len() < BATCH {
                break;
            }
            from = last + 1;
        }
        follows(&newest, seen)?;
        events.extend(logged(log, &newest));
        Ok(events)
    }
}

/// A message of a log as everybody who folds it must read it: what stands under another key than its own, or
/// in the log of another, is poison and says nothing. What this version does not know says nothing either.
pub(crate) fn read(log: Log, stored: &Stored) -> Option<(Envelope, Event)> {
    let envelope = read_message(log, |name| stored.header(name), &stored.payload, stored.time).ok()?;
    key_in_subject(log, &stored.subject, &envelope).ok()?;
    let event = envelope.event().ok()??;
    (event.log() == log).then_some((envelope, event))
}

fn logged(log: Log, stored: &Stored) -> Option<LoggedEvent> {
    let (envelope, event) = read(log, stored)?;
    Some(LoggedEvent { event, sequence: stored.sequence, time: envelope.time, cause: envelope.cause })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_events::v1::{TaskCompleted, TaskScheduled};

    use super::*;

    /// F18: found by a campaign: a misplaced event was believed by those who ask a log.
    #[test]
    fn what_stands_in_the_wrong_place_says_nothing() {
        let (task, other) = (Key::new("VTID-00001").unwrap(), Key::new("VTID-00002").unwrap());
        let stored = |log: Log, about: &Key, event: Event| Stored {
            stream: log.stream(0),
            subject: log.subject(&task, 1),
            sequence: 1,
            time: Timestamp::default(),
            headers: Vec::new(),
            payload: Envelope::new("1", "/x", about.clone(), Timestamp::default(), &event).encode(),
        };
        let scheduled = || Event::from(TaskScheduled::default());
        let right = stored(Log::Dispatcher, &task, scheduled());
        assert!(read(Log::Dispatcher, &right).is_some());
        let of_another_task = stored(Log::Dispatcher, &other, scheduled());
        assert!(read(Log::Dispatcher, &of_another_task).is_none());
        let of_another_log = stored(Log::Worker, &task, TaskCompleted::default().into());
        assert!(read(Log::Worker, &of_another_log).is_none());
    }
}
