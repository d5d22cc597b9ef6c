//! What is owed because of an input: a question, a deadline, a revoked lease.

use std::time::Duration;

use millrace_decider::{Deadline, Due, Timestamp};
use millrace_events::v1::{StageStopped, TaskRef, TimerFired, WorkOrder, WorkOrderKind};
use millrace_events::{DeployerEvent, OperatorEvent, WorkerEvent};

use super::state::{Status, Task};
use super::timers::{
    ACKNOWLEDGE, EXECUTION, LEASE, PR_GRACE, REDISPATCH, RESUME, WHILE_PAUSED, asks, graced_until,
    waits_for_redispatch,
};
use super::{Effect, Input, Limits, admit, contradictions, operator, timers};

/// How much longer than its limit the worker may take to say that an execution ended.
const EXECUTION_SLACK: Duration = Duration::from_secs(60);

type Owed = Due<Effect, TimerFired>;

pub(super) fn due(limits: &Limits, state: &Task, input: &Input) -> Vec<Owed> {
    let mut owed = for_input(limits, state, input);
    if contradictions::are_too_many(state) {
        owed.push(Due::Effect(Effect::FollowUp { task: state.reference.task.clone() }));
    }
    owed.extend(admit::due(limits, state, input));
    if state.is_active() && !state.paused {
        owed.extend(for_offer(limits, state, about(input)));
    }
    owed
}

/// The work order that an input is about, where it is about one.
fn about(input: &Input) -> Option<&str> {
    match input {
        Input::Timer { timer, .. } | Input::Inquired { timer, .. } => Some(&timer.about),
        Input::Worker { event, .. } => match event {
            WorkerEvent::WorkOrderAcknowledged(event) => Some(&event.order),
            WorkerEvent::ExecutionCompleted(event) => Some(&event.order),
            WorkerEvent::ExecutionFailed(event) => Some(&event.order),
            WorkerEvent::ChecksCompleted(event) => Some(&event.order),
            _ => None,
        },
        _ => None,
    }
}

/// The offer that stands: it must be acknowledged; one that expired must be followed up. What comes about
/// the offer itself arms nothing again: a deadline that has passed would fire and arm itself for ever.
fn for_offer(limits: &Limits, state: &Task, about: Option<&str>) -> Option<Owed> {
    let order = state.order.as_ref()?;
    match &state.expired {
        None if about == Some(order.id.as_str()) => None,
        // Whether anybody has begun it is asked first, once for the resume.
        None if state.is_resumed(&order.id) => None,
        None => Some(deadline(
            ACKNOWLEDGE,
            millrace_events::from_wire_time(order.acknowledge_by.as_ref()),
            order.task.as_ref(),
            &order.id,
            0,
        )),
        Some(expired) if waits_for_redispatch(limits, state) => {
            let at = expired.at + limits.pause_after(order.tries, &state.reference.task);
            Some(deadline(REDISPATCH, at, order.task.as_ref(), &order.id, 0))
        }
        Some(_) => Some(Due::Effect(Effect::FollowUp { task: state.reference.task.clone() })),
    }
}

fn for_input(limits: &Limits, state: &Task, input: &Input) -> Vec<Owed> {
    match input {
        // Counted from when it fired, not from now: delivered again, it arms the same.
        Input::Timer { timer, at } if timers::waits(state, timer) => {
            let round = timer.round.saturating_add(1);
            let at = *at + WHILE_PAUSED;
            vec![deadline(&timer.name, at, timer.task.as_ref(), &timer.about, round)]
        }
        Input::Timer { timer, .. } if asks(&timer.name) && state.is_active() => {
            vec![Due::Effect(Effect::Inquire(timer.clone()))]
        }
        Input::Inquired { timer, report, at } => {
            // The limit counts from the resume: a paused run is given no pull request.
            if let Some(until) = graced_until(limits, state, timer, *report, *at) {
                let round = timer.round.saturating_add(1);
                return vec![deadline(PR_GRACE, until, timer.task.as_ref(), &timer.about, round)];
            }
            // A handler that stood still for a while may have put a deadline of an earlier order over the one
            // that counts, for a key has one of a name. What this order waits for is armed again.
            if let Some(order) = state.open_order(&timer.about).filter(|_| timer.name == ACKNOWLEDGE) {
                let again = |name, wait| deadline(name, *at + wait, timer.task.as_ref(), &timer.about, 0);
                if report.acknowledged && !report.finished {
                    return vec![again(LEASE, limits.lease)];
                }
                if report.finished && !report.pull_request_known && order.kind() == WorkOrderKind::Change {
                    return vec![again(PR_GRACE, limits.pr_grace)];
                }
            }
            let open = state.open_order(&timer.about).is_some();
            let goes_on = timer.name == LEASE && report.lease_alive && !report.finished;
            match (open && goes_on, timer.round.checked_add(1)) {
                (true, Some(round)) => {
                    vec![deadline(LEASE, *at + limits.lease, timer.task.as_ref(), &timer.about, round)]
                }
                // An order that was given up: whoever still holds its lease must stop.
                _ if state.expired_orders.contains(&timer.about) && report.lease_alive => {
                    vec![Due::Effect(Effect::RevokeLease { order: timer.about.clone() })]
                }
                _ => Vec::new(),
            }
        }
        Input::Worker { event, at } => for_worker(limits, state, event, *at),
        // What was refused stays refused, whatever the task has come to since.
        Input::Operator { position, .. } if state.refused.contains(position) => Vec::new(),
        Input::Operator { event, id, at, .. } => for_person(state, event, id, *at),
        Input::Deployer(DeployerEvent::StageStopped(event)) => for_stop(state, event),
        // A release of an earlier attempt has ended the run: who works on a later one must stop.
        Input::Deployer(event) if event.task_ref().is_some_and(|task| is_outlived(state, task)) => {
            revoke(state.order.as_ref())
        }
        // A crash between the end and the revocation leaves the revocation owed.
        Input::Overdue(_) if state.status == Some(Status::Blocked) => revoke(state.order.as_ref()),
        Input::Cancel { .. } if state.status == Some(Status::Cancelled) => revoke(state.order.as_ref()),
        _ => Vec::new(),
    }
}

/// Whether the present run is over by now, and came to a later attempt than this.
fn is_outlived(state: &Task, of: &TaskRef) -> bool {
    let TaskRef { run, attempt, .. } = &state.reference;
    !state.is_under_way() && of.run == *run && of.attempt > 0 && of.attempt < *attempt
}

fn for_person(state: &Task, event: &OperatorEvent, id: &str, at: Timestamp) -> Vec<Owed> {
    match event {
        OperatorEvent::RetryRequested(request) => {
            let request = operator::about_run(state, request, at);
            match operator::may_retry(state, &request) {
                Ok(true) => vec![Due::Effect(Effect::FindSpec(request))],
                _ => Vec::new(),
            }
        }
        OperatorEvent::CancelRequested(request) => {
            let request = operator::about_run(state, request, at);
            match operator::may_cancel(state, &request) {
                // Before anything is asked: what runs ends now, whatever becomes of the run.
                Ok(true) => {
                    let ask = Due::Effect(Effect::AskCancel(request));
                    revoke(state.order.as_ref()).into_iter().chain([ask]).collect()
                }
                Ok(false) if state.status == Some(Status::Cancelled) => revoke(state.order.as_ref()),
                _ => Vec::new(),
            }
        }
        OperatorEvent::PauseRequested(request) => {
            let request = operator::about_run(state, request, at);
            match operator::may_pause(state, &request) {
                Ok(true) if !state.has_met(id) => {
                    vec![Due::Effect(Effect::AskPause { request, id: id.to_owned() })]
                }
                _ => Vec::new(),
            }
        }
        OperatorEvent::ResumeRequested(_) => {
            let open = state.order.as_ref().filter(|order| state.open_order(&order.id).is_some());
            let unbegun = open.filter(|order| state.is_resumed(&order.id));
            let ask = |order: &WorkOrder| {
                let task = order.task.clone();
                Due::Effect(Effect::Inquire(TimerFired {
                    name: RESUME.to_owned(),
                    task,
                    about: order.id.clone(),
                    round: 0,
                }))
            };
            unbegun.filter(|_| !state.paused).map(ask).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// The deployer has stopped the run as a whole: it ends, and nobody works on it.
fn for_stop(state: &Task, stopped: &StageStopped) -> Vec<Owed> {
    let of_run = stopped.task.as_ref().filter(|task| task.attempt == 0).map(|task| task.run);
    if of_run != Some(state.reference.run) {
        return Vec::new();
    }
    if state.may_be_cancelled() {
        return vec![Due::Effect(Effect::FindCancel(stopped.clone()))];
    }
    if state.status == Some(Status::Cancelled) { revoke(state.order.as_ref()) } else { Vec::new() }
}

fn for_worker(limits: &Limits, state: &Task, event: &WorkerEvent, at: Timestamp) -> Vec<Owed> {
    match event {
        WorkerEvent::WorkOrderAcknowledged(event) => match state.open_order(&event.order) {
            Some(order) => {
                let limit = Duration::from_millis(order.execution_limit_ms) + EXECUTION_SLACK;
                vec![
                    deadline(LEASE, at + limits.lease, event.task.as_ref(), &event.order, 0),
                    deadline(EXECUTION, at + limit, event.task.as_ref(), &event.order, 0),
                ]
            }
            // Taken in the moment in which it expired: whoever took it must not work on it.
            None if state.expired_orders.contains(&event.order) => {
                vec![Due::Effect(Effect::RevokeLease { order: event.order.clone() })]
            }
            None => Vec::new(),
        },
        WorkerEvent::ExecutionCompleted(event) if state.open_order(&event.order).is_some() => {
            vec![deadline(PR_GRACE, at + limits.pr_grace, event.task.as_ref(), &event.order, 0)]
        }
        _ => Vec::new(),
    }
}

fn revoke(order: Option<&WorkOrder>) -> Vec<Owed> {
    order.map(|order| Due::Effect(Effect::RevokeLease { order: order.id.clone() })).into_iter().collect()
}

fn deadline(name: &str, at: Timestamp, task: Option<&TaskRef>, about: &str, round: u32) -> Owed {
    let alarm = TimerFired { name: name.to_owned(), task: task.cloned(), about: about.to_owned(), round };
    Due::Deadline(Deadline { name: name.to_owned(), at, alarm })
}
