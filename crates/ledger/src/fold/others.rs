//! The logs with few rows: validator, failure analyzer, operator, dead letters, projector.

use millrace_events::v1::{ErrorCode, InsightPublished, PullRequest, TaskRef};
use millrace_events::{
    Code, DeadLetterEvent, FailureAnalyzerEvent, OperatorEvent, ProjectorEvent, ValidatorEvent,
    from_wire_time,
};
use serde_json::json;

use super::change::{Change, Fact, Table, Value};
use super::failure;
use super::stage::Stage;

pub(super) fn validator(fact: &Fact<'_>, event: &ValidatorEvent) -> Vec<Change> {
    match event {
        ValidatorEvent::ValidationPassed(event) => {
            let mut changes = verdict(fact, event.task.as_ref(), "passed", event.pull_request.as_ref());
            changes.extend(event.task.as_ref().map(|task| Stage::Merging.reached(fact, task)));
            changes
        }
        ValidatorEvent::ValidationFailed(event) => {
            let mut changes = verdict(fact, event.task.as_ref(), "failed", event.pull_request.as_ref());
            changes.extend(event.task.as_ref().map(|task| Stage::Validating.reached(fact, task)));
            changes.extend(failure::row(fact, event.task.as_ref(), event.failure.as_ref()));
            changes
        }
    }
}

fn verdict(
    fact: &Fact<'_>,
    task: Option<&TaskRef>,
    verdict: &str,
    pull_request: Option<&PullRequest>,
) -> Vec<Change> {
    let Some(task) = task else { return Vec::new() };
    let head = pull_request.map_or("", |pull_request| pull_request.head.as_str());
    let row = Table::Runs
        .row(vec![(&task.task).into(), task.run.max(1).into()])
        .set("verdict", verdict)
        .set("validated_head", head)
        .set("validated_at", fact.time);
    vec![row.done()]
}

pub(super) fn failure_analyzer(fact: &Fact<'_>, event: &FailureAnalyzerEvent) -> Vec<Change> {
    match event {
        FailureAnalyzerEvent::InsightPublished(event) => vec![insight(fact, event)],
        FailureAnalyzerEvent::FailureClassified(_) | FailureAnalyzerEvent::PromptVersionPromoted(_) => {
            Vec::new()
        }
    }
}

fn insight(fact: &Fact<'_>, event: &InsightPublished) -> Change {
    Table::Insights
        .row(vec![(&event.group).into()])
        .set("code", code_name(event.code()))
        .set("stage", &event.stage)
        .set("domain", &event.domain)
        .set("model", &event.model)
        .set("prompt_version", &event.prompt_version)
        .set("count", event.count)
        .set("recent", event.recent)
        .set("first_seen", from_wire_time(event.first_seen.as_ref()))
        .set("last_seen", from_wire_time(event.last_seen.as_ref()))
        .set("tasks", json!(event.tasks).to_string())
        .set("trend", &event.trend)
        .set("advice", &event.advice)
        .set("published_at", fact.time)
        .done()
}

pub(super) fn operator(fact: &Fact<'_>, event: &OperatorEvent) -> Vec<Change> {
    let (about, run, actor, reason) = match event {
        OperatorEvent::ApprovalGranted(e) => (e.task.clone(), e.run, &e.actor, &e.reason),
        OperatorEvent::ApprovalDenied(e) => (e.task.clone(), e.run, &e.actor, &e.reason),
        OperatorEvent::ChangesRequested(e) => (e.task.clone(), e.run, &e.actor, &e.reason),
        OperatorEvent::CancelRequested(e) => (e.task.clone(), e.run, &e.actor, &e.reason),
        OperatorEvent::RetryRequested(e) => (e.task.clone(), e.run, &e.actor, &e.reason),
        OperatorEvent::PauseRequested(e) => (e.task.clone(), e.run, &e.actor, &e.reason),
        OperatorEvent::ResumeRequested(e) => (e.task.clone(), e.run, &e.actor, &e.reason),
        OperatorEvent::OverrideGranted(e) => (e.task.clone(), e.run, &e.actor, &e.reason),
        OperatorEvent::PromptBaselineReset(e) => (e.prompt.clone(), 0, &e.actor, &e.reason),
        OperatorEvent::DeadLetterReplayRequested(e) => {
            (format!("{}:{}", e.stream, e.sequence), 0, &e.actor, &e.reason)
        }
    };
    let mut changes = vec![
        fact.own_row(Table::OperatorActions)
            .set("action", fact.event.name())
            .set("about", about)
            .set("run", run)
            .set("actor", actor)
            .set("reason", reason)
            .set("time", fact.time)
            .done(),
    ];
    if let OperatorEvent::DeadLetterReplayRequested(event) = event {
        let row = Table::DeadLetters
            .row(letter(&event.stream, event.sequence, &event.service))
            .set("replay_requested_at", fact.time)
            .set("replay_requested_by", &event.actor)
            .set("requested", fact.sequence);
        changes.push(row.done());
    }
    changes
}

pub(super) fn dead_letter(fact: &Fact<'_>, event: &DeadLetterEvent) -> Vec<Change> {
    let event = match event {
        DeadLetterEvent::DeadLettered(event) => event,
        DeadLetterEvent::DeadLetterReplayed(event) => {
            let row = Table::DeadLetters
                .row(letter(&event.stream, event.sequence, &event.service))
                .set("answered", event.replay)
                .set("handled_at", fact.time);
            return vec![row.done()];
        }
    };
    let failure = event.failure.clone().unwrap_or_default();
    let row = Table::DeadLetters
        .row(letter(&event.stream, event.sequence, &event.service))
        .set("subject", &event.subject)
        .set("code", failure.code_name())
        .set("message", &failure.message)
        .set("attempts", event.attempts)
        .set("time", fact.time)
        .set("answered", event.replay)
        .done();
    std::iter::once(row).chain(failure::row(fact, None, event.failure.as_ref())).collect()
}

pub(super) fn projector(fact: &Fact<'_>, event: &ProjectorEvent) -> Vec<Change> {
    match event {
        ProjectorEvent::LedgerRegressed(event) => {
            failure::row(fact, None, event.failure.as_ref()).into_iter().collect()
        }
        ProjectorEvent::LogDiffers(event) => {
            failure::row(fact, None, event.failure.as_ref()).into_iter().collect()
        }
        // Kept in the history; no row of their own.
        ProjectorEvent::LedgerRebuilt(_)
        | ProjectorEvent::LogRecovered(_)
        | ProjectorEvent::ChainHeadSigned(_)
        | ProjectorEvent::OverdueNoticed(_) => Vec::new(),
    }
}

fn letter(stream: &str, sequence: u64, service: &str) -> Vec<Value> {
    vec![stream.into(), sequence.into(), service.into()]
}

fn code_name(code: ErrorCode) -> &'static str {
    Code::from_wire(code as i32).map_or("", Code::name)
}
