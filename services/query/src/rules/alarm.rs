//! What the last notice about a log says of its present state.

use millrace_events::{Code, Envelope, Event, ProjectorEvent, v1 as events, wire_time};
use millrace_rpc::v1;

/// The alarm in the last notice about a log; `None` when that says that all is well, or is not known.
pub(crate) fn alarm(said: &Envelope) -> Option<v1::LogAlarm> {
    let Event::Projector(event) = said.event().ok()?? else { return None };
    let (log, failure, details) = match event {
        ProjectorEvent::LedgerRegressed(event) => {
            let failure = event.failure.unwrap_or_default();
            let mut details = Vec::new();
            if event.stream_sequence < event.ledger_sequence {
                let first = event.stream_sequence + 1;
                details.push(format!("missing: {first} to {}", event.ledger_sequence));
            }
            if let Some(tasks) = failure.context.get("tasks").filter(|tasks| !tasks.is_empty()) {
                details.push(format!("tasks: {tasks}"));
            }
            details.extend(failure.causes.iter().cloned());
            (event.log, failure, details)
        }
        ProjectorEvent::LogDiffers(event) => {
            (event.log, event.failure.unwrap_or_default(), event.differences)
        }
        _ => return None,
    };
    let since = Some(wire_time(said.time));
    Some(v1::LogAlarm { log, since, failure: Some(shown(failure)), details })
}

fn shown(failure: events::Failure) -> v1::Failure {
    let code = failure.known_code();
    v1::Failure {
        code: failure.code_name(),
        advice: code.map(Code::advice).unwrap_or_default().to_owned(),
        class: code.map_or("", |code| code.class().name()).to_owned(),
        message: failure.message,
        source: failure.source,
        causes: failure.causes,
        context: failure.context,
        ..v1::Failure::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_decider::Timestamp;
    use millrace_events::{Key, Log};

    use super::*;

    fn of(event: impl Into<Event>) -> Option<v1::LogAlarm> {
        let key = Key::new(Log::Worker.name()).unwrap();
        alarm(&Envelope::new("id", "/millrace/projector", key, Timestamp::from_millis(1_000), &event.into()))
    }

    #[test]
    fn the_last_notice_decides_and_says_what_is_missing_and_what_to_do() {
        let failure = events::Failure::new(Code::LedgerRegressed, "it ends at 5").with("tasks", "VTID-1");
        let log = "worker".to_owned();
        let event = events::LedgerRegressed {
            log: log.clone(),
            ledger_sequence: 9,
            stream_sequence: 5,
            failure: Some(failure),
        };
        let found = of(event).unwrap();
        assert_eq!((found.log.as_str(), found.since.unwrap().seconds), ("worker", 1));
        assert_eq!(found.details, ["missing: 6 to 9", "tasks: VTID-1"]);
        let failure = found.failure.unwrap();
        assert_eq!(failure.code, "LEDGER_REGRESSED");
        assert!(!failure.advice.is_empty());
        assert_eq!(of(events::LogRecovered { log, ..Default::default() }), None);
    }
}
