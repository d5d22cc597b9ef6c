//! The dispatcher's log: the life cycle. It alone changes a status.

use millrace_events::v1::{self, Outcome, TaskRef, WorkOrderKind};
use millrace_events::{DispatcherEvent, from_wire_time};

use super::change::{Change, Fact, Merge, RowChange, Status, StatusChange, Step, Table, Value};
use super::failure;
use super::stage::Stage;

pub(super) fn fold(fact: &Fact<'_>, event: &DispatcherEvent) -> Vec<Change> {
    match event {
        DispatcherEvent::TaskScheduled(event) => scheduled(fact, event),
        DispatcherEvent::WorkOrderIssued(event) => issued(fact, event),
        DispatcherEvent::WorkOrderExpired(event) => expired(fact, event),
        DispatcherEvent::ApprovalRequired(event) => {
            let mut changes = stay(event.task.as_ref(), "approval", &event.reason);
            changes.extend(event.task.as_ref().map(|task| Stage::AwaitingApproval.reached(fact, task)));
            changes
        }
        DispatcherEvent::TaskPaused(event) => stay(event.task.as_ref(), "resume", &event.reason),
        DispatcherEvent::TaskResumed(event) => stay(event.task.as_ref(), "", ""),
        DispatcherEvent::TaskBlocked(event) => blocked(fact, event),
        DispatcherEvent::TaskCompleted(event) => {
            let mut changes = ended(fact, event.task.as_ref(), Status::Complete, event.outcome, None, "");
            changes.extend(event.task.as_ref().map(|task| Stage::Done.ended(task)));
            changes
        }
        DispatcherEvent::TaskFailed(event) => {
            let failure = event.failure.as_ref();
            ended(fact, event.task.as_ref(), Status::Failed, event.outcome, failure, "")
        }
        DispatcherEvent::TaskCancelled(event) => {
            ended(fact, event.task.as_ref(), Status::Cancelled, event.outcome, None, &event.reason)
        }
        DispatcherEvent::TransitionRefused(event) => refused(fact, event),
    }
}

fn scheduled(fact: &Fact<'_>, event: &v1::TaskScheduled) -> Vec<Change> {
    let Some(task) = &event.task else { return Vec::new() };
    let waits = event.order.is_none() && event.waiting.is_some();
    let step = if waits { Step::Open } else { Step::Become(Status::Active) };
    let mut columns = about(task);
    columns.extend(failure::columns(None));
    columns.extend([
        ("scheduled_at", fact.time.into()),
        ("finished_at", Value::Null),
        ("outcome", "".into()),
        ("reason", (&event.waits_for).into()),
        ("waiting", "".into()),
    ]);
    let mut changes = vec![
        born(fact, task),
        status(task, step, columns),
        run(task).merge("started_at", Merge::First, fact.time).done(),
    ];
    match &event.order {
        Some(order) => changes.extend(offered(fact, task, order)),
        None => changes.push(Stage::Scheduled.reached(fact, task)),
    }
    changes
}

fn issued(fact: &Fact<'_>, event: &v1::WorkOrderIssued) -> Vec<Change> {
    let Some(task) = &event.task else { return Vec::new() };
    let mut columns = about(task);
    columns.extend(failure::columns(None));
    columns.extend([("waiting", "".into()), ("reason", "".into())]);
    let mut changes = vec![born(fact, task), status(task, Step::Continue, columns)];
    if let Some(order) = &event.order {
        changes.extend(offered(fact, task, order));
    }
    changes
}

fn offered(fact: &Fact<'_>, task: &TaskRef, order: &v1::WorkOrder) -> Vec<Change> {
    let (kind, stage) = match order.kind() {
        WorkOrderKind::Check => ("check", Stage::Checking),
        WorkOrderKind::Change | WorkOrderKind::Unspecified => ("change", Stage::Dispatched),
    };
    let row = Table::WorkOrders
        .row(vec![(&order.id).into()])
        .merge("task", Merge::Max, &task.task)
        .merge("run", Merge::Max, task.run)
        .merge("attempt", Merge::Max, task.attempt)
        .merge("kind", Merge::Max, kind)
        .merge("issued_at", Merge::First, fact.time)
        .set("acknowledge_by", from_wire_time(order.acknowledge_by.as_ref()))
        .set("tries", order.tries)
        .set("expired_at", Value::Null)
        .set("expiry_code", "");
    vec![row.done(), stage.reached(fact, task)]
}

fn expired(fact: &Fact<'_>, event: &v1::WorkOrderExpired) -> Vec<Change> {
    let code = event.failure.as_ref().map(v1::Failure::code_name).unwrap_or_default();
    let row = Table::WorkOrders
        .row(vec![(&event.order).into()])
        .set("expired_at", fact.time)
        .set("expiry_code", code)
        .done();
    std::iter::once(row).chain(failure::row(fact, event.task.as_ref(), event.failure.as_ref())).collect()
}

fn blocked(fact: &Fact<'_>, event: &v1::TaskBlocked) -> Vec<Change> {
    let Some(task) = &event.task else { return Vec::new() };
    let failure = event.failure.as_ref();
    let mut columns = about(task);
    columns.extend(failure::columns(failure));
    columns.push(("reason", failure.map_or("", |failure| failure.message.as_str()).into()));
    columns.push(("waiting", "".into()));
    let mut changes = vec![born(fact, task), status(task, Step::Become(Status::Blocked), columns)];
    changes.extend(failure::row(fact, Some(task), failure));
    changes
}

/// The one terminal event of a run.
fn ended(
    fact: &Fact<'_>,
    task: Option<&TaskRef>,
    to: Status,
    outcome: i32,
    failure: Option<&v1::Failure>,
    reason: &str,
) -> Vec<Change> {
    let Some(task) = task else { return Vec::new() };
    let outcome = outcome_name(outcome);
    let mut columns = about(task);
    columns.extend(failure::columns(failure));
    columns.extend([
        ("finished_at", fact.time.into()),
        ("outcome", outcome.into()),
        ("reason", reason.into()),
        ("waiting", "".into()),
    ]);
    let code = failure.map(v1::Failure::code_name).unwrap_or_default();
    let run = run(task)
        .set("finished_at", fact.time)
        .set("outcome", outcome)
        .set("failure_code", code)
        .set("failure_message", failure.map_or("", |failure| failure.message.as_str()));
    let mut changes = vec![born(fact, task), status(task, Step::Become(to), columns), run.done()];
    // A failed task keeps the stage of the failure.
    let stage = failure.and_then(|failure| Stage::from_name(&failure.stage));
    changes.extend(stage.map(|stage| stage.ended(task)));
    changes.extend(failure::row(fact, Some(task), failure));
    changes
}

fn refused(fact: &Fact<'_>, event: &v1::TransitionRefused) -> Vec<Change> {
    let task = event.task.as_ref();
    let message = event.failure.as_ref().map_or("", |failure| failure.message.as_str());
    let row = fact
        .own_row(Table::TransitionRefusals)
        .set("task", task.map_or("", |task| task.task.as_str()))
        .set("run", task.map_or(0, |task| task.run))
        .set("status", &event.status)
        .set("asked_by", &event.asked_by)
        .set("message", message)
        .set("time", fact.time)
        .done();
    std::iter::once(row).chain(failure::row(fact, task, event.failure.as_ref())).collect()
}

/// No change of status: only whom it waits for.
fn stay(task: Option<&TaskRef>, waiting: &str, reason: &str) -> Vec<Change> {
    let columns = vec![("waiting", waiting.into()), ("reason", reason.into())];
    task.map(|task| status(task, Step::Stay, columns)).into_iter().collect()
}

fn status(task: &TaskRef, step: Step, columns: Vec<(&'static str, Value)>) -> Change {
    Change::Status(StatusChange { task: task.task.clone(), run: task.run.max(1), step, columns })
}

/// What the task is about, in the dispatcher's columns.
fn about(task: &TaskRef) -> Vec<(&'static str, Value)> {
    vec![
        ("attempt", task.attempt.into()),
        ("target", (&task.target).into()),
        ("base_commit", (&task.base_commit).into()),
        ("spec_version", task.spec_version.into()),
        ("spec_checksum", (&task.spec_checksum).into()),
    ]
}

/// The joins of the task's row.
fn born(fact: &Fact<'_>, task: &TaskRef) -> Change {
    Table::Tasks
        .row(vec![(&task.task).into()])
        .merge("repository", Merge::Max, &task.repository)
        .merge("created_at", Merge::Min, fact.time)
        .done()
}

fn run(task: &TaskRef) -> RowChange {
    Table::Runs.row(vec![(&task.task).into(), task.run.max(1).into()])
}

fn outcome_name(outcome: i32) -> &'static str {
    match Outcome::try_from(outcome).unwrap_or_default() {
        Outcome::Unspecified => "",
        Outcome::Success => "success",
        Outcome::Failed => "failed",
        Outcome::Cancelled => "cancelled",
        Outcome::Timeout => "timeout",
    }
}
