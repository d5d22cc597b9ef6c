//! Which answer is recorded.

use std::time::Duration;

use millrace_decider::{Context, Decider, Due, Recorded, Refusal};
use millrace_events::DeployerEvent;
use millrace_events::v1::{StageStopped, TaskRef, TimerFired};

use super::{Effect, End, Input, Release, due};

/// The rules of pull requests, merges and releases.
#[derive(Debug, Clone)]
pub struct Deployer {
    /// A release must be verified within this after its merge.
    pub deployment: Duration,
}

impl Decider for Deployer {
    type State = Release;
    type Input = Input;
    type Event = DeployerEvent;
    type Effect = Effect;
    type Alarm = TimerFired;

    fn decide(
        &self,
        state: &Release,
        input: &Input,
        _context: &Context,
    ) -> Result<Option<DeployerEvent>, Refusal> {
        match input {
            Input::Executed { .. } | Input::Timer(_) | Input::CancelAsked { .. } => Ok(None),
            Input::Stop { task, reason, closed } => Ok(run_stopped(state, task, reason, closed)),
            Input::Passed(passed) => {
                let task = passed.task.clone().unwrap_or_default();
                match state.attempt(&task).and_then(|attempt| attempt.opened.as_ref()) {
                    Some(_) => Ok(None),
                    None => Err(Refusal::Mismatch(format!(
                        "a verdict on attempt {}.{} of {}, for which no pull request was opened",
                        task.run, task.attempt, task.task
                    ))),
                }
            }
            Input::Ended { task, end: End::Cancelled, reason } => Ok(stopped(state, task, reason)),
            Input::Ended { .. } => Ok(None),
            Input::Found(event) => Ok(is_news(state, event).then(|| event.as_ref().clone())),
            Input::NotYet { reason, .. } => Err(Refusal::TooEarly(reason.clone())),
        }
    }

    fn evolve(&self, state: &mut Release, event: &Recorded<'_, DeployerEvent>) {
        state.apply(event);
    }

    fn due(&self, state: &Release, input: &Input) -> Vec<Due<Effect, TimerFired>> {
        due::due(self.deployment, state, input)
    }
}

/// A cancel stops the run as a whole once the forge can merge nothing of it any more. Of the merge and the
/// stop the first in this log stands; the dispatcher asks it which that was.
fn run_stopped(state: &Release, task: &TaskRef, reason: &str, closed: &[u64]) -> Option<DeployerEvent> {
    let run = task.run;
    let may_be_merged = state.unmerged(run).iter().any(|(_, open)| !closed.contains(&open.number));
    if may_be_merged || state.is_run_stopped(run) || state.is_merged(run) {
        return None;
    }
    let stopped = StageStopped {
        task: Some(TaskRef { attempt: 0, ..task.clone() }),
        stage: state.stage(run).to_owned(),
        reason: reason.to_owned(),
    };
    Some(stopped.into())
}

/// An end that nobody stopped before stops what has not been merged.
fn stopped(state: &Release, task: &TaskRef, reason: &str) -> Option<DeployerEvent> {
    if state.is_stopped(task) || state.is_merged(task.run) {
        return None;
    }
    let stopped = StageStopped {
        task: Some(task.clone()),
        stage: state.stage(task.run).to_owned(),
        reason: reason.to_owned(),
    };
    Some(stopped.into())
}

/// Whether the log does not hold an answer to the same question yet.
fn is_news(state: &Release, event: &DeployerEvent) -> bool {
    let Some(task) = event.task_ref() else { return false };
    let attempt = state.attempt(task);
    let open = attempt.is_some_and(|attempt| attempt.opened.is_some() && attempt.merge.is_none());
    match event {
        DeployerEvent::PullRequestOpened(_) | DeployerEvent::PullRequestFailed(_) => {
            state.awaits_pull_request(task)
        }
        DeployerEvent::MergeCompleted(_) => open,
        DeployerEvent::MergeFailed(event) => {
            let answered = attempt
                .zip(event.pull_request.as_ref())
                .is_none_or(|(attempt, pull_request)| attempt.is_refused(pull_request));
            open && !answered && !state.is_stopped(task)
        }
        DeployerEvent::DeploymentVerified(_) | DeployerEvent::DeploymentFailed(_) => {
            attempt.is_some_and(|attempt| attempt.merge.is_some() && attempt.verdict.is_none())
        }
        DeployerEvent::RollbackCompleted(_) | DeployerEvent::RollbackFailed(_) => {
            attempt.is_some_and(|attempt| attempt.owes_rollback().is_some())
        }
        DeployerEvent::StageStopped(_) => !state.is_stopped(task) && !state.is_merged(task.run),
    }
}
