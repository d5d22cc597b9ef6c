//! Deadlines. A deadline decides nothing by itself: it makes the dispatcher ask the log that knows.

use std::time::Duration;

use millrace_decider::{Context, Refusal, Timestamp};
use millrace_events::v1::{Failure, OverdueNoticed, TimerFired, WorkOrder, WorkOrderExpired, WorkOrderKind};
use millrace_events::{Code, DispatcherEvent, WorkerEvent};

use super::input::{Input, Report};
use super::results::{after_failure, blocked, issued};
use super::state::Task;
use super::{Limits, contradictions, order};

/// A work order must be acknowledged.
pub(super) const ACKNOWLEDGE: &str = "acknowledge";
/// A lease must be alive.
pub(super) const LEASE: &str = "lease";
/// An execution must end. The worker ends it first; this is for a worker that does not.
pub(super) const EXECUTION: &str = "execution";
/// A pull request must be seen.
pub(super) const PR_GRACE: &str = "pr_grace";
/// An order that nobody took is offered again.
pub(super) const REDISPATCH: &str = "redispatch";

/// Not a deadline: asked once after a resume about the order that is on offer then.
pub(super) const RESUME: &str = "resume";

/// Why an order is offered again that a pause kept from being begun.
pub(super) const AFTER_PAUSE: &str = "offered again after the pause";

/// In the context of an expiry: other work orders were being worked on at the time.
const BUSY: &str = "workers_busy";

/// The deadlines that are answered by looking.
pub(super) fn asks(name: &str) -> bool {
    [ACKNOWLEDGE, LEASE, EXECUTION, PR_GRACE].contains(&name)
}

/// How soon a deadline that waits for a resume is due again: it acts at most so long after it.
pub(super) const WHILE_PAUSED: Duration = Duration::from_secs(60);

/// Whether a deadline waits for the resume: it is about the order or attempt of a paused run.
pub(super) fn waits(state: &Task, timer: &TimerFired) -> bool {
    let of_order = state.order.as_ref().is_some_and(|order| order.id == timer.about);
    let of_attempt = timer.name == PR_GRACE && timer.task.as_ref().is_some_and(|task| state.is_present(task));
    state.paused && (of_order || of_attempt)
}

/// Until when a pull request is waited for because of a pause: the whole limit counts again from the resume.
pub(super) fn graced_until(
    limits: &Limits,
    state: &Task,
    timer: &TimerFired,
    report: Report,
    now: Timestamp,
) -> Option<Timestamp> {
    let resumed = state.resumed.as_ref().filter(|_| timer.name == PR_GRACE)?;
    let until = resumed.at + limits.pr_grace;
    (now < until && awaits_pull_request(state, timer, report)).then_some(until)
}

/// A deadline fired. All but one only make due that somebody is asked.
pub(super) fn fired(
    limits: &Limits,
    state: &Task,
    timer: &TimerFired,
    context: &Context,
) -> Result<Option<DispatcherEvent>, Refusal> {
    if timer.name != REDISPATCH {
        return Ok(None);
    }
    let waiting =
        state.expired.is_some() && state.order.as_ref().is_some_and(|order| order.id == timer.about);
    Ok(if waiting { redispatch(limits, state, context) } else { None })
}

/// What was found when somebody was asked.
pub(super) fn inquired(
    limits: &Limits,
    state: &Task,
    timer: &TimerFired,
    report: Report,
    context: &Context,
) -> Option<DispatcherEvent> {
    if timer.name == PR_GRACE {
        return pr_grace(limits, state, timer, report, context);
    }
    let order = state.open_order(&timer.about)?;
    let asks_who_began = [RESUME, ACKNOWLEDGE].contains(&timer.name.as_str());
    if asks_who_began && state.is_resumed(&order.id) && (report.suspended || !report.acknowledged) {
        return Some(offered_again(limits, order, context));
    }
    if report.finished {
        return None;
    }
    let kind = super::input::kind_name(order.kind());
    let failure = match timer.name.as_str() {
        ACKNOWLEDGE if !report.acknowledged => Failure::new(
            Code::DispatchExhausted,
            format!("no worker acknowledged the {kind} work order {} in time", order.id),
        ),
        LEASE if !report.lease_alive => Failure::new(
            Code::LeaseLost,
            format!("the worker that holds the {kind} work order {} fell silent", order.id),
        ),
        EXECUTION => Failure::new(
            Code::ExecutionTimeout,
            format!("the {kind} work order {} was not finished within its limit", order.id),
        ),
        _ => return None,
    };
    let stage = if report.acknowledged { "executing" } else { "dispatched" };
    let failure =
        if report.workers_busy && !report.acknowledged { failure.with(BUSY, "true") } else { failure };
    Some(expired(order, failure.at_stage(stage).from_source("dispatcher")))
}

fn expired(order: &WorkOrder, failure: Failure) -> DispatcherEvent {
    WorkOrderExpired {
        task: order.task.clone(),
        order: order.id.clone(),
        kind: order.kind,
        tries: order.tries,
        failure: Some(failure),
    }
    .into()
}

fn pr_grace(
    limits: &Limits,
    state: &Task,
    timer: &TimerFired,
    report: Report,
    context: &Context,
) -> Option<DispatcherEvent> {
    if !awaits_pull_request(state, timer, report)
        || graced_until(limits, state, timer, report, context.now).is_some()
    {
        return None;
    }
    let message = format!("no pull request for {} was seen on the forge in time", state.reference.task);
    let failure = Failure::new(Code::PrNotCreated, message).at_stage("pr_opened").from_source("dispatcher");
    Some(after_failure(limits, state, failure, None, context))
}

fn awaits_pull_request(state: &Task, timer: &TimerFired, report: Report) -> bool {
    let present = timer.task.as_ref().is_some_and(|task| state.is_present(task)) && state.is_active();
    present && !report.pull_request_known && state.order_kind() == Some(WorkOrderKind::Change)
}

/// An order that a pause kept from being begun, as the same try: waiting for a person is nobody's failure.
pub(super) fn offered_again(limits: &Limits, order: &WorkOrder, context: &Context) -> DispatcherEvent {
    issued(order::again(limits, order, order.tries, context), AFTER_PAUSE)
}

/// Whether what was found out about the order that was on offer at the resume has put another in its place.
pub(super) fn is_offered_again(state: &Task, input: &Input) -> bool {
    let about = match input {
        Input::Inquired { timer, .. } if [RESUME, ACKNOWLEDGE].contains(&timer.name.as_str()) => &timer.about,
        Input::Worker { event: WorkerEvent::ExecutionSuspended(event), .. } => &event.order,
        _ => return false,
    };
    state.is_resumed(about) && state.order.as_ref().is_some_and(|order| order.id != *about)
}

/// Goes on after an expiry, where that needs no pause.
pub(super) fn follow_up(limits: &Limits, state: &Task, context: &Context) -> Option<DispatcherEvent> {
    if let Some(escalated) = contradictions::escalated(state) {
        return Some(escalated);
    }
    if waits_for_redispatch(limits, state) { None } else { redispatch(limits, state, context) }
}

/// Whether the next offer comes after a pause.
pub(super) fn waits_for_redispatch(limits: &Limits, state: &Task) -> bool {
    let unclaimed = state
        .expired
        .as_ref()
        .is_some_and(|expired| expired.failure.known_code() == Some(Code::DispatchExhausted));
    let left = state.order.as_ref().is_some_and(|order| order.tries < limits.dispatch_attempts);
    unclaimed && (left || state.expired.as_ref().is_some_and(|expired| is_busy(&expired.failure)))
}

/// Whether nobody took the order because everybody was at work: that is a queue, not a failure to dispatch.
fn is_busy(failure: &Failure) -> bool {
    failure.context.contains_key(BUSY)
}

fn redispatch(limits: &Limits, state: &Task, context: &Context) -> Option<DispatcherEvent> {
    let (expired, last) = (state.expired.as_ref()?, state.order.as_ref()?);
    if !state.is_active() {
        return None;
    }
    let failure = expired.failure.clone();
    match failure.known_code() {
        Some(Code::DispatchExhausted) if is_busy(&failure) || last.tries < limits.dispatch_attempts => {
            let tries = if is_busy(&failure) { last.tries } else { last.tries + 1 };
            Some(issued(order::again(limits, last, tries, context), failure.message))
        }
        Some(Code::DispatchExhausted) => {
            let message = format!("{} offered {} times and never acknowledged", last.id, last.tries);
            let failure = Failure { message, ..failure };
            Some(blocked(state, failure.with("attempts", last.tries.to_string())))
        }
        Some(Code::LeaseLost)
            if last.kind() == WorkOrderKind::Check && order::round_of(last) < limits.attempts =>
        {
            Some(issued(order::check_again(limits, last, &failure, None, context), failure.message))
        }
        _ => Some(after_failure(limits, state, failure, None, context)),
    }
}

/// The sweep found an active task silent: a person must look.
pub(super) fn overdue(state: &Task, noticed: &OverdueNoticed) -> Option<DispatcherEvent> {
    if !state.is_active() || state.paused || noticed.run != state.reference.run {
        return None;
    }
    let minutes = noticed.idle_ms / 60_000;
    let message = format!("nothing has happened for {minutes} minutes since {}", noticed.last_event);
    let failure = Failure::new(Code::ExecutionTimeout, message)
        .from_source("dispatcher")
        .with("last_event", &noticed.last_event)
        .with("idle_ms", noticed.idle_ms.to_string());
    Some(blocked(state, failure))
}
