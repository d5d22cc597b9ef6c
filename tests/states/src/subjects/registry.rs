//! Which specification is which version of which task.

use std::sync::Arc;

use millrace_events::v1::{SpecRegistered, SpecRejected};
use millrace_events::{Event, IntakeEvent, Key, Log, LogEvent as _, SpecRegistryEvent};
use millrace_spec_registry::domain::{Input, Submission};
use millrace_spec_registry::effects::RegistryService;

use super::{as_named, task};
use crate::facts::{Label, TASK, fact};
use crate::matrix::{Arrival, Subject};
use crate::world;

/// The registry, under a task.
pub fn registry() -> Subject<RegistryService> {
    Subject {
        hosted: world::registry(&world::context()),
        key: task(),
        lives: vec![
            ("registered", vec!["SpecRegistered", "SpecRegistered changed", "SpecRejected changed"]),
            ("rejected", vec!["SpecRejected", "SpecRegistered"]),
            ("not found", vec!["SpecRejected SPEC_NOT_FOUND nowhere", "SpecRegistered"]),
        ],
        own,
        outcomes,
        explain,
        lawful,
    }
}

/// The registry, under a submission that names no task.
pub fn registry_of_submissions() -> Subject<RegistryService> {
    Subject {
        key: submission().identity(),
        lives: vec![("named", vec!["TaskAllocated"]), ("rejected without a name", vec!["SpecRejected"])],
        ..registry()
    }
}

fn submission() -> Submission {
    let Event::Intake(IntakeEvent::SpecSubmitted(event)) = fact(Log::Intake, &Label::parse("SpecSubmitted"))
    else {
        unreachable!()
    };
    Submission { key: Key::new("req-1").unwrap(), sequence: 1, event: Arc::new(event) }
}

fn own(history: &[SpecRegistryEvent], label: &Label) -> SpecRegistryEvent {
    match as_named(history, label) {
        SpecRegistryEvent::SpecRegistered(event) => SpecRegistryEvent::SpecRegistered(spec(event, label)),
        SpecRegistryEvent::SpecRejected(event) => SpecRegistryEvent::SpecRejected(rejection(event, label)),
        other => other,
    }
}

fn spec(mut spec: SpecRegistered, label: &Label) -> SpecRegistered {
    if label.is("changed") {
        spec.checksum = "beef".to_owned();
        spec.version = 2;
    }
    if label.is("moved") {
        spec.path = "docs/specs/other.md".to_owned();
    }
    if label.is("foreign") {
        spec.repository = "other".to_owned();
    }
    spec
}

fn rejection(mut rejection: SpecRejected, label: &Label) -> SpecRejected {
    if label.is("changed") {
        rejection.checksum = "beef".to_owned();
    }
    if label.is("nowhere") {
        (rejection.path, rejection.checksum) = (String::new(), String::new());
    }
    rejection
}

/// What reading and searching come to.
fn outcomes() -> Vec<(Label, Input)> {
    let mut found = Vec::new();
    let under_submission = submission().identity();
    for kind in ["", "changed", "moved", "moved changed", "foreign"] {
        let label = Label::parse(&format!("?accepted {kind}"));
        let Event::SpecRegistry(SpecRegistryEvent::SpecRegistered(event)) =
            fact(Log::SpecRegistry, &Label { name: "SpecRegistered".to_owned(), ..label.clone() })
        else {
            unreachable!()
        };
        let spec = spec(event, &label);
        found.push((label, Input::Accepted { under: task(), spec }));
    }
    for (under, name) in [(task(), "?refused"), (under_submission.clone(), "?refused_unnamed")] {
        for kind in ["", "changed", "nowhere"] {
            let label = Label::parse(&format!("{name} {kind}"));
            let Event::SpecRegistry(SpecRegistryEvent::SpecRejected(event)) =
                fact(Log::SpecRegistry, &Label { name: "SpecRejected".to_owned(), ..label.clone() })
            else {
                unreachable!()
            };
            let rejection = rejection(event, &label);
            found.push((label, Input::Refused { under: under.clone(), rejection }));
        }
    }
    let unnamed =
        Input::Unnamed { under: under_submission, submission: "req-1".to_owned(), task: TASK.to_owned() };
    found.push((Label::parse("?unnamed"), unnamed));
    found
}

fn explain(history: &[SpecRegistryEvent], arrival: &Arrival<Input>, owed: &[String]) -> Option<&'static str> {
    let current = history.iter().rev().find_map(|event| match event {
        SpecRegistryEvent::SpecRegistered(event) => Some(event),
        _ => None,
    });
    let rejections = history.iter().filter_map(|event| match event {
        SpecRegistryEvent::SpecRejected(event) => Some(event),
        _ => None,
    });
    match arrival.input.as_ref()? {
        Input::Submitted(_) => (owed == ["Read"]).then_some("begins"),
        Input::Requested(_) if owed == ["Find"] => Some("begins"),
        Input::Requested(request) => {
            let answered = rejections.clone().any(|found| found.submission == request.key.as_str());
            (current.is_some() || answered).then_some("done")
        }
        Input::Unnamed { .. } => {
            let named = history.iter().any(|event| matches!(event, SpecRegistryEvent::TaskAllocated(_)));
            named.then_some("done")
        }
        // The same bytes are the same version; a copy of them elsewhere in the repository claims nothing.
        Input::Accepted { spec, .. } => {
            let same =
                current.is_some_and(|now| now.checksum == spec.checksum && now.repository == spec.repository);
            let conflicts =
                current.is_some_and(|now| (&now.path, &now.repository) != (&spec.path, &spec.repository));
            let said = rejections.clone().any(|found| found.path == spec.path);
            (same || (conflicts && said)).then_some("done")
        }
        Input::Refused { rejection, .. } => {
            let alike = rejections.clone().any(|found| {
                !found.checksum.is_empty()
                    && (&found.checksum, &found.path) == (&rejection.checksum, &rejection.path)
            });
            let overtaken = rejection.path.is_empty() && current.is_some();
            (alike || overtaken).then_some("done")
        }
    }
}

/// Versions count from 1 without gaps; a task keeps its place; a submission gets one id.
fn lawful(
    history: &[SpecRegistryEvent],
    _: &Arrival<Input>,
    event: &SpecRegistryEvent,
) -> Result<(), String> {
    let current = history.iter().rev().find_map(|event| match event {
        SpecRegistryEvent::SpecRegistered(event) => Some(event),
        _ => None,
    });
    let allowed = match event {
        SpecRegistryEvent::SpecRegistered(event) => current.is_none_or(|now| {
            event.version == now.version + 1
                && (&event.path, &event.repository) == (&now.path, &now.repository)
        }),
        SpecRegistryEvent::TaskAllocated(_) => {
            !history.iter().any(|event| matches!(event, SpecRegistryEvent::TaskAllocated(_)))
        }
        SpecRegistryEvent::SpecRejected(event) => event.failure.is_some(),
    };
    allowed.then_some(()).ok_or_else(|| format!("{} does not follow", event.name()))
}
