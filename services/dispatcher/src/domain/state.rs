//! What the dispatcher's own log says about one task.

use std::collections::{BTreeSet, VecDeque};

use millrace_decider::{Cause, Recorded, Timestamp};
use millrace_events::DispatcherEvent;
use millrace_events::v1::{Failure, TaskRef, WorkOrder, WorkOrderKind};

/// Refusals and expired orders that are remembered. More than a task ever has.
const REMEMBERED: usize = 64;

/// Status of a task, DESIGN section 5. `pending` exists only between the two halves of `TaskScheduled`,
/// which schedules and offers in one decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// A run is under way.
    Active,
    /// Released and verified.
    Complete,
    /// The run is over without success.
    Failed,
    /// A person can unblock it.
    Blocked,
    /// Somebody ended it.
    Cancelled,
}

impl Status {
    /// The name, as in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A task as its own log has it.
#[derive(Debug, Clone, Default)]
pub struct Task {
    /// `None`: not known yet.
    pub status: Option<Status>,
    /// The present run and attempt.
    pub reference: TaskRef,
    /// The work order that was offered last, in whatever state it is.
    pub order: Option<WorkOrder>,
    /// An expiry or failure that has been recorded and must be followed up.
    pub expired: Option<Expired>,
    /// Ids of orders that expired: what their holders still say is refused.
    pub expired_orders: BTreeSet<String>,
    /// The run failed before any work order was issued.
    pub failed_at_gate: bool,
    /// Causes of refusals that are recorded already.
    pub refused: VecDeque<Cause>,
}

/// The last offer came to nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Expired {
    /// When that was recorded.
    pub at: Timestamp,
    /// Why.
    pub failure: Failure,
}

impl Task {
    /// Applies one event of the dispatcher's log.
    pub(super) fn apply(&mut self, recorded: &Recorded<'_, DispatcherEvent>) {
        match recorded.event {
            DispatcherEvent::TaskScheduled(event) => {
                self.status = Some(Status::Active);
                self.failed_at_gate = false;
                self.offer(event.order.as_ref());
            }
            DispatcherEvent::WorkOrderIssued(event) => {
                self.status = Some(Status::Active);
                self.offer(event.order.as_ref());
            }
            DispatcherEvent::WorkOrderExpired(event) => {
                if self.expired_orders.len() < REMEMBERED {
                    self.expired_orders.insert(event.order.clone());
                }
                let failure = event.failure.clone().unwrap_or_default();
                self.expired = Some(Expired { at: recorded.time, failure });
            }
            DispatcherEvent::TaskBlocked(event) => self.end(Status::Blocked, event.task.as_ref()),
            DispatcherEvent::TaskFailed(event) => self.end(Status::Failed, event.task.as_ref()),
            DispatcherEvent::TaskCancelled(event) => self.end(Status::Cancelled, event.task.as_ref()),
            DispatcherEvent::TaskCompleted(event) => self.end(Status::Complete, event.task.as_ref()),
            DispatcherEvent::TransitionRefused(_) => {
                if self.refused.len() == REMEMBERED {
                    self.refused.pop_front();
                }
                self.refused.extend(recorded.cause.cloned());
            }
            DispatcherEvent::ApprovalRequired(_)
            | DispatcherEvent::TaskPaused(_)
            | DispatcherEvent::TaskResumed(_) => {}
        }
    }

    fn offer(&mut self, order: Option<&WorkOrder>) {
        self.expired = None;
        self.order = order.cloned();
        if let Some(task) = order.and_then(|order| order.task.clone()) {
            if task.run != self.reference.run {
                self.expired_orders.clear();
            }
            self.reference = task;
        }
    }

    fn end(&mut self, status: Status, task: Option<&TaskRef>) {
        self.failed_at_gate =
            self.order.as_ref().is_none_or(|order| Some(run_of(order)) != task.map(|t| t.run));
        self.status = Some(status);
        self.expired = None;
        if let Some(task) = task {
            self.reference = task.clone();
        }
    }

    /// Whether a run is under way.
    pub fn is_active(&self) -> bool {
        self.status == Some(Status::Active)
    }

    /// Whether `task` names the present run and attempt.
    pub fn is_present(&self, task: &TaskRef) -> bool {
        (task.run, task.attempt) == (self.reference.run, self.reference.attempt)
    }

    /// The offered work order, if it is `id` and has not expired.
    pub fn open_order(&self, id: &str) -> Option<&WorkOrder> {
        self.order.as_ref().filter(|order| self.is_active() && self.expired.is_none() && order.id == id)
    }

    /// What the present order asks for.
    pub fn order_kind(&self) -> Option<WorkOrderKind> {
        self.order.as_ref().map(WorkOrder::kind)
    }

    /// The status by name; `unknown to the dispatcher` where there is none.
    pub fn status_name(&self) -> &'static str {
        self.status.map_or("not scheduled", Status::name)
    }
}

fn run_of(order: &WorkOrder) -> u32 {
    order.task.as_ref().map_or(0, |task| task.run)
}
