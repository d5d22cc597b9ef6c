//! The ledger's rows as the API has them.

use millrace_decider::Cause;
use millrace_events::{Event, Log, wire_time};
use millrace_ledger::{
    DeadLetterRow, Entry, EventRow, FailureRow, InsightRow, SpecRow, Status, StoredEvent, TaskRow,
    WorkOrderRow,
};
use millrace_rpc::v1;
use serde_json::Value;

use crate::rules::explained;

pub(super) fn task(row: TaskRow) -> v1::Task {
    let failure = (!row.failure_code.is_empty()).then_some(v1::Failure {
        message: row.failure_message,
        stage: row.failure_stage,
        ..explained(row.failure_code)
    });
    let pull_request = (row.pull_request > 0).then_some(v1::PullRequest {
        number: row.pull_request,
        url: row.pull_request_url,
        head_branch: row.head_branch,
        head: row.head,
        base_branch: row.base_branch,
    });
    v1::Task {
        id: row.task,
        repository: row.repository,
        title: row.title,
        status: status(row.status) as i32,
        stage: row.stage,
        run: row.run,
        attempt: row.attempt,
        spec_version: if row.spec_version > 0 { row.spec_version } else { row.latest_spec_version },
        spec_checksum: row.spec_checksum,
        domain: row.domain,
        target: row.target,
        worker: row.worker,
        waiting: row.waiting,
        reason: row.reason,
        pull_request,
        merge_commit: row.merge_commit,
        release_commit: row.release_commit,
        release_url: row.release_url,
        failure,
        model_calls: row.model_calls,
        cost_micro_usd: row.cost_micro_usd,
        created_at: row.created_at.map(wire_time),
        updated_at: row.updated_at.map(wire_time),
    }
}

const fn status(status: Status) -> v1::TaskStatus {
    match status {
        Status::Pending => v1::TaskStatus::Pending,
        Status::Active => v1::TaskStatus::Active,
        Status::Complete => v1::TaskStatus::Complete,
        Status::Failed => v1::TaskStatus::Failed,
        Status::Blocked => v1::TaskStatus::Blocked,
        Status::Cancelled => v1::TaskStatus::Cancelled,
    }
}

pub(super) fn event(row: EventRow) -> v1::HistoryEvent {
    // The full type of an event that this version knows; else its own name.
    let known = Log::from_name(&row.log).and_then(|log| Event::empty(log, &row.event_type));
    v1::HistoryEvent {
        r#type: known.map_or_else(|| row.event_type.clone(), |event| event.type_name()),
        name: row.event_type,
        position: Some(v1::Position { stream: row.stream, sequence: row.sequence }),
        time: Some(wire_time(row.time)),
        data: if row.data.is_null() { String::new() } else { row.data.to_string() },
        cause: Cause::parse(&row.cause)
            .map(|cause| v1::Position { stream: cause.stream, sequence: cause.sequence }),
        run: row.run,
        mark: row.mark,
        note: row.note,
        log: row.log,
    }
}

pub(super) fn spec(row: SpecRow) -> v1::Spec {
    v1::Spec {
        task: row.task,
        version: row.version,
        checksum: row.checksum,
        size: row.spec_size,
        repository: row.repository,
        path: row.path,
        commit: row.commit,
        title: row.title,
        summary: row.summary,
        format: row.format,
        source: row.source,
        submitted_by: row.submitted_by,
        readiness: row.readiness,
        registered_at: row.registered_at.map(wire_time),
        plan_checksum: row.plan_sha256,
    }
}

pub(super) fn work_order(row: WorkOrderRow) -> v1::WorkOrder {
    v1::WorkOrder {
        id: row.id,
        task: row.task,
        run: row.run,
        attempt: row.attempt,
        kind: row.kind,
        state: row.state,
        tries: row.tries,
        worker: row.worker,
        fencing_token: row.fencing_token,
        issued_at: row.issued_at.map(wire_time),
        acknowledge_by: row.acknowledge_by.map(wire_time),
    }
}

pub(super) fn task_failure(row: FailureRow) -> v1::TaskFailure {
    v1::TaskFailure {
        task: row.task.clone(),
        run: row.run,
        attempt: row.attempt,
        time: row.time.map(wire_time),
        position: Some(v1::Position { stream: row.stream.clone(), sequence: row.sequence }),
        failure: Some(failure_of(row)),
    }
}

pub(super) fn failure_of(row: FailureRow) -> v1::Failure {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    v1::Failure {
        message: row.message,
        source: row.source,
        stage: row.stage,
        causes: row.causes.as_array().into_iter().flatten().map(text).collect(),
        context: row
            .context
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
        trace_id: row.trace_id,
        ..explained(row.code)
    }
}

pub(super) fn insight(row: InsightRow) -> v1::Insight {
    v1::Insight {
        group: row.group,
        code: row.code,
        stage: row.stage,
        domain: row.domain,
        model: row.model,
        prompt_version: row.prompt_version,
        count: row.count,
        recent: row.recent,
        trend: row.trend,
        advice: row.advice,
        tasks: row.tasks,
        first_seen: row.first_seen.map(wire_time),
        last_seen: row.last_seen.map(wire_time),
    }
}

pub(super) fn dead_letter(row: DeadLetterRow) -> v1::DeadLetter {
    let state = match row.handled_at {
        Some(_) => v1::DeadLetterState::Handled,
        None if row.requested > row.answered => v1::DeadLetterState::ReplayRequested,
        None => v1::DeadLetterState::Open,
    };
    v1::DeadLetter {
        state: state as i32,
        failures: row.failures,
        replays: row.replays,
        replay_requested_at: row.replay_requested_at.map(wire_time),
        replay_requested_by: row.replay_requested_by,
        handled_at: row.handled_at.map(wire_time),
        answered: row.answered,
        position: Some(v1::Position { stream: row.stream, sequence: row.sequence }),
        subject: row.subject,
        service: row.service,
        attempts: row.attempts,
        failure: Some(v1::Failure { message: row.message, ..explained(row.code) }),
        time: row.time.map(wire_time),
    }
}

/// The original message, and the event in it as JSON where it can be read.
pub(super) fn log_message(message: StoredEvent) -> v1::LogMessage {
    let entry = Entry::read(message);
    let event = entry.envelope.as_ref().map(|envelope| envelope.to_json().to_string());
    let stored = entry.stored;
    v1::LogMessage {
        position: Some(v1::Position { stream: stored.stream, sequence: stored.sequence }),
        subject: stored.subject,
        headers: stored.headers.into_iter().map(|(name, value)| v1::Header { name, value }).collect(),
        stored_at: Some(wire_time(stored.time)),
        payload: stored.payload,
        event: event.unwrap_or_default(),
        problem: entry.fault.unwrap_or_default(),
    }
}
