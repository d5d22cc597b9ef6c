//! Failures, from whichever log.

use millrace_events::v1::{Failure, TaskRef};
use serde_json::json;

use super::change::{Change, Fact, Table, Value};

/// The failure in `fact`, as a row of its own.
pub(super) fn row(fact: &Fact<'_>, task: Option<&TaskRef>, failure: Option<&Failure>) -> Option<Change> {
    let failure = failure?;
    let mut row = fact
        .own_row(Table::Failures)
        .set("log", fact.log.name())
        .set("event", fact.event.name())
        .set("code", failure.code_name())
        .set("class", class(failure))
        .set("stage", &failure.stage)
        .set("source", &failure.source)
        .set("message", &failure.message)
        .set("causes", json!(failure.causes).to_string())
        .set("context", json!(failure.context).to_string())
        .set("trace_id", &failure.trace_id)
        .set("time", fact.time);
    if let Some(task) = task {
        row = row
            .set("task", &task.task)
            .set("run", task.run)
            .set("attempt", task.attempt)
            .set("repository", &task.repository);
    }
    Some(row.done())
}

/// The columns of a task that say why it failed; all empty for none.
pub(super) fn columns(failure: Option<&Failure>) -> Vec<(&'static str, Value)> {
    let none = Failure::default();
    let (code, failure) = failure.map_or((String::new(), &none), |failure| (failure.code_name(), failure));
    vec![
        ("failure_code", code.into()),
        ("failure_class", class(failure).into()),
        ("failure_stage", (&failure.stage).into()),
        ("failure_message", (&failure.message).into()),
    ]
}

/// `refused`, `transient`, `poison` or `bug`; empty for a code that this version does not know.
fn class(failure: &Failure) -> &'static str {
    failure.known_code().map_or("", |code| code.class().name())
}
