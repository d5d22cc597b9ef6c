//! Work orders: how each is made from the one before it.

use std::time::Duration;

use millrace_decider::{Context, Timestamp};
use millrace_events::v1::{self, Failure, PullRequestOpened, TaskRef, WorkOrder, WorkOrderKind};
use millrace_events::{Class, Code, WireTimestamp};

use super::Limits;
use super::input::kind_name;
use super::state::Task;

impl Limits {
    fn acknowledge_by(&self, now: Timestamp) -> Option<WireTimestamp> {
        Some(millrace_events::wire_time(now + self.acknowledge))
    }

    /// Pause before the work that failed is tried again: a world that failed is left alone for a moment, a
    /// change that failed is mended at once.
    fn pause_for(&self, failure: &Failure, tries: u32, task: &str) -> Duration {
        match failure.known_code() {
            Some(Code::LeaseLost | Code::PrBaseMoved) | None => Duration::ZERO,
            Some(code) if matches!(code.class(), Class::Transient | Class::Bug) => {
                self.pause_after(tries, task)
            }
            Some(_) => Duration::ZERO,
        }
    }

    /// Pause before the offer after `tries` offers: doubles each time, and differs a little from task to
    /// task so that many do not come at once. No randomness: the same task waits the same time.
    pub(super) fn pause_after(&self, tries: u32, task: &str) -> Duration {
        let doubled = self.dispatch_backoff.saturating_mul(1 << tries.saturating_sub(1).min(10));
        let spread =
            task.bytes().fold(17_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 100;
        doubled + doubled.saturating_mul(spread) / 400
    }
}

/// The id of a work order: `<task>/<run>.<attempt>/<kind>/<round>`.
fn order_id(task: &TaskRef, kind: WorkOrderKind, round: u32) -> String {
    format!("{}/{}.{}/{}/{round}", task.task, task.run, task.attempt, kind_name(kind))
}

/// The round in an order's id.
pub(super) fn round_of(order: &WorkOrder) -> u32 {
    order.id.rsplit_once('/').and_then(|(_, round)| round.parse().ok()).unwrap_or(1)
}

/// The first order of a run, from a registered spec.
pub(super) fn first(limits: &Limits, spec: &v1::SpecRegistered, run: u32, context: &Context) -> WorkOrder {
    let task = TaskRef {
        task: spec.task.clone(),
        run,
        attempt: 1,
        repository: spec.repository.clone(),
        base_commit: spec.commit.clone(),
        spec_version: spec.version,
        spec_checksum: spec.checksum.clone(),
        target: spec.target.clone(),
    };
    WorkOrder {
        id: order_id(&task, WorkOrderKind::Change, 1),
        kind: WorkOrderKind::Change as i32,
        acknowledge_by: limits.acknowledge_by(context.now),
        tries: 1,
        execution_limit_ms: millis(limits.execution),
        spec: spec.spec.clone(),
        plan: spec.plan.clone(),
        title: spec.title.clone(),
        domain: spec.domain.clone(),
        priority: spec.priority,
        task: Some(task),
        ..WorkOrder::default()
    }
}

/// The order of a run that has waited, put on offer now.
pub(super) fn on_offer(limits: &Limits, waiting: &WorkOrder, context: &Context) -> WorkOrder {
    WorkOrder { acknowledge_by: limits.acknowledge_by(context.now), ..waiting.clone() }
}

/// The same work offered again, because nobody acknowledged it.
pub(super) fn again(limits: &Limits, order: &WorkOrder, tries: u32, context: &Context) -> WorkOrder {
    let task = order.task.clone().unwrap_or_default();
    WorkOrder {
        id: order_id(&task, order.kind(), round_of(order) + 1),
        acknowledge_by: limits.acknowledge_by(context.now),
        tries,
        ..order.clone()
    }
}

/// The change work order of the next attempt, told what the last one failed with. Starts from
/// `base_commit` where the base has moved.
pub(super) fn next_attempt(
    limits: &Limits,
    state: &Task,
    failure: &Failure,
    base_commit: Option<&str>,
    context: &Context,
) -> Option<WorkOrder> {
    let last = state.order.as_ref()?;
    let mut task = state.reference.clone();
    let pause = limits.pause_for(failure, task.attempt, &task.task);
    let not_before = context.now + pause;
    task.attempt += 1;
    if let Some(base) = base_commit.filter(|base| !base.is_empty()) {
        task.base_commit = base.to_owned();
    }
    Some(WorkOrder {
        id: order_id(&task, WorkOrderKind::Change, 1),
        kind: WorkOrderKind::Change as i32,
        acknowledge_by: limits.acknowledge_by(not_before),
        not_before: (!pause.is_zero()).then(|| millrace_events::wire_time(not_before)),
        tries: 1,
        execution_limit_ms: millis(limits.execution),
        spec: last.spec.clone(),
        plan: last.plan.clone(),
        title: last.title.clone(),
        domain: last.domain.clone(),
        priority: last.priority,
        previous_failure: Some(failure.clone()),
        task: Some(task),
        ..WorkOrder::default()
    })
}

/// The check work order for a pull request.
pub(super) fn check(
    limits: &Limits,
    state: &Task,
    opened: &PullRequestOpened,
    context: &Context,
) -> Option<WorkOrder> {
    let last = state.order.as_ref()?;
    let task = opened.task.clone()?;
    Some(WorkOrder {
        id: order_id(&task, WorkOrderKind::Check, 1),
        kind: WorkOrderKind::Check as i32,
        acknowledge_by: limits.acknowledge_by(context.now),
        tries: 1,
        execution_limit_ms: millis(limits.execution),
        spec: last.spec.clone(),
        // For the attempt that may follow.
        plan: last.plan.clone(),
        title: last.title.clone(),
        domain: last.domain.clone(),
        priority: last.priority,
        pull_request: opened.pull_request.clone(),
        checks: opened.checks.clone(),
        implementer: opened.implementer.clone(),
        evidence: opened.evidence.clone(),
        task: Some(task),
        ..WorkOrder::default()
    })
}

/// The next round of the present check order: on a moved base, or because its worker or its world failed.
pub(super) fn check_again(
    limits: &Limits,
    order: &WorkOrder,
    failure: &Failure,
    base: Option<&str>,
    context: &Context,
) -> WorkOrder {
    let task = order.task.clone().unwrap_or_default();
    let mut pull_request = order.pull_request.clone();
    if let (Some(pull_request), Some(base)) = (&mut pull_request, base.filter(|base| !base.is_empty())) {
        pull_request.base = base.to_owned();
    }
    let pause = limits.pause_for(failure, round_of(order), &task.task);
    let not_before = context.now + pause;
    WorkOrder {
        id: order_id(&task, WorkOrderKind::Check, round_of(order) + 1),
        acknowledge_by: limits.acknowledge_by(not_before),
        not_before: (!pause.is_zero()).then(|| millrace_events::wire_time(not_before)),
        tries: 1,
        pull_request,
        ..order.clone()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
