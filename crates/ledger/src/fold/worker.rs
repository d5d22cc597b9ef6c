//! The worker's log: who took which work order, and what came of it.

use millrace_events::WorkerEvent;
use millrace_events::v1::{self, ModelCallRecord, Phase, PhaseRecord, TaskRef, WorkOrderKind};
use serde_json::json;

use super::change::{Change, Fact, Merge, RowChange, Table, Value};
use super::failure;
use super::stage::Stage;

pub(super) fn fold(fact: &Fact<'_>, event: &WorkerEvent) -> Vec<Change> {
    match event {
        WorkerEvent::WorkOrderAcknowledged(event) => acknowledged(fact, event),
        WorkerEvent::PhaseCompleted(event) => match (&event.task, &event.record) {
            (Some(task), Some(record)) => vec![phase(fact, task, record)],
            _ => Vec::new(),
        },
        WorkerEvent::ModelCalled(event) => match (&event.task, &event.call) {
            (Some(task), Some(record)) => vec![call(fact, task, 0, record)],
            _ => Vec::new(),
        },
        WorkerEvent::ToolCallRefused(event) => {
            failure::row(fact, event.task.as_ref(), event.failure.as_ref()).into_iter().collect()
        }
        WorkerEvent::ExecutionCompleted(event) => completed(fact, event),
        WorkerEvent::ExecutionFailed(event) => failed(fact, event),
        WorkerEvent::ExecutionSuspended(event) => {
            vec![ended(fact, event.task.as_ref(), &event.order, "suspended", "")]
        }
        WorkerEvent::ChecksCompleted(event) => checked(fact, event),
        // Kept in the history; no row of their own.
        WorkerEvent::PhaseReverted(_)
        | WorkerEvent::ModelFellBack(_)
        | WorkerEvent::ContractViolated(_)
        | WorkerEvent::PromptDriftDetected(_) => Vec::new(),
    }
}

fn acknowledged(fact: &Fact<'_>, event: &v1::WorkOrderAcknowledged) -> Vec<Change> {
    let Some(task) = &event.task else { return Vec::new() };
    let kind = if event.kind() == WorkOrderKind::Check { "check" } else { "change" };
    let order = order(Some(task), &event.order)
        .merge("kind", Merge::Max, kind)
        .set("worker", &event.worker)
        .set("fencing_token", fact.sequence)
        .set("acknowledged_at", fact.time)
        .done();
    if event.kind() == WorkOrderKind::Check {
        return vec![order];
    }
    let run = run(task).set("worker", &event.worker).merge("claimed_at", Merge::First, fact.time);
    vec![order, run.done(), Stage::Executing.reached(fact, task)]
}

fn completed(fact: &Fact<'_>, event: &v1::ExecutionCompleted) -> Vec<Change> {
    let Some(task) = &event.task else { return Vec::new() };
    let run = run(task)
        .set("executed_at", fact.time)
        .set("execution_ms", event.duration_ms)
        .set("risk_level", &event.risk_level)
        .set("summary", &event.summary)
        .done();
    let mut changes = vec![ended(fact, Some(task), &event.order, "completed", ""), run];
    changes.extend(event.phases.iter().map(|record| phase(fact, task, record)));
    changes.extend(calls(fact, task, &event.calls));
    changes
}

fn failed(fact: &Fact<'_>, event: &v1::ExecutionFailed) -> Vec<Change> {
    let code = event.failure.as_ref().map(v1::Failure::code_name).unwrap_or_default();
    let mut changes = vec![ended(fact, event.task.as_ref(), &event.order, "failed", &code)];
    if let Some(task) = &event.task {
        changes.extend(calls(fact, task, &event.calls));
    }
    changes.extend(failure::row(fact, event.task.as_ref(), event.failure.as_ref()));
    changes
}

fn checked(fact: &Fact<'_>, event: &v1::ChecksCompleted) -> Vec<Change> {
    let result = if event.passed { "passed" } else { "not_passed" };
    let order = ended(fact, event.task.as_ref(), &event.order, result, "");
    let stage = event.task.as_ref().map(|task| Stage::Validating.reached(fact, task));
    std::iter::once(order).chain(stage).collect()
}

fn ended(fact: &Fact<'_>, task: Option<&TaskRef>, id: &str, result: &str, code: &str) -> Change {
    order(task, id).set("ended_at", fact.time).set("result", result).set("result_code", code).done()
}

/// The row of a work order; what both it and the dispatcher know of it is a join.
fn order(task: Option<&TaskRef>, id: &str) -> RowChange {
    let row = Table::WorkOrders.row(vec![id.into()]);
    let Some(task) = task else { return row };
    row.merge("task", Merge::Max, &task.task).merge("run", Merge::Max, task.run).merge(
        "attempt",
        Merge::Max,
        task.attempt,
    )
}

fn run(task: &TaskRef) -> RowChange {
    Table::Runs.row(vec![(&task.task).into(), task.run.max(1).into()])
}

fn phase(fact: &Fact<'_>, task: &TaskRef, record: &PhaseRecord) -> Change {
    let evidence: Vec<_> = record
        .evidence
        .iter()
        .map(|blob| json!({ "name": blob.name, "sha256": blob.sha256, "size": blob.size }))
        .collect();
    let mut key = attempt(task);
    key.extend([phase_name(record.phase()).into(), record.iteration.into()]);
    Table::Phases
        .row(key)
        .merge("completed_at", Merge::First, fact.time)
        .set("duration_ms", record.duration_ms)
        .set("summary", &record.summary)
        .set("evidence", json!(evidence).to_string())
        .done()
}

fn calls(fact: &Fact<'_>, task: &TaskRef, calls: &[ModelCallRecord]) -> Vec<Change> {
    calls.iter().enumerate().map(|(index, record)| call(fact, task, index, record)).collect()
}

fn call(fact: &Fact<'_>, task: &TaskRef, index: usize, record: &ModelCallRecord) -> Change {
    // Told when it was made, and perhaps again at the end of the attempt: one call all the same. Without
    // prompt and answer the event's place names it.
    let name = if record.prompt_sha256.is_empty() || record.answer_sha256.is_empty() {
        format!("{}:{}:{index}", fact.stream, fact.sequence)
    } else {
        format!("{}:{}:{}", record.role, record.prompt_sha256, record.answer_sha256)
    };
    let mut key = attempt(task);
    key.push(name.into());
    Table::ModelCalls
        .row(key)
        .set("role", &record.role)
        .set("provider", &record.provider)
        .set("model", &record.model)
        .set("prompt_sha256", &record.prompt_sha256)
        .set("input_tokens", record.input_tokens)
        .set("output_tokens", record.output_tokens)
        .set("cost_micro_usd", record.cost_micro_usd)
        .set("duration_ms", record.duration_ms)
        .set("verdict", &record.verdict)
        .done()
}

fn attempt(task: &TaskRef) -> Vec<Value> {
    vec![(&task.task).into(), task.run.into(), task.attempt.into()]
}

fn phase_name(phase: Phase) -> &'static str {
    phase.as_str_name().trim_start_matches("PHASE_")
}
