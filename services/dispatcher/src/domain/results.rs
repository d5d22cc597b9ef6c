//! What workers, validator and deployer say, and what follows for the run.

use millrace_decider::{Context, Refusal};
use millrace_events::StatusOnFailure;
use millrace_events::v1::{
    Failure, MergeFailed, Outcome, Phase, TaskBlocked, TaskCancelled, TaskCompleted, TaskFailed, TaskRef,
    WorkOrderIssued, WorkOrderKind,
};
use millrace_events::{Code, DeployerEvent, DispatcherEvent, ValidatorEvent, WorkerEvent};

use super::state::{Status, Task};
use super::{Limits, contradictions, order, timers};

/// How often a pull request is checked again because its checker was lost.
const MAX_CHECK_ROUNDS: u32 = 10;
/// In which round a base that moves still leads to the next one. Each move is a change of somebody else that went
/// in before: of many tasks that share a base the last one loses to all others, and that is no failure of its
/// own. Far above the number of tasks that do.
const MAX_BASE_ROUNDS: u32 = 1_000;

type Decision = Result<Option<DispatcherEvent>, Refusal>;

/// Where an input stands against the present run and attempt.
enum Standing {
    /// It is about the present attempt of an active run.
    Present,
    /// It is about an attempt that is over, or was answered before: nothing follows.
    Past,
}

/// Whether a fact is about the present attempt; what contradicts the record is refused.
fn standing(state: &Task, task: Option<&TaskRef>, what: &str) -> Result<Standing, Refusal> {
    let Some(task) = task else { return Err(Refusal::Mismatch(format!("{what} names no task"))) };
    if state.status.is_none() {
        return Err(Refusal::Mismatch(format!("{what} for {}, which was never scheduled", task.task)));
    }
    let present = (state.reference.run, state.reference.attempt);
    let named = (task.run, task.attempt);
    if named > present {
        return Err(Refusal::Mismatch(format!(
            "{what} for attempt {}.{} of {}, but only {}.{} was ever opened",
            named.0, named.1, task.task, present.0, present.1
        )));
    }
    if named == present && state.status == Some(Status::Pending) {
        return Err(Refusal::Mismatch(format!(
            "{what} for run {} of {}, which was never put on offer",
            task.run, task.task
        )));
    }
    if named == present && state.is_active() { Ok(Standing::Present) } else { Ok(Standing::Past) }
}

/// What a worker said. The results of an order that expired are refused: its holder lost the lease, and what
/// it did since then counts for nothing.
pub(super) fn worker(limits: &Limits, state: &Task, event: &WorkerEvent, context: &Context) -> Decision {
    let (order_id, failure) = match event {
        WorkerEvent::WorkOrderAcknowledged(event) => (&event.order, None),
        WorkerEvent::ExecutionCompleted(event) => (&event.order, None),
        WorkerEvent::ExecutionSuspended(event) => (&event.order, None),
        WorkerEvent::ChecksCompleted(event) => (&event.order, None),
        WorkerEvent::ExecutionFailed(event) => (&event.order, Some((event.failure.as_ref(), event.kind()))),
        WorkerEvent::PhaseCompleted(_)
        | WorkerEvent::PhaseReverted(_)
        | WorkerEvent::ModelCalled(_)
        | WorkerEvent::ModelFellBack(_)
        | WorkerEvent::ContractViolated(_)
        | WorkerEvent::ToolCallRefused(_)
        | WorkerEvent::PromptDriftDetected(_) => return Ok(None),
    };
    let what = millrace_events::LogEvent::name(event);
    let standing = standing(state, event.task_ref(), what)?;
    if matches!(standing, Standing::Present) && contradictions::is_unheard_of(state, order_id) {
        return Err(Refusal::Mismatch(format!("{what} for work order {order_id}, which was never offered")));
    }
    if let WorkerEvent::ExecutionSuspended(event) = event {
        return Ok(state.open_order(order_id).and_then(|order| match event.phase() {
            // Given back unbegun, because the task was paused. Here it was resumed before that was said.
            Phase::Unspecified => (!state.paused).then(|| timers::offered_again(limits, order, context)),
            // Done once more after a resume it would cost its money twice.
            phase => Some(blocked(state, needs_a_person(phase, &event.reason))),
        }));
    }
    if state.expired_orders.contains(order_id) {
        return Err(Refusal::Mismatch(format!("{what} for work order {order_id}, which had expired")));
    }
    let (Standing::Present, Some((failure, kind))) = (standing, failure) else { return Ok(None) };
    let Some(order) = state.open_order(order_id) else { return Ok(None) };
    let failure = stated(failure, "the work order failed without a reason", stage_of(kind));
    let retryable = failure.known_code().is_some_and(Code::is_retryable);
    // A conflict with the base is the change's, not the check's: the next attempt starts from that base.
    if failure.known_code() == Some(Code::MergeConflict) {
        let base = order.pull_request.as_ref().map(|pull_request| pull_request.base.clone());
        return Ok(Some(after_failure(limits, state, failure, base.as_deref(), context)));
    }
    if kind == WorkOrderKind::Check && retryable && order::round_of(order) < MAX_CHECK_ROUNDS {
        let next = order::check_again(limits, order, &failure, None, context);
        return Ok(Some(issued(next, failure.message)));
    }
    Ok(Some(after_failure(limits, state, failure, None, context)))
}

/// The verdict. A pass is the deployer's business.
pub(super) fn validator(
    limits: &Limits,
    state: &Task,
    event: &ValidatorEvent,
    context: &Context,
) -> Decision {
    let what = millrace_events::LogEvent::name(event);
    let Standing::Present = standing(state, event.task_ref(), what)? else { return Ok(None) };
    match event {
        ValidatorEvent::ValidationPassed(_) => Ok(None),
        ValidatorEvent::ValidationFailed(event) => {
            let failure =
                stated(event.failure.as_ref(), "the validation failed without a reason", "validating");
            Ok(Some(after_failure(limits, state, failure, None, context)))
        }
    }
}

/// What the deployer did.
pub(super) fn deployer(limits: &Limits, state: &Task, event: &DeployerEvent, context: &Context) -> Decision {
    let what = millrace_events::LogEvent::name(event);
    let standing = standing(state, event.task_ref(), what)?;
    if let DeployerEvent::StageStopped(_) = event {
        return Ok(None);
    }
    if !matches!(standing, Standing::Present) && !decides_the_run(state, event) {
        return past(state, event, what);
    }
    match event {
        DeployerEvent::PullRequestOpened(opened) => {
            if opened.checks.is_empty() || state.order_kind() == Some(WorkOrderKind::Check) {
                return Ok(None);
            }
            let number = opened.pull_request.as_ref().map_or(0, |pull_request| pull_request.number);
            let reason =
                format!("pull request {number} is open and its base asks for {} checks", opened.checks.len());
            Ok(order::check(limits, state, opened, context).map(|order| issued(order, reason)))
        }
        DeployerEvent::PullRequestFailed(event) => {
            let failure = stated(event.failure.as_ref(), "no pull request could be opened", "pr_opened");
            Ok(Some(after_failure(limits, state, failure, None, context)))
        }
        DeployerEvent::MergeFailed(event) if is_answered(state, event) => Ok(None),
        DeployerEvent::MergeFailed(event) => Ok(Some(merge_failed(limits, state, event, context))),
        // The rollback that follows says how it ended.
        DeployerEvent::DeploymentFailed(_)
        | DeployerEvent::MergeCompleted(_)
        | DeployerEvent::StageStopped(_) => Ok(None),
        DeployerEvent::DeploymentVerified(event) => Ok(Some(
            TaskCompleted {
                task: Some(state.reference.clone()),
                outcome: Outcome::Success as i32,
                pull_request: event.pull_request.clone(),
                merge_commit: event.merge_commit.clone(),
                release_commit: event.release_commit.clone(),
                url: event.url.clone(),
            }
            .into(),
        )),
        DeployerEvent::RollbackCompleted(event) => {
            let failure = stated(event.failure.as_ref(), "the release failed", "verifying");
            let restored = match event.restored_commit.as_str() {
                "" => "nothing ran before; the target is stopped".to_owned(),
                commit => commit.to_owned(),
            };
            Ok(Some(ended(
                state,
                failure.with("rolled_back_to", restored).with("refused_commit", &event.refused_commit),
            )))
        }
        DeployerEvent::RollbackFailed(event) => {
            let failure = stated(event.failure.as_ref(), "the rollback failed", "verifying");
            Ok(Some(ended(state, failure)))
        }
    }
}

/// What is merged is the run's, whichever attempt it is of: an order may have been given up for silence, and the
/// next attempt offered, while a merge of it was on its way. The deployer merges no second one.
fn decides_the_run(state: &Task, event: &DeployerEvent) -> bool {
    let follows_a_merge = matches!(
        event,
        DeployerEvent::MergeCompleted(_)
            | DeployerEvent::DeploymentVerified(_)
            | DeployerEvent::DeploymentFailed(_)
            | DeployerEvent::RollbackCompleted(_)
            | DeployerEvent::RollbackFailed(_)
    );
    let of_this_run = event.task_ref().is_some_and(|task| task.run == state.reference.run);
    follows_a_merge && of_this_run && state.is_active()
}

/// Something of an attempt that is over. What changes the world against the record is refused loudly.
fn past(state: &Task, event: &DeployerEvent, what: &str) -> Decision {
    let goes_live = matches!(event, DeployerEvent::MergeCompleted(_) | DeployerEvent::DeploymentVerified(_));
    let goes_back = matches!(
        event,
        DeployerEvent::DeploymentFailed(_)
            | DeployerEvent::RollbackCompleted(_)
            | DeployerEvent::RollbackFailed(_)
    );
    let of_this_run = event.task_ref().is_some_and(|task| task.run == state.reference.run);
    let is_complete = state.status == Some(Status::Complete);
    let contradicts = (goes_live && !is_complete) || (goes_back && is_complete && of_this_run);
    if contradicts {
        let task = &state.reference.task;
        return Err(Refusal::Mismatch(format!("{what} for {task}, which is {}", state.status_name())));
    }
    Ok(None)
}

/// Whether a moved base has led to another round of checks already: the present one is on another base.
fn is_answered(state: &Task, event: &MergeFailed) -> bool {
    let moved = event.failure.as_ref().and_then(Failure::known_code) == Some(Code::PrBaseMoved);
    let failed_on = event.pull_request.as_ref().map(|pull_request| pull_request.base.as_str());
    let checked_on = state.order.as_ref().and_then(|order| order.pull_request.as_ref());
    let checked_on = checked_on.map(|pull_request| pull_request.base.as_str());
    moved && state.order_kind() == Some(WorkOrderKind::Check) && failed_on != checked_on
}

fn merge_failed(limits: &Limits, state: &Task, event: &MergeFailed, context: &Context) -> DispatcherEvent {
    let failure = stated(event.failure.as_ref(), "the merge failed without a reason", "merging");
    // On the same base again it would be answered again, and again.
    let checked_on = event.pull_request.as_ref().map(|pull_request| pull_request.base.as_str());
    if failure.known_code() == Some(Code::PrBaseMoved)
        && !event.base.is_empty()
        && checked_on != Some(event.base.as_str())
        && let Some(order) = state.order.as_ref().filter(|order| order.kind() == WorkOrderKind::Check)
        && order::round_of(order) < MAX_BASE_ROUNDS
    {
        return issued(
            order::check_again(limits, order, &failure, Some(&event.base), context),
            failure.message,
        );
    }
    after_failure(limits, state, failure, Some(&event.base), context)
}

/// A new attempt where the code allows one and one is left; else the end of the run.
pub(super) fn after_failure(
    limits: &Limits,
    state: &Task,
    failure: Failure,
    base_commit: Option<&str>,
    context: &Context,
) -> DispatcherEvent {
    let retryable = failure.known_code().is_some_and(Code::is_retryable);
    if retryable
        && state.reference.attempt < limits.attempts
        && let Some(order) = order::next_attempt(limits, state, &failure, base_commit, context)
    {
        return issued(order, failure.message);
    }
    if retryable
        && failure.known_code().is_some_and(|code| code.status() == StatusOnFailure::Failed)
        && limits.attempts > 1
    {
        // Automatic attempts are spent: a person decides, DESIGN section 5.
        return blocked(state, failure.with("attempts", limits.attempts.to_string()));
    }
    ended(state, failure)
}

/// The end of a run, as the code's row in the table has it.
pub(super) fn ended(state: &Task, failure: Failure) -> DispatcherEvent {
    let code = failure.known_code();
    match code.map(Code::status) {
        Some(StatusOnFailure::Blocked) => blocked(state, failure),
        Some(StatusOnFailure::Cancelled) => TaskCancelled {
            task: Some(state.reference.clone()),
            outcome: Outcome::Cancelled as i32,
            actor: failure.source.clone(),
            reason: failure.message,
        }
        .into(),
        Some(StatusOnFailure::Failed | StatusOnFailure::Unchanged) | None => {
            let timed_out = matches!(
                code,
                Some(
                    Code::ExecutionTimeout
                        | Code::ChecksTimeout
                        | Code::ValidationTimeout
                        | Code::DeploymentTimeout
                )
            );
            let outcome = if timed_out { Outcome::Timeout } else { Outcome::Failed };
            TaskFailed {
                task: Some(state.reference.clone()),
                outcome: outcome as i32,
                failure: Some(failure),
            }
            .into()
        }
    }
}

pub(super) fn blocked(state: &Task, failure: Failure) -> DispatcherEvent {
    TaskBlocked { task: Some(state.reference.clone()), failure: Some(failure) }.into()
}

pub(super) fn issued(order: millrace_events::v1::WorkOrder, reason: impl Into<String>) -> DispatcherEvent {
    WorkOrderIssued { task: order.task.clone(), order: Some(order), reason: reason.into() }.into()
}

/// The work must not go on without a person. Offered again it would only come back.
fn needs_a_person(phase: Phase, reason: &str) -> Failure {
    let phase = phase.as_str_name().trim_start_matches("PHASE_");
    let message = format!(
        "{phase} needs a person: {reason}; change the spec, or `[worker] approve`, which says what needs one, and retry"
    );
    Failure::new(Code::PolicyDenied, message).at_stage("executing").with("phase", phase)
}

/// The failure as it was stated, with the stage where it lacks one.
fn stated(failure: Option<&Failure>, otherwise: &str, stage: &str) -> Failure {
    let failure = failure.cloned().unwrap_or_else(|| Failure::new(Code::Internal, otherwise));
    if failure.stage.is_empty() { failure.at_stage(stage) } else { failure }
}

fn stage_of(kind: WorkOrderKind) -> &'static str {
    match kind {
        WorkOrderKind::Check => "checking",
        WorkOrderKind::Change | WorkOrderKind::Unspecified => "executing",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_decider::test::given;
    use millrace_events::v1::{PullRequest, TaskScheduled, WorkOrder};
    use millrace_runtime::settings::Settings;

    use super::*;
    use crate::domain::{Dispatcher, Input};

    #[test]
    fn a_task_does_not_fail_because_many_others_were_merged_before_it() {
        let decider = Dispatcher { limits: crate::config::limits(&Settings::default()) };
        let task = Some(TaskRef { task: "VTID-01213".to_owned(), run: 1, attempt: 1, ..TaskRef::default() });
        let at = |base: u32| Some(PullRequest { number: 1, base: base.to_string(), ..Default::default() });
        let order = WorkOrder {
            id: "VTID-01213/1.1/check/1".to_owned(),
            kind: WorkOrderKind::Check as i32,
            task: task.clone(),
            pull_request: at(0),
            ..WorkOrder::default()
        };
        let scheduled = TaskScheduled { task: task.clone(), order: Some(order), ..Default::default() };
        let mut scenario = given(&decider).event(scheduled.into());
        for base in 0..100_u32 {
            let failure = Some(Failure::new(Code::PrBaseMoved, "moved"));
            let (task, to) = (task.clone(), (base + 1).to_string());
            let moved = MergeFailed { task, pull_request: at(base), failure, base: to.clone() };
            let DispatcherEvent::WorkOrderIssued(event) =
                scenario.when(&Input::Deployer(moved.into())).event()
            else {
                panic!("at base {base}")
            };
            let order = event.order.unwrap();
            assert_eq!((order.kind(), order.task.unwrap().attempt), (WorkOrderKind::Check, 1));
            assert_eq!(order.pull_request.unwrap().base, to);
        }
    }
}
