//! Notices: a task has fallen silent, a stream has lost events.

use millrace_decider::{Cause, Timestamp};
use millrace_events::v1::{Failure, LedgerRegressed, OverdueNoticed};
use millrace_events::{Code, Envelope, Event, Key, Log, Service, event_id};

/// An active task that waits for nobody, and its last event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// The task and its run.
    pub task: String,
    /// See `task`.
    pub run: u32,
    /// Name, place and time of its last event.
    pub last_event: String,
    /// See `last_event`.
    pub last_place: Cause,
    /// See `last_event`.
    pub last_time: Timestamp,
}

/// A stream that is behind the ledger, or is not what the ledger remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The stream.
    pub stream: String,
    /// How far the ledger has it, and where it ends.
    pub ledger_sequence: u64,
    /// See `ledger_sequence`.
    pub stream_sequence: u64,
    /// What is wrong, in a sentence.
    pub message: String,
}

/// Something that the projector's own log is to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Its key.
    pub key: Key,
    /// The event.
    pub event: Event,
    id: String,
    cause: Option<Cause>,
    run: u32,
}

/// The notice that a silent task is owed. `None`: it cannot be named.
pub fn overdue(silent: &Silent, now: Timestamp) -> Option<Notice> {
    let event = OverdueNoticed {
        task: silent.task.clone(),
        run: silent.run,
        last_event: silent.last_event.clone(),
        idle_ms: u64::try_from(now.since(silent.last_time).as_millis()).unwrap_or(u64::MAX),
    };
    Some(Notice {
        key: Key::new(&silent.task).ok()?,
        id: name(&silent.last_place, "OverdueNoticed"),
        cause: Some(silent.last_place.clone()),
        run: silent.run,
        event: event.into(),
    })
}

/// The notice that a lost stream is owed. `None`: it is no stream of a log.
pub fn regressed(lost: &Lost) -> Option<Notice> {
    let log = Log::from_stream(&lost.stream)?;
    let failure = Failure::new(Code::LedgerRegressed, &lost.message)
        .from_source(Service::Projector.name())
        .with("stream", &lost.stream);
    let event = LedgerRegressed {
        log: log.name().to_owned(),
        ledger_sequence: lost.ledger_sequence,
        stream_sequence: lost.stream_sequence,
        failure: Some(failure),
    };
    Some(Notice {
        key: Key::new(log.name()).ok()?,
        id: name(&Cause::new(&lost.stream, lost.ledger_sequence), "LedgerRegressed"),
        // The message that would be the cause is the one that was lost.
        cause: None,
        run: 0,
        event: event.into(),
    })
}

impl Notice {
    /// Whether `last`, the last event of its key, says it already: same place, same purpose.
    pub fn is_said_by(&self, last: &Envelope) -> bool {
        last.id == self.id
    }

    /// In its envelope.
    pub fn envelope(&self, now: Timestamp) -> Envelope {
        let source = Service::Projector.source();
        let mut envelope = Envelope::new(&self.id, source, self.key.clone(), now, &self.event);
        envelope.cause.clone_from(&self.cause);
        envelope.run = self.run;
        envelope
    }
}

/// One silence and one loss have one id, however often they are noticed.
fn name(place: &Cause, purpose: &str) -> String {
    event_id(place, Service::Projector.name(), purpose, 0).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_noticed_once_until_something_happens() {
        let silent = Silent {
            task: "VTID-00001".to_owned(),
            run: 2,
            last_event: "TaskScheduled".to_owned(),
            last_place: Cause::new("MILLRACE_DISPATCHER_0", 7),
            last_time: Timestamp::from_millis(1_000),
        };
        let first = overdue(&silent, Timestamp::from_millis(61_000)).unwrap();
        let Event::Projector(millrace_events::ProjectorEvent::OverdueNoticed(event)) = &first.event else {
            unreachable!("{:?}", first.event)
        };
        assert_eq!((event.idle_ms, event.run), (60_000, 2));
        let said = first.envelope(Timestamp::from_millis(61_000));
        assert_eq!(said.cause, Some(silent.last_place.clone()));
        assert!(overdue(&silent, Timestamp::from_millis(90_000)).unwrap().is_said_by(&said));
        let later = Silent { last_place: Cause::new("MILLRACE_DISPATCHER_0", 9), ..silent };
        assert!(!overdue(&later, Timestamp::from_millis(90_000)).unwrap().is_said_by(&said));
    }

    #[test]
    fn a_loss_is_named_after_its_log() {
        let lost = Lost {
            stream: "MILLRACE_SPEC_REGISTRY_0".to_owned(),
            ledger_sequence: 9,
            stream_sequence: 4,
            message: "it ends at 4".to_owned(),
        };
        let notice = regressed(&lost).unwrap();
        assert_eq!(notice.key.as_str(), "spec-registry");
        assert!(notice.is_said_by(&notice.envelope(Timestamp::default())));
        assert_eq!(regressed(&Lost { stream: "OTHER".to_owned(), ..lost }), None);
    }
}
