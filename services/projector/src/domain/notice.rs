//! Notices: what the projector says in its own log, such as that a task has fallen silent.

use millrace_decider::{Cause, Timestamp};
use millrace_events::v1::OverdueNoticed;
use millrace_events::{Envelope, Event, Key, Service, event_id};

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

/// Something that the projector's own log is to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Its key.
    pub key: Key,
    /// The event.
    pub event: Event,
    pub(super) id: String,
    pub(super) cause: Option<Cause>,
    pub(super) run: u32,
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

/// One silence has one id, however often it is noticed.
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
}
