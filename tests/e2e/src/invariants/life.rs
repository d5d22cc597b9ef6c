//! The life of tasks and of their work orders.

use std::collections::{BTreeMap, BTreeSet};

use millrace_events::v1::TaskRef;
use millrace_events::{DeployerEvent, DispatcherEvent, Event, Log, WorkerEvent};

use super::{Damage, End, Evidence, Violation};

/// Status of a run, DESIGN section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Pending,
    Active,
    Complete,
    Failed,
    Blocked,
    Cancelled,
}

impl Status {
    /// What a dispatcher's event makes of a run; `None`: it changes no status.
    fn after(event: &DispatcherEvent) -> Option<Self> {
        Some(match event {
            DispatcherEvent::TaskScheduled(event) if event.order.is_none() => Self::Pending,
            DispatcherEvent::TaskScheduled(_) | DispatcherEvent::WorkOrderIssued(_) => Self::Active,
            DispatcherEvent::TaskCompleted(_) => Self::Complete,
            DispatcherEvent::TaskFailed(_) => Self::Failed,
            DispatcherEvent::TaskBlocked(_) => Self::Blocked,
            DispatcherEvent::TaskCancelled(_) => Self::Cancelled,
            _ => return None,
        })
    }

    fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Pending, Self::Active | Self::Failed | Self::Blocked | Self::Cancelled) => true,
            (Self::Active, next) => next != Self::Pending,
            (Self::Blocked, Self::Active | Self::Failed | Self::Cancelled) => true,
            _ => false,
        }
    }

    fn is_end(self) -> bool {
        !matches!(self, Self::Pending | Self::Active)
    }
}

type Runs<'a> = BTreeMap<(&'a str, u32), Vec<(u64, Status)>>;

fn runs(evidence: &Evidence) -> Runs<'_> {
    let mut runs = Runs::new();
    for (sequence, event) in evidence.events(Log::Dispatcher) {
        let (Event::Dispatcher(event), Some(task)) = (event, event.task_ref()) else { continue };
        if let Some(status) = Status::after(event) {
            runs.entry((&task.task, task.run)).or_default().push((sequence, status));
        }
    }
    runs
}

/// I6.
pub(super) fn legal(evidence: &Evidence) -> Vec<Violation> {
    let wrong = |damage, text| Violation { invariant: "I6", damage, text };
    let mut violations = Vec::new();
    let runs = runs(evidence);
    for ((task, run), steps) in &runs {
        for pair in steps.windows(2) {
            let ((_, from), (at, to)) = (pair[0], pair[1]);
            if !from.may_become(to) {
                let text = format!("{task} run {run}: {from:?} became {to:?} at {at}");
                violations.push(wrong(Damage::Wrong, text));
            }
        }
        let ends = steps.iter().filter(|(_, status)| status.is_end()).count();
        if ends > 1 {
            violations.push(wrong(Damage::Duplicated, format!("{task} run {run} has {ends} ends")));
        }
    }
    for expected in &evidence.expected {
        let task = expected.task.as_str();
        let found = runs.range((task, 0)..=(task, u32::MAX)).count();
        if found != expected.runs as usize {
            let damage = if found > expected.runs as usize { Damage::Duplicated } else { Damage::Lost };
            violations.push(wrong(damage, format!("{task} has {found} runs, not {}", expected.runs)));
        }
        let end = runs.get(&(task, expected.runs)).and_then(|steps| steps.last()).map(|(_, status)| *status);
        let right = match expected.end {
            End::Released => Status::Complete,
            End::Failed => Status::Failed,
            End::Cancelled => Status::Cancelled,
        };
        if end != Some(right) {
            let text = format!("{task} should be {:?}, it is {end:?}", expected.end);
            violations.push(wrong(Damage::Wrong, text));
        }
    }
    let marked = evidence.ledger.live.lines().filter(|line| line.contains(r#""mark":"STATE_MISMATCH""#));
    violations.extend(marked.map(|line| wrong(Damage::Wrong, format!("refused by the ledger: {line}"))));
    violations
}

/// I7.
pub(super) fn at_rest(evidence: &Evidence) -> Vec<Violation> {
    let wrong = |text: String| Violation { invariant: "I7", damage: Damage::Lost, text };
    let mut violations = Vec::new();
    for ((task, run), steps) in runs(evidence) {
        if steps.last().is_some_and(|(_, status)| !status.is_end()) {
            violations.push(wrong(format!("{task} run {run} has not ended: {steps:?}")));
        }
    }
    if evidence.consumers.is_empty() {
        violations.push(wrong("the server says nothing about its consumers".to_owned()));
    }
    for lag in evidence.consumers.iter().filter(|lag| !lag.is_zero()) {
        let (pending, unanswered) = (lag.pending, lag.unanswered);
        let text = format!("{} on {}: {pending} pending, {unanswered} unanswered", lag.durable, lag.stream);
        violations.push(wrong(text));
    }
    violations
}

/// An end that a worker recorded: order and token.
fn end_of(event: &WorkerEvent) -> Option<(&str, u64)> {
    Some(match event {
        WorkerEvent::ExecutionCompleted(event) => (&event.order, event.fencing_token),
        WorkerEvent::ExecutionFailed(event) => (&event.order, event.fencing_token),
        WorkerEvent::ExecutionSuspended(event) => (&event.order, event.fencing_token),
        WorkerEvent::ChecksCompleted(event) => (&event.order, event.fencing_token),
        _ => return None,
    })
}

/// I8.
pub(super) fn fenced(evidence: &Evidence) -> Vec<Violation> {
    let wrong = |damage, text| Violation { invariant: "I8", damage, text };
    let mut violations = Vec::new();
    let mut claims: BTreeMap<&str, u64> = BTreeMap::new();
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    // The change of an order, by the attempt and by the commit that came of it.
    let mut changes: BTreeMap<&str, &str> = BTreeMap::new();
    for (sequence, event) in evidence.events(Log::Worker) {
        let Event::Worker(event) = event else { continue };
        if let WorkerEvent::WorkOrderAcknowledged(event) = event
            && let Some(first) = claims.insert(&event.order, sequence)
        {
            let text = format!("order {} was claimed at {first} and at {sequence}", event.order);
            violations.push(wrong(Damage::Duplicated, text));
        }
        if let Some((order, token)) = end_of(event) {
            if claims.get(order) != Some(&token) {
                let claim = claims.get(order);
                let text = format!("{sequence} ends order {order} under {token}; its claim is {claim:?}");
                violations.push(wrong(Damage::Wrong, text));
            }
            if let Some(first) = ends.insert(order, sequence) {
                let text = format!("order {order} ended at {first} and at {sequence}");
                violations.push(wrong(Damage::Duplicated, text));
            }
        }
        if let WorkerEvent::ExecutionCompleted(event) = event {
            changes.insert(&event.head, &event.order);
        }
    }
    let expired: BTreeSet<&str> = evidence
        .events(Log::Dispatcher)
        .filter_map(|(_, event)| match event {
            Event::Dispatcher(DispatcherEvent::WorkOrderExpired(event)) => Some(event.order.as_str()),
            _ => None,
        })
        .collect();
    let merged = evidence.receivers.iter().flat_map(|receiver| &receiver.merges);
    for merge in merged {
        match changes.get(merge.head.as_str()) {
            Some(order) if expired.contains(order) => {
                let text = format!("{} merges a change of the expired order {order}", merge.commit);
                violations.push(wrong(Damage::Wrong, text));
            }
            Some(_) => {}
            None => {
                let text = format!("{} merges {}, which no worker handed over", merge.commit, merge.head);
                violations.push(wrong(Damage::Wrong, text));
            }
        }
    }
    violations.extend(twice_recorded(evidence));
    violations
}

/// Outcomes that one attempt has once in the deployer's log.
fn twice_recorded(evidence: &Evidence) -> Vec<Violation> {
    let mut seen: BTreeMap<(String, u32, u32, &str), u64> = BTreeMap::new();
    let mut violations = Vec::new();
    for (sequence, event) in evidence.events(Log::Deployer) {
        let (Event::Deployer(found), Some(task)) = (event, event.task_ref()) else { continue };
        let TaskRef { task, run, attempt, .. } = task.clone();
        // A merge may fail once more when the base has moved again since the checks ran again.
        if matches!(found, DeployerEvent::StageStopped(_) | DeployerEvent::MergeFailed(_)) {
            continue;
        }
        if let Some(first) = seen.insert((task.clone(), run, attempt, event.name()), sequence) {
            let text = format!("{} of {task} {run}.{attempt} at {first} and at {sequence}", event.name());
            violations.push(Violation { invariant: "I8", damage: Damage::Duplicated, text });
        }
    }
    violations
}

#[cfg(test)]
mod tests;
