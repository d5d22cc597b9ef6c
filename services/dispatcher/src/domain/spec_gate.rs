//! The gate before any dispatch work: no task is scheduled without a registered spec, and what cannot have
//! one fails here, with zero work orders. S1-Gap4.

use millrace_decider::Context;
use millrace_events::v1::{self, Failure, Outcome, SpecReadiness, TaskFailed, TaskRef, TaskScheduled};
use millrace_events::{Code, DispatcherEvent};

use super::state::{Status, Task};
use super::{Limits, order};

/// The run that a spec opens: the first one schedules the task, and so does the one that mends a task that
/// failed for want of it. A waiting, running or finished task keeps the version that it is locked to.
pub(super) fn opens(state: &Task, spec: &v1::SpecRegistered) -> Option<u32> {
    if spec.readiness() != SpecReadiness::Ready {
        return None;
    }
    match state.status {
        None => Some(1),
        Some(Status::Failed) if state.failed_at_gate => Some(state.reference.run + 1),
        Some(_) => None,
    }
}

/// Opens a run and puts it on offer.
pub(super) fn schedule(
    limits: &Limits,
    spec: &v1::SpecRegistered,
    run: u32,
    context: &Context,
) -> DispatcherEvent {
    let order = order::first(limits, spec, run, context);
    TaskScheduled {
        task: order.task.clone(),
        spec_registered: true,
        order: Some(order),
        ..TaskScheduled::default()
    }
    .into()
}

/// A spec was refused, or is nowhere: a task that has none fails.
pub(super) fn rejected(state: &Task, rejected: &v1::SpecRejected) -> Option<DispatcherEvent> {
    if state.status.is_some() || rejected.task.is_empty() {
        return None;
    }
    let failure = rejected
        .failure
        .clone()
        .unwrap_or_else(|| Failure::new(Code::SpecInvalid, "the spec was rejected without a reason"));
    if failure.known_code() == Some(Code::SpecIdConflict) {
        return None;
    }
    let task = TaskRef {
        task: rejected.task.clone(),
        run: 1,
        repository: rejected.repository.clone(),
        base_commit: rejected.commit.clone(),
        spec_checksum: rejected.checksum.clone(),
        ..TaskRef::default()
    };
    Some(
        TaskFailed {
            task: Some(task),
            outcome: Outcome::Failed as i32,
            failure: Some(failure.at_stage("registered")),
        }
        .into(),
    )
}
