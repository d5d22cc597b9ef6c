//! What people with the operator role ask for.

use millrace_decider::{Context, Refusal};
use millrace_events::v1::{self, CancelRequested, Outcome, RetryRequested, TaskCancelled};
use millrace_events::{DispatcherEvent, OperatorEvent};

use super::state::{Status, Task};
use super::{Limits, spec_gate};

type Decision = Result<Option<DispatcherEvent>, Refusal>;

/// What can be answered from the dispatcher's own log; the rest makes due that somebody is asked.
pub(super) fn asked(state: &Task, event: &OperatorEvent) -> Decision {
    let nothing_waits = |what: &str| {
        let task = &state.reference.task;
        Err(Refusal::Mismatch(format!(
            "{what}, but nothing of {task} waits for it (it is {})",
            state.status_name()
        )))
    };
    match event {
        OperatorEvent::RetryRequested(request) => may_retry(state, request).map(|_| None),
        OperatorEvent::CancelRequested(request) => may_cancel(state, request).map(|_| None),
        OperatorEvent::ApprovalGranted(_) | OperatorEvent::ApprovalDenied(_) => {
            nothing_waits("an approval was answered")
        }
        OperatorEvent::ChangesRequested(_) => nothing_waits("changes were requested"),
        OperatorEvent::PauseRequested(_) => nothing_waits("a pause was requested"),
        OperatorEvent::ResumeRequested(_) => nothing_waits("a resume was requested"),
        OperatorEvent::OverrideGranted(_) => nothing_waits("an override was granted"),
        OperatorEvent::PromptBaselineReset(_) | OperatorEvent::DeadLetterReplayRequested(_) => Ok(None),
    }
}

/// Whether a retry opens a run. `Ok(false)`: it has done so already.
pub(super) fn may_retry(state: &Task, request: &RetryRequested) -> Result<bool, Refusal> {
    let task = &request.task;
    match state.status {
        None => Err(Refusal::Mismatch(format!("a retry of {task}, which was never scheduled"))),
        Some(_) if request.run != 0 && request.run < state.reference.run => Ok(false),
        Some(Status::Failed | Status::Blocked | Status::Cancelled) => Ok(true),
        Some(status) => Err(Refusal::Mismatch(format!("a retry of {task}, which is {}", status.name()))),
    }
}

/// A retry opens run n+1 on the spec as it is registered now; the history stays.
pub(super) fn retry(
    limits: &Limits,
    state: &Task,
    request: &RetryRequested,
    spec: Option<&v1::SpecRegistered>,
    context: &Context,
) -> Decision {
    if !may_retry(state, request)? {
        return Ok(None);
    }
    let Some(spec) = spec else {
        return Err(Refusal::Mismatch(format!("a retry of {}, which has no registered spec", request.task)));
    };
    Ok(Some(spec_gate::schedule(limits, spec, state.reference.run + 1, context)))
}

/// Whether a cancel ends the run. `Ok(false)`: it is over already.
pub(super) fn may_cancel(state: &Task, request: &CancelRequested) -> Result<bool, Refusal> {
    let task = &request.task;
    match state.status {
        None => Err(Refusal::Mismatch(format!("a cancel of {task}, which was never scheduled"))),
        Some(_) if request.run != 0 && request.run < state.reference.run => Ok(false),
        Some(Status::Active | Status::Blocked) => Ok(true),
        Some(Status::Cancelled) => Ok(false),
        Some(status) => Err(Refusal::Mismatch(format!("a cancel of {task}, which is {}", status.name()))),
    }
}

/// The merge is the point of no return.
pub(super) fn cancel(state: &Task, request: &CancelRequested, merged: Option<&str>) -> Decision {
    if !may_cancel(state, request)? {
        return Ok(None);
    }
    if let Some(commit) = merged {
        let task = &request.task;
        return Err(Refusal::Mismatch(format!("a cancel of {task}, which is merged already as {commit}")));
    }
    Ok(Some(
        TaskCancelled {
            task: Some(state.reference.clone()),
            outcome: Outcome::Cancelled as i32,
            actor: request.actor.clone(),
            reason: request.reason.clone(),
        }
        .into(),
    ))
}
