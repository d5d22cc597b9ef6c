//! Who took which order, and how that ended.

use millrace_events::{Event, Log, LogEvent as _, WorkerEvent};
use millrace_worker::domain::{Input, Said};
use millrace_worker::effects::WorkerService;

use super::task;
use crate::facts::{Label, fact};
use crate::matrix::{Arrival, Subject};
use crate::world;

/// The worker `worker-a`, as the process `worker-a-1`.
pub fn worker() -> Subject<WorkerService> {
    Subject {
        hosted: world::worker(&world::context()),
        key: task(),
        lives: vec![
            (
                "done",
                vec![
                    "WorkOrderAcknowledged",
                    "ExecutionCompleted",
                    "WorkOrderAcknowledged check/1",
                    "ChecksCompleted",
                ],
            ),
            (
                "tried again",
                vec![
                    "WorkOrderAcknowledged",
                    "ExecutionFailed",
                    "WorkOrderAcknowledged 1.2",
                    "ExecutionCompleted 1.2",
                ],
            ),
            ("of two runs", vec!["WorkOrderAcknowledged", "ExecutionFailed", "WorkOrderAcknowledged 2.1"]),
            ("of another worker", vec!["WorkOrderAcknowledged other", "ExecutionCompleted"]),
            ("of a process that is gone", vec!["WorkOrderAcknowledged gone"]),
            ("ended under another token", vec!["WorkOrderAcknowledged", "ExecutionFailed stale"]),
            (
                "phase by phase",
                vec![
                    "WorkOrderAcknowledged",
                    "PhaseCompleted",
                    "PhaseReverted",
                    "ModelCalled",
                    "ModelFellBack",
                    "ContractViolated",
                    "ToolCallRefused",
                    "PromptDriftDetected",
                    "ExecutionSuspended",
                ],
            ),
        ],
        own,
        outcomes,
        explain,
        lawful,
    }
}

/// Under the token of the claim, which is the place of its acknowledgement.
fn own(history: &[WorkerEvent], label: &Label) -> WorkerEvent {
    let token = if label.is("stale") { 99 } else { claim(history, &label.order_id()).map_or(0, |c| c.token) };
    let mut event = with_token(label, token);
    if let WorkerEvent::WorkOrderAcknowledged(event) = &mut event {
        if label.is("other") {
            (event.worker, event.instance) = ("worker-b".to_owned(), "worker-b-1".to_owned());
        }
        if label.is("gone") {
            event.instance = "worker-a-0".to_owned();
        }
    }
    event
}

fn with_token(label: &Label, token: u64) -> WorkerEvent {
    let Event::Worker(mut event) = fact(Log::Worker, label) else { unreachable!() };
    match &mut event {
        WorkerEvent::ExecutionCompleted(event) => event.fencing_token = token,
        WorkerEvent::ExecutionFailed(event) => event.fencing_token = token,
        WorkerEvent::ExecutionSuspended(event) => event.fencing_token = token,
        WorkerEvent::ChecksCompleted(event) => event.fencing_token = token,
        _ => {}
    }
    event
}

/// The ends that the work on an order can come to, under the first claim's token and under another. What it says on
/// its way is reported once and never comes again.
fn outcomes() -> Vec<(Label, Input)> {
    let mut found = Vec::new();
    for name in ["ExecutionCompleted", "ExecutionFailed", "ExecutionSuspended", "ChecksCompleted"] {
        for place in ["1.1", "1.2", "9.1"] {
            for token in [1, 3, 99] {
                let label = Label::parse(&format!("{name} {place} token-{token}"));
                let said =
                    Said { task: task(), order: label.order_id(), token, event: with_token(&label, token) };
                found.push((label.as_answer(), Input::Ended(Box::new(said))));
            }
        }
    }
    found
}

struct Claim {
    is_ours: bool,
    token: u64,
    is_ended: bool,
}

/// The first acknowledgement of an order, and whether its end under that token follows.
fn claim(history: &[WorkerEvent], order: &str) -> Option<Claim> {
    let (at, acknowledged) = history.iter().enumerate().find_map(|(at, event)| match event {
        WorkerEvent::WorkOrderAcknowledged(event) if event.order == order => Some((at, event)),
        _ => None,
    })?;
    let token = at as u64 + 1;
    let ends = |event: &WorkerEvent| match event {
        WorkerEvent::ExecutionCompleted(event) => event.order == order && event.fencing_token == token,
        WorkerEvent::ExecutionFailed(event) => event.order == order && event.fencing_token == token,
        WorkerEvent::ExecutionSuspended(event) => event.order == order && event.fencing_token == token,
        WorkerEvent::ChecksCompleted(event) => event.order == order && event.fencing_token == token,
        _ => false,
    };
    Some(Claim { is_ours: acknowledged.instance == "worker-a-1", token, is_ended: history.iter().any(ends) })
}

fn rank(order: &str) -> Option<(u32, u32, bool, u32)> {
    let mut parts = order.split('/').skip(1);
    let (run, attempt) = parts.next()?.split_once('.')?;
    let is_check = parts.next()? == "check";
    Some((run.parse().ok()?, attempt.parse().ok()?, is_check, parts.next()?.parse().ok()?))
}

fn explain(history: &[WorkerEvent], arrival: &Arrival<Input>, owed: &[String]) -> Option<&'static str> {
    let label = &arrival.label;
    match arrival.input.as_ref()? {
        Input::Offered(offer) => {
            let newest = history.iter().filter_map(|event| match event {
                WorkerEvent::WorkOrderAcknowledged(event) => rank(&event.order),
                _ => None,
            });
            match claim(history, &offer.order.id) {
                Some(claim) if claim.is_ours && !claim.is_ended => {
                    owed.iter().any(|owed| owed == "Execute").then_some("begins")
                }
                Some(claim) => owed.is_empty().then_some(if claim.is_ended { "done" } else { "busy" }),
                None if label.is("odd") => Some("unknown"),
                None if label.is("late") => Some("moot"),
                None => (newest.max() > rank(&offer.order.id)).then_some("past"),
            }
        }
        Input::Noted(said) | Input::Ended(said) => match claim(history, &said.order) {
            None => Some("unasked"),
            Some(claim) if claim.is_ended => Some("done"),
            Some(claim) if !claim.is_ours || claim.token != said.token => Some("fenced"),
            Some(_) => None,
        },
    }
}

fn lawful(history: &[WorkerEvent], arrival: &Arrival<Input>, event: &WorkerEvent) -> Result<(), String> {
    let claimed = |order: &str| claim(history, order);
    match (arrival.input.as_ref(), event) {
        (Some(Input::Offered(offer)), WorkerEvent::WorkOrderAcknowledged(event)) => {
            let is_free = event.order == offer.order.id && claimed(&event.order).is_none();
            is_free.then_some(()).ok_or_else(|| "a second claim".to_owned())
        }
        (Some(Input::Noted(said) | Input::Ended(said)), event) => {
            let holds = claimed(&said.order)
                .is_some_and(|claim| claim.is_ours && !claim.is_ended && claim.token == said.token);
            holds.then_some(()).ok_or_else(|| format!("{} without the claim", event.name()))
        }
        _ => Err(format!("{} on an offer", event.name())),
    }
}
