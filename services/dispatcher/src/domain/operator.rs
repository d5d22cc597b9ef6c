//! What people with the operator role ask for. DESIGN section 4, "Pause and cancel".
//!
//! - **Which run.** A request names its run; run 0 is the run that was the present one when the request was
//!   made. A run that is not there is refused. The same request again changes nothing: the log remembers by
//!   its cause what it has answered, and by its id which pause and which resume it has met.
//! - **Cancel.** The lease of the present order is taken away at once, so that its model call and sandbox end.
//!   Whether the run may still be cancelled the deployer decides in its own log: it stops a run as a whole,
//!   from when on nothing of it is merged, or it has merged it. Until it has said so the cancel waits; then the
//!   run is cancelled, or the cancel is refused with the merge.
//! - **Pause.** The merge is the point of no return here too. A paused run gets no work order and none of its
//!   deadlines counts; what would lead to an order waits. Work under way goes on to its end, and a release
//!   that is merged is finished. The end of a run ends its pause.
//! - **Resume.** An order that nobody had begun is offered again, as the same try.
//! - **Retry.** Opens run n+1 on the spec as it is registered then.

use millrace_decider::{Context, Refusal, Timestamp};
use millrace_events::v1::{
    self, CancelRequested, Outcome, PauseRequested, ResumeRequested, RetryRequested, TaskCancelled,
    TaskPaused, TaskResumed,
};
use millrace_events::{DispatcherEvent, OperatorEvent};

use super::input::Release;
use super::state::{Status, Task};

type Decision = Result<Option<DispatcherEvent>, Refusal>;

/// What can be answered from the dispatcher's own log; the rest makes due that somebody is asked.
pub(super) fn asked(
    state: &Task,
    (event, id): (&OperatorEvent, &str),
    at: Timestamp,
    context: &Context,
) -> Decision {
    if state.has_answered(&context.cause) || state.has_met(id) {
        return Ok(None);
    }
    let nothing_waits = |what: &str| {
        let task = &state.reference.task;
        Err(Refusal::Mismatch(format!(
            "{what}, but nothing of {task} waits for it (it is {})",
            state.status_name()
        )))
    };
    match event {
        OperatorEvent::RetryRequested(request) => {
            may_retry(state, &about_run(state, request, at)).map(|_| None)
        }
        OperatorEvent::CancelRequested(request) => {
            may_cancel(state, &about_run(state, request, at)).map(|_| None)
        }
        OperatorEvent::PauseRequested(request) => {
            may_pause(state, &about_run(state, request, at)).map(|_| None)
        }
        OperatorEvent::ResumeRequested(request) => resume(state, &about_run(state, request, at), id),
        OperatorEvent::ApprovalGranted(_) | OperatorEvent::ApprovalDenied(_) => {
            nothing_waits("an approval was answered")
        }
        OperatorEvent::ChangesRequested(_) => nothing_waits("changes were requested"),
        OperatorEvent::OverrideGranted(_) => nothing_waits("an override was granted"),
        OperatorEvent::PromptBaselineReset(_) | OperatorEvent::DeadLetterReplayRequested(_) => Ok(None),
    }
}

/// A request that names a run, or 0.
pub(super) trait NamesRun: Clone {
    fn run(&mut self) -> &mut u32;
}

macro_rules! names_run {
    ($($request:ty),+) => { $(impl NamesRun for $request { fn run(&mut self) -> &mut u32 { &mut self.run } })+ };
}
names_run!(RetryRequested, CancelRequested, PauseRequested, ResumeRequested);

/// The request with its run named.
pub(super) fn about_run<R: NamesRun>(state: &Task, request: &R, at: Timestamp) -> R {
    let mut request = request.clone();
    let run = request.run();
    if *run == 0 {
        let present = state.reference.run;
        let is_later = state.scheduled_at.is_some_and(|scheduled| scheduled > at);
        *run = if is_later && present > 1 { present - 1 } else { present };
    }
    request
}

/// Where the run that a request names stands against the present one.
fn is_present(state: &Task, what: &str, task: &str, run: u32) -> Result<bool, Refusal> {
    if state.status.is_none() {
        return Err(Refusal::Mismatch(format!("{what} of {task}, which was never scheduled")));
    }
    let present = state.reference.run;
    if run > present {
        return Err(Refusal::Mismatch(format!("{what} of run {run} of {task}, which is in run {present}")));
    }
    Ok(run == present)
}

/// Whether a retry opens a run. `Ok(false)`: it has done so already.
pub(super) fn may_retry(state: &Task, request: &RetryRequested) -> Result<bool, Refusal> {
    let task = &request.task;
    if !is_present(state, "a retry", task, request.run)? {
        return Ok(false);
    }
    match state.status {
        Some(Status::Failed | Status::Blocked | Status::Cancelled) => Ok(true),
        _ => Err(Refusal::Mismatch(format!("a retry of {task}, which is {}", state.status_name()))),
    }
}

/// A retry opens run n+1 on the spec as it is registered now, once there is room; the history stays.
pub(super) fn retry(
    state: &Task,
    request: &RetryRequested,
    spec: Option<&v1::SpecRegistered>,
    context: &Context,
) -> Decision {
    if state.has_answered(&context.cause) || !may_retry(state, request)? {
        return Ok(None);
    }
    match spec {
        Some(_) => Ok(None),
        None => Err(Refusal::Mismatch(format!("a retry of {}, which has no registered spec", request.task))),
    }
}

/// Whether a cancel ends the run. `Ok(false)`: it is over already.
pub(super) fn may_cancel(state: &Task, request: &CancelRequested) -> Result<bool, Refusal> {
    let task = &request.task;
    if !is_present(state, "a cancel", task, request.run)? {
        return Ok(false);
    }
    match state.status {
        _ if state.may_be_cancelled() => Ok(true),
        Some(Status::Cancelled) => Ok(false),
        _ => Err(Refusal::Mismatch(format!("a cancel of {task}, which is {}", state.status_name()))),
    }
}

/// The deployer's log says whether the merge or the stop came first.
pub(super) fn cancel(state: &Task, request: &CancelRequested, release: &Release) -> Decision {
    if !may_cancel(state, request)? {
        return Ok(None);
    }
    let task = &request.task;
    match release {
        Release::Merged(commit) => {
            Err(Refusal::Mismatch(format!("a cancel of {task}, which is merged already as {commit}")))
        }
        // Nothing of a run that was never on offer can be merged.
        Release::Open if state.status != Some(Status::Pending) => {
            Err(Refusal::TooEarly(format!("the deployer has not stopped run {} yet", request.run)))
        }
        Release::Open | Release::Stopped => Ok(Some(
            TaskCancelled {
                task: Some(state.reference.clone()),
                outcome: Outcome::Cancelled as i32,
                actor: request.actor.clone(),
                reason: request.reason.clone(),
            }
            .into(),
        )),
    }
}

/// Whether a pause holds the run. `Ok(false)`: it is held already.
pub(super) fn may_pause(state: &Task, request: &PauseRequested) -> Result<bool, Refusal> {
    let (task, run) = (&request.task, request.run);
    if !is_present(state, "a pause", task, run)? {
        return Err(Refusal::Mismatch(format!("a pause of run {run} of {task}, which is over")));
    }
    if !state.is_under_way() {
        return Err(Refusal::Mismatch(format!("a pause of {task}, which is {}", state.status_name())));
    }
    Ok(!state.paused)
}

/// Holds the run before its next stage.
pub(super) fn pause(
    state: &Task,
    (request, id): (&PauseRequested, &str),
    release: &Release,
    context: &Context,
) -> Decision {
    // Delivered or published again after a resume, it would hold the run once more.
    if state.has_answered(&context.cause) || state.has_met(id) || !may_pause(state, request)? {
        return Ok(None);
    }
    let task = &request.task;
    match release {
        Release::Merged(commit) => {
            Err(Refusal::Mismatch(format!("a pause of {task}, which is merged already as {commit}")))
        }
        Release::Stopped => Err(Refusal::Mismatch(format!("a pause of {task}, which is being cancelled"))),
        Release::Open => Ok(Some(
            TaskPaused {
                task: Some(state.reference.clone()),
                actor: request.actor.clone(),
                reason: request.reason.clone(),
                request: id.to_owned(),
            }
            .into(),
        )),
    }
}

/// Lets a paused run go on.
fn resume(state: &Task, request: &ResumeRequested, id: &str) -> Decision {
    let task = &request.task;
    if !is_present(state, "a resume", task, request.run)? || !state.paused {
        return Err(Refusal::Mismatch(format!("a resume of {task}, which is not paused")));
    }
    Ok(Some(
        TaskResumed {
            task: Some(state.reference.clone()),
            actor: request.actor.clone(),
            reason: request.reason.clone(),
            request: id.to_owned(),
        }
        .into(),
    ))
}
