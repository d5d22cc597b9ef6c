//! Alarms about whole logs: what was found, what was said last, what is to be said now.

use std::time::Duration;

use millrace_decider::Cause;
use millrace_events::v1::{Failure, LedgerRegressed, LogDiffers, LogRecovered};
use millrace_events::{Code, Envelope, Event, Key, Log, ProjectorEvent, Service, event_id};

use super::Notice;

/// Differences that one event names.
const MAX_DIFFERENCES: usize = 20;
const LEDGER_CHANGED: &str = "the ledger itself was changed at";

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
    /// The tasks that the missing events are about, in words; empty: not known.
    pub tasks: String,
}

/// What was found about one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// The log.
    pub log: Log,
    /// Its streams that have lost something.
    pub lost: Vec<Lost>,
    /// What is not as declared, a line each.
    pub differences: Vec<String>,
}

/// What the log of that name is owed, where `last` was said of it last, at sequence `after` (0: nothing yet).
/// `None`: that says it all. A loss is more than a difference: while it lasts, only it is said.
pub fn alarm(findings: &Findings, last: Option<&Envelope>, after: u64) -> Option<Notice> {
    let said = last.and_then(|last| last.event().ok().flatten());
    let event: Event = if let Some(first) = findings.lost.first() {
        let streams = streams(&findings.lost);
        if says_lost(said.as_ref(), &streams) {
            return None;
        }
        regressed(findings, first, streams).into()
    } else if !findings.differences.is_empty() {
        let differs = differs(findings);
        if says_differs(said.as_ref(), &differs) {
            return None;
        }
        differs.into()
    } else if is_alarm(said.as_ref()?) {
        let note = "every event that the ledger knows is there, and everything is as declared".to_owned();
        LogRecovered { log: findings.log.name().to_owned(), note }.into()
    } else {
        return None;
    };
    Notice::about_log(findings.log, event, after)
}

/// The streams that `last` says have lost something: they are proven whole before anything else is said.
pub fn lost_before(last: &Envelope) -> Vec<String> {
    match last.event() {
        Ok(Some(Event::Projector(ProjectorEvent::LedgerRegressed(event)))) => {
            let streams = event.failure.as_ref().and_then(|failure| failure.context.get("stream"));
            streams.map(|streams| streams.split(", ").map(str::to_owned).collect()).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// Whether silence is nobody's fault, for what was said of a log last and when: an alarm stands, or has ended
/// less than `overdue` ago. What was held back needs that long to be heard of again.
pub fn excuses_silence(last: &Envelope, ago: Duration, overdue: Duration) -> bool {
    match last.event() {
        Ok(Some(Event::Projector(ProjectorEvent::LogRecovered(_)))) => ago < overdue,
        Ok(Some(event)) => is_alarm(&event),
        _ => false,
    }
}

/// Whether `last` says that the ledger's own copy of the log was changed.
pub fn says_ledger_changed(last: &Envelope) -> bool {
    match last.event() {
        Ok(Some(Event::Projector(ProjectorEvent::LogDiffers(event)))) => {
            event.differences.iter().any(|line| line.starts_with(LEDGER_CHANGED))
        }
        _ => false,
    }
}

/// The difference that says that the ledger was changed at `sequence`.
pub fn ledger_changed(stream: &str, sequence: u64) -> String {
    format!("{LEDGER_CHANGED} {stream}:{sequence}: build it anew with `millrace ledger rebuild`")
}

fn regressed(findings: &Findings, first: &Lost, streams: String) -> LedgerRegressed {
    let sentences: Vec<&str> = findings.lost.iter().map(|lost| lost.message.as_str()).collect();
    let mut failure = Failure::new(Code::LedgerRegressed, sentences.join("; "))
        .from_source(Service::Projector.name())
        .with("stream", streams);
    let tasks: Vec<&str> =
        findings.lost.iter().map(|lost| lost.tasks.as_str()).filter(|tasks| !tasks.is_empty()).collect();
    if !tasks.is_empty() {
        failure = failure.with("tasks", tasks.join(", "));
    }
    failure.causes = findings.differences.iter().take(MAX_DIFFERENCES).cloned().collect();
    LedgerRegressed {
        log: findings.log.name().to_owned(),
        ledger_sequence: first.ledger_sequence,
        stream_sequence: first.stream_sequence,
        failure: Some(failure),
    }
}

fn differs(findings: &Findings) -> LogDiffers {
    let count = findings.differences.len();
    let mut differences: Vec<String> = findings.differences.iter().take(MAX_DIFFERENCES).cloned().collect();
    let first = differences.first().cloned().unwrap_or_default();
    let message = match count {
        0 | 1 => first,
        count => format!("{first}; and {} more", count - 1),
    };
    if count > MAX_DIFFERENCES {
        differences.push(format!("and {} more", count - MAX_DIFFERENCES));
    }
    let failure = Failure::new(Code::LogDiffers, message).from_source(Service::Projector.name());
    LogDiffers { log: findings.log.name().to_owned(), differences, failure: Some(failure) }
}

fn streams(lost: &[Lost]) -> String {
    lost.iter().map(|lost| lost.stream.as_str()).collect::<Vec<_>>().join(", ")
}

fn says_lost(said: Option<&Event>, streams: &str) -> bool {
    let Some(Event::Projector(ProjectorEvent::LedgerRegressed(event))) = said else { return false };
    let context = event.failure.as_ref().map(|failure| &failure.context);
    context.and_then(|context| context.get("stream")).is_some_and(|said| said == streams)
}

fn says_differs(said: Option<&Event>, differs: &LogDiffers) -> bool {
    let Some(Event::Projector(ProjectorEvent::LogDiffers(event))) = said else { return false };
    event.differences == differs.differences
}

fn is_alarm(said: &Event) -> bool {
    use ProjectorEvent::{LedgerRegressed, LogDiffers};
    matches!(said, Event::Projector(LedgerRegressed(_) | LogDiffers(_)))
}

impl Notice {
    fn about_log(log: Log, event: Event, after: u64) -> Option<Self> {
        // The message that would be the cause is the one that was lost, or none. The same thing may happen
        // again after it was mended: what was said before tells the two apart.
        let place = Cause::new(log.name(), after);
        let id = event_id(&place, Service::Projector.name(), event.name(), 0).to_string();
        Some(Self { key: Key::new(log.name()).ok()?, event, id, cause: None, run: 0 })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use millrace_decider::Timestamp;

    fn lost(stream: &str) -> Lost {
        Lost {
            stream: stream.to_owned(),
            ledger_sequence: 9,
            stream_sequence: 4,
            message: format!("{stream} ends at 4"),
            tasks: "VTID-1".to_owned(),
        }
    }

    fn findings(lost: Vec<Lost>, differences: &[&str]) -> Findings {
        let differences = differences.iter().map(|line| (*line).to_owned()).collect();
        Findings { log: Log::SpecRegistry, lost, differences }
    }

    /// What is said of each finding in turn, by name.
    fn said(all: &[Findings]) -> Vec<&'static str> {
        let (mut last, mut names) = (None::<Envelope>, Vec::new());
        for (after, findings) in all.iter().enumerate() {
            let Some(notice) = alarm(findings, last.as_ref(), after as u64) else { continue };
            assert_eq!(notice.key.as_str(), "spec-registry");
            names.push(notice.event.name());
            let envelope = notice.envelope(Timestamp::default());
            assert_ne!(last.as_ref().map(|last| &last.id), Some(&envelope.id));
            last = Some(envelope);
        }
        names
    }

    #[test]
    fn each_finding_is_said_once_until_it_changes() {
        let well = findings(Vec::new(), &[]);
        let behind = findings(vec![lost("MILLRACE_SPEC_REGISTRY_0")], &[]);
        let more = findings(vec![lost("MILLRACE_SPEC_REGISTRY_0"), lost("MILLRACE_SPEC_REGISTRY_1")], &[]);
        let changed = findings(Vec::new(), &["max_age is 1"]);
        let other = findings(Vec::new(), &["max_age is 1", "it has no consumer"]);
        assert_eq!(said(&[well.clone(), well.clone()]), Vec::<&str>::new());
        assert_eq!(
            said(&[behind.clone(), behind.clone(), well.clone(), well.clone(), behind.clone()]),
            ["LedgerRegressed", "LogRecovered", "LedgerRegressed"]
        );
        assert_eq!(said(&[behind.clone(), more]), ["LedgerRegressed", "LedgerRegressed"]);
        assert_eq!(
            said(&[changed.clone(), changed.clone(), other.clone(), changed.clone(), well.clone()]),
            ["LogDiffers", "LogDiffers", "LogDiffers", "LogRecovered"]
        );
        let both = findings(behind.lost.clone(), &["max_age is 1"]);
        assert_eq!(
            said(&[changed.clone(), both.clone(), both, changed, well]),
            ["LogDiffers", "LedgerRegressed", "LogDiffers", "LogRecovered"]
        );
    }

    #[test]
    fn a_loss_names_stream_and_tasks_and_is_remembered_by_its_event() {
        let notice = alarm(&findings(vec![lost("MILLRACE_SPEC_REGISTRY_0")], &["x"]), None, 0).unwrap();
        let Event::Projector(ProjectorEvent::LedgerRegressed(event)) = &notice.event else { panic!() };
        let failure = event.failure.as_ref().unwrap();
        assert_eq!(failure.context.get("tasks").unwrap(), "VTID-1");
        assert_eq!(failure.causes, ["x"]);
        let said = notice.envelope(Timestamp::default());
        assert_eq!(lost_before(&said), ["MILLRACE_SPEC_REGISTRY_0"]);
    }

    #[test]
    fn many_differences_are_counted() {
        let lines: Vec<String> = (0..30).map(|number| format!("line {number}")).collect();
        let event = differs(&Findings { log: Log::Worker, lost: Vec::new(), differences: lines });
        assert_eq!(event.differences.len(), MAX_DIFFERENCES + 1);
        assert_eq!(event.failure.unwrap().message, "line 0; and 29 more");
    }
}
