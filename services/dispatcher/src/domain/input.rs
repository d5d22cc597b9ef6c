//! What can happen to a task.

use millrace_decider::{Cause, Timestamp};
use millrace_events::v1::{self, TaskRef, TimerFired, WorkOrderKind};
use millrace_events::{DeployerEvent, OperatorEvent, ValidatorEvent, WorkerEvent};

use super::{Candidate, Room};

/// An input of the life cycle.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A spec is known.
    SpecRegistered(v1::SpecRegistered),
    /// Whether there is room for a run: the answer to [`super::Effect::Admit`].
    Admitted {
        /// The run.
        candidate: Candidate,
        /// The spec that opens it; `None`: it is opened already, and waits.
        spec: Option<Box<v1::SpecRegistered>>,
        /// The answer.
        room: Room,
    },
    /// A spec was refused, or not found.
    SpecRejected(v1::SpecRejected),
    /// A worker said something.
    Worker {
        /// What.
        event: WorkerEvent,
        /// When.
        at: Timestamp,
    },
    /// The validator's verdict.
    Validator(ValidatorEvent),
    /// What the deployer did.
    Deployer(DeployerEvent),
    /// A person with the operator role decided something.
    Operator {
        /// What.
        event: OperatorEvent,
        /// The id of the event: the same where it was published twice.
        id: String,
        /// Where it stands.
        position: Cause,
        /// When.
        at: Timestamp,
    },
    /// The projector's sweep found the task silent.
    Overdue(v1::OverdueNoticed),
    /// A deadline fired.
    Timer {
        /// Which.
        timer: TimerFired,
        /// When, by the server's clock: the same however often it is delivered.
        at: Timestamp,
    },
    /// What the logs and the lease say about a work order: the answer to [`super::Effect::Inquire`].
    Inquired {
        /// The deadline that asked.
        timer: TimerFired,
        /// What was found.
        report: Report,
        /// When.
        at: Timestamp,
    },
    /// The spec that a retry works on: the answer to [`super::Effect::FindSpec`].
    Retry {
        /// The request.
        request: v1::RetryRequested,
        /// The spec as it is registered now; `None`: there is none.
        spec: Option<v1::SpecRegistered>,
    },
    /// Whether a cancel can be: the answer to [`super::Effect::AskCancel`] and [`super::Effect::FindCancel`].
    Cancel {
        /// The request.
        request: v1::CancelRequested,
        /// What the deployer says about the run.
        release: Release,
    },
    /// Whether a pause still can be: the answer to [`super::Effect::AskPause`].
    Pause {
        /// The request.
        request: v1::PauseRequested,
        /// The id of the event that asked.
        id: String,
        /// What the deployer says about the run.
        release: Release,
    },
    /// Go on after an expiry that has been recorded.
    FollowUp {
        /// The task.
        task: String,
    },
}

/// What the deployer's log says about a run: it decides whether a merge or a stop came first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// Neither merged nor stopped.
    Open,
    /// Stopped as a whole: it can be merged no more.
    Stopped,
    /// Merged, as this commit.
    Merged(String),
}

/// What the worker's log and the lease say about a work order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Somebody has acknowledged it.
    pub acknowledged: bool,
    /// Its end has been recorded: completed, failed, suspended or checked.
    pub finished: bool,
    /// Its worker gave it back without doing it, because the task was paused.
    pub suspended: bool,
    /// Its lease is alive.
    pub lease_alive: bool,
    /// Other work orders are being worked on.
    pub workers_busy: bool,
    /// The pull request of the attempt has been recorded, as opened or as failed.
    pub pull_request_known: bool,
}

impl Input {
    /// The task id that the input is about.
    pub fn task(&self) -> &str {
        match self {
            Self::SpecRegistered(event) => &event.task,
            Self::Admitted { candidate, .. } => &candidate.task,
            Self::SpecRejected(event) => &event.task,
            Self::Worker { event, .. } => task_id(event.task_ref()),
            Self::Validator(event) => task_id(event.task_ref()),
            Self::Deployer(event) => task_id(event.task_ref()),
            Self::Operator { event, .. } => operator_task(event),
            Self::Overdue(event) => &event.task,
            Self::Timer { timer, .. } | Self::Inquired { timer, .. } => task_id(timer.task.as_ref()),
            Self::Retry { request, .. } => &request.task,
            Self::Cancel { request, .. } => &request.task,
            Self::Pause { request, .. } => &request.task,
            Self::FollowUp { task } => task,
        }
    }
}

fn task_id(task: Option<&TaskRef>) -> &str {
    task.map_or("", |task| task.task.as_str())
}

fn operator_task(event: &OperatorEvent) -> &str {
    match event {
        OperatorEvent::ApprovalGranted(event) => &event.task,
        OperatorEvent::ApprovalDenied(event) => &event.task,
        OperatorEvent::ChangesRequested(event) => &event.task,
        OperatorEvent::CancelRequested(event) => &event.task,
        OperatorEvent::RetryRequested(event) => &event.task,
        OperatorEvent::PauseRequested(event) => &event.task,
        OperatorEvent::ResumeRequested(event) => &event.task,
        OperatorEvent::OverrideGranted(event) => &event.task,
        OperatorEvent::PromptBaselineReset(_) | OperatorEvent::DeadLetterReplayRequested(_) => "",
    }
}

/// `change` or `check`, as in ids of work orders.
pub(super) fn kind_name(kind: WorkOrderKind) -> &'static str {
    match kind {
        WorkOrderKind::Check => "check",
        WorkOrderKind::Change | WorkOrderKind::Unspecified => "change",
    }
}

impl Input {
    /// What it is called in a refusal.
    pub(super) fn name(&self) -> &'static str {
        use millrace_events::LogEvent as _;
        match self {
            Self::SpecRegistered(_) | Self::Admitted { .. } => "SpecRegistered",
            Self::SpecRejected(_) => "SpecRejected",
            Self::Worker { event, .. } => event.name(),
            Self::Validator(event) => event.name(),
            Self::Deployer(event) => event.name(),
            Self::Operator { event, .. } => event.name(),
            Self::Overdue(_) => "OverdueNoticed",
            Self::Timer { .. } | Self::Inquired { .. } => "TimerFired",
            Self::Retry { .. } => "RetryRequested",
            Self::Cancel { .. } => "CancelRequested",
            Self::Pause { .. } => "PauseRequested",
            Self::FollowUp { .. } => "WorkOrderExpired",
        }
    }
}
