//! The spans of the host: one for each message handled, one for each event appended, and what an event
//! means for its task. Fields stand in the macros, so that nothing is formatted where nobody listens.
//!
//! An event carries the context of its own `send` span; whoever handles it makes that the parent of its
//! `process` span, and a link. So a task is one trace, in which each step hangs below what it came from.

use std::fmt;

use millrace_events::catalogue::NAMESPACE;
use millrace_events::v1::PullRequest;
use millrace_events::{
    DeployerEvent, DispatcherEvent, Envelope, Event, Key, Log, Service, TaskId, ValidatorEvent, WorkerEvent,
};
use millrace_telemetry::context::{link, set_parent};
use millrace_telemetry::names::{attribute, span, value};
use tracing::Span;
use tracing::field::Empty;

use super::{Incoming, Received};

/// Handling one message. Its parent is the message's creation context.
pub(super) fn process(service: Service, received: &Received, envelope: &Envelope) -> Span {
    let template = received.log.map_or(Template::Due(service), Template::Log);
    let span = tracing::info_span!(
        "process",
        otel.name = %span::messaging(value::PROCESS, template),
        otel.kind = "consumer",
        { attribute::MESSAGING_SYSTEM } = value::NATS,
        { attribute::MESSAGING_OPERATION_NAME } = value::PROCESS,
        { attribute::MESSAGING_OPERATION_TYPE } = value::PROCESS,
        { attribute::MESSAGING_DESTINATION_TEMPLATE } = %template,
        { attribute::MESSAGING_CONSUMER_GROUP_NAME } = service.durable(),
        { attribute::MESSAGING_MESSAGE_ID } = %envelope.id,
        { attribute::MESSAGING_CONVERSATION_ID } = %received.key,
        { attribute::MESSAGING_STREAM_SEQUENCE } = received.position.sequence,
        { attribute::MILLRACE_SERVICE } = service.name(),
        { attribute::EVENT_TYPE } = envelope.name(),
        { attribute::TASK_ID } = Empty,
        { attribute::TASK_RUN } = Empty,
        { attribute::TASK_ATTEMPT } = Empty,
        { attribute::REPOSITORY_ID } = Empty,
        { attribute::CICD_PIPELINE_RUN_ID } = Empty,
        { attribute::VCS_CHANGE_ID } = Empty,
        { attribute::VCS_REF_HEAD_REVISION } = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if !envelope.traceparent.is_empty() {
        set_parent(&span, &envelope.traceparent, &envelope.tracestate);
        link(&span, &envelope.traceparent);
    }
    let event = match &received.incoming {
        Incoming::Event(event) => Some(event),
        Incoming::Timer(_) => None,
    };
    describe(&span, &received.key, envelope.run, event);
    span
}

/// Appending one event to the service's own log; what happens to the task by it stands below.
pub(super) fn send(service: &'static str, key: &Key, envelope: &Envelope, event: &Event) -> Span {
    let template = Template::Log(event.log());
    let span = tracing::info_span!(
        "send",
        otel.name = %span::messaging(value::SEND, template),
        otel.kind = "producer",
        { attribute::MESSAGING_SYSTEM } = value::NATS,
        { attribute::MESSAGING_OPERATION_NAME } = value::SEND,
        { attribute::MESSAGING_OPERATION_TYPE } = value::SEND,
        { attribute::MESSAGING_DESTINATION_TEMPLATE } = %template,
        { attribute::MESSAGING_MESSAGE_ID } = %envelope.id,
        { attribute::MESSAGING_CONVERSATION_ID } = %key,
        { attribute::MILLRACE_SERVICE } = service,
        { attribute::EVENT_TYPE } = event.name(),
        { attribute::TASK_ID } = Empty,
        { attribute::TASK_RUN } = Empty,
        { attribute::TASK_ATTEMPT } = Empty,
        { attribute::REPOSITORY_ID } = Empty,
        { attribute::CICD_PIPELINE_RUN_ID } = Empty,
        { attribute::VCS_CHANGE_ID } = Empty,
        { attribute::VCS_REF_HEAD_REVISION } = Empty,
    );
    if !span.is_disabled() {
        describe(&span, key, envelope.run, Some(event));
    }
    span
}

/// What an appended event is for its task: a change of its status, or a breach of the process. To be called
/// inside the event's [`send`] span.
pub(super) fn consequence(event: &Event) {
    if let Some(violation) = violation(event) {
        tracing::info_span!(
            "violation",
            otel.name = span::PROCESS_VIOLATION,
            { attribute::ERROR_TYPE } = violation
        );
    }
    let Event::Dispatcher(event) = event else { return };
    let Some(to) = status(event) else { return };
    let transition = tracing::info_span!(
        "transition",
        otel.name = span::STATE_TRANSITION,
        { attribute::STATUS_TO } = to,
        { attribute::CICD_PIPELINE_RESULT } = Empty,
        { attribute::ERROR_TYPE } = Empty,
    );
    if let Some(result) = result(event) {
        transition.record(attribute::CICD_PIPELINE_RESULT, result);
    }
    if let DispatcherEvent::TaskFailed(failed) = event
        && let Some(failure) = &failed.failure
    {
        transition.record(attribute::ERROR_TYPE, failure.code_name());
    }
}

/// The validator's look at a pull request.
pub(super) fn verify(key: &Key) -> Span {
    tracing::info_span!(
        "verify",
        otel.name = span::VERIFY,
        { attribute::MILLRACE_SERVICE } = Service::Validator.name(),
        { attribute::TASK_ID } = %key,
    )
}

/// The task, its run and its change, as far as the event says. A field that a span has not is left out.
fn describe(span: &Span, key: &Key, run: u32, event: Option<&Event>) {
    if TaskId::parse(key.as_str()).is_ok() {
        span.record(attribute::TASK_ID, key.as_str());
        if run > 0 {
            span.record(attribute::TASK_RUN, run);
            span.record(attribute::CICD_PIPELINE_RUN_ID, format!("{}/{run}", key.as_str()));
        }
    }
    let Some(event) = event else { return };
    if let Some(task) = event.task_ref() {
        span.record(attribute::TASK_ATTEMPT, task.attempt);
        span.record(attribute::REPOSITORY_ID, task.repository.as_str());
    }
    if let Some(change) = pull_request(event) {
        span.record(attribute::VCS_CHANGE_ID, change.number.to_string());
        span.record(attribute::VCS_REF_HEAD_REVISION, change.head.as_str());
    } else if let Event::Worker(WorkerEvent::ExecutionCompleted(event)) = event {
        span.record(attribute::VCS_REF_HEAD_REVISION, event.head.as_str());
    }
}

fn pull_request(event: &Event) -> Option<&PullRequest> {
    match event {
        Event::Deployer(DeployerEvent::PullRequestOpened(event)) => event.pull_request.as_ref(),
        Event::Deployer(DeployerEvent::MergeCompleted(event)) => event.pull_request.as_ref(),
        Event::Deployer(DeployerEvent::MergeFailed(event)) => event.pull_request.as_ref(),
        Event::Deployer(DeployerEvent::DeploymentVerified(event)) => event.pull_request.as_ref(),
        Event::Deployer(DeployerEvent::DeploymentFailed(event)) => event.pull_request.as_ref(),
        Event::Validator(ValidatorEvent::ValidationPassed(event)) => event.pull_request.as_ref(),
        Event::Validator(ValidatorEvent::ValidationFailed(event)) => event.pull_request.as_ref(),
        Event::Worker(WorkerEvent::ChecksCompleted(event)) => event.pull_request.as_ref(),
        Event::Dispatcher(DispatcherEvent::TaskCompleted(event)) => event.pull_request.as_ref(),
        _ => None,
    }
}

/// The status that a task has from this event on; `None`: it keeps the one it has.
fn status(event: &DispatcherEvent) -> Option<&'static str> {
    Some(match event {
        DispatcherEvent::TaskScheduled(_) | DispatcherEvent::WorkOrderIssued(_) => "dispatched",
        DispatcherEvent::WorkOrderExpired(_) => "expired",
        DispatcherEvent::ApprovalRequired(_) => "waiting_for_approval",
        DispatcherEvent::TaskBlocked(_) => "blocked",
        DispatcherEvent::TaskPaused(_) => "paused",
        DispatcherEvent::TaskResumed(_) => "resumed",
        DispatcherEvent::TaskCompleted(_) => "completed",
        DispatcherEvent::TaskFailed(_) => "failed",
        DispatcherEvent::TaskCancelled(_) => "cancelled",
        DispatcherEvent::TransitionRefused(_) => return None,
    })
}

/// What a run came to, in the registry's words; `None`: it has not ended.
fn result(event: &DispatcherEvent) -> Option<&'static str> {
    match event {
        DispatcherEvent::TaskCompleted(_) => Some("success"),
        DispatcherEvent::TaskCancelled(_) => Some("cancellation"),
        DispatcherEvent::TaskFailed(event) => {
            let code = event.failure.as_ref().and_then(|failure| failure.known_code());
            Some(if code.is_some_and(|code| code.name().ends_with("_TIMEOUT")) {
                "timeout"
            } else {
                "failure"
            })
        }
        _ => None,
    }
}

/// The rule that an event says was broken.
fn violation(event: &Event) -> Option<&'static str> {
    match event {
        Event::Dispatcher(DispatcherEvent::TransitionRefused(_))
        | Event::Worker(WorkerEvent::ContractViolated(_) | WorkerEvent::ToolCallRefused(_)) => {
            Some(event.name())
        }
        _ => None,
    }
}

/// Where a message stands, with its key left open: the subject itself would give each task names of its own.
#[derive(Clone, Copy)]
pub(super) enum Template {
    Log(Log),
    Due(Service),
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(log) => write!(f, "{NAMESPACE}.{}.{{partition}}.{{key}}", log.name()),
            Self::Due(service) => write!(f, "{NAMESPACE}.{}.due.{{key}}.{{name}}", service.name()),
        }
    }
}
