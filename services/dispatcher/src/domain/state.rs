//! What the dispatcher's own log says about one task.

use std::collections::{BTreeSet, VecDeque};

use millrace_decider::{Cause, Recorded, Timestamp};
use millrace_events::v1::{Failure, TaskRef, WorkOrder, WorkOrderKind};
use millrace_events::{DispatcherEvent, Log};

use super::contradictions;
use super::timers::AFTER_PAUSE;

/// Refusals and expired orders that are remembered. More than a task ever has.
const REMEMBERED: usize = 64;

/// Status of a task, DESIGN section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// A run is scheduled and waits to be put on offer.
    Pending,
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
            Self::Pending => "pending",
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
    /// What the present run waits with, or has waited with before it was put on offer.
    pub waiting: Option<Waiting>,
    /// An expiry or failure that has been recorded and must be followed up.
    pub expired: Option<Expired>,
    /// Ids of orders that expired: what their holders still say is refused.
    pub expired_orders: BTreeSet<String>,
    /// The run failed before any work order was issued.
    pub failed_at_gate: bool,
    /// When the present run was scheduled: a request that names no run and was made before means an earlier one.
    pub scheduled_at: Option<Timestamp>,
    /// A person holds the run before its next stage.
    pub paused: bool,
    /// The last resume of the present run.
    pub resumed: Option<Resumed>,
    /// What services said against the present run, a line each, the oldest first.
    pub contradictions: Vec<String>,
    /// Causes of refusals that are recorded already.
    pub refused: VecDeque<Cause>,
    /// Requests of people that have been met. The same request again changes nothing.
    pub met: VecDeque<Cause>,
    /// Ids of the pauses and resumes among them. Published again, a request stands elsewhere in its log.
    pub met_ids: VecDeque<String>,
}

/// A run went on after a pause.
#[derive(Debug, Clone, PartialEq)]
pub struct Resumed {
    /// When.
    pub at: Timestamp,
    /// The order that was on offer then. It is offered again where nobody has begun it.
    pub order: String,
}

/// A run that was not put on offer at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Its first order.
    pub order: WorkOrder,
    /// Since when it waits.
    pub since: Timestamp,
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
        if !matches!(recorded.event, DispatcherEvent::TransitionRefused(_)) {
            let asked = recorded.cause.filter(|cause| Log::from_stream(&cause.stream) == Some(Log::Operator));
            remember(&mut self.met, asked);
        }
        match recorded.event {
            DispatcherEvent::TaskScheduled(event) => {
                self.scheduled_at = Some(recorded.time);
                self.contradictions.clear();
                self.paused = false;
                self.resumed = None;
                self.failed_at_gate = false;
                match &event.waiting {
                    Some(order) if event.order.is_none() => self.wait(order, recorded.time),
                    _ => {
                        self.status = Some(Status::Active);
                        self.waiting = None;
                        self.offer(event.order.as_ref());
                    }
                }
            }
            DispatcherEvent::WorkOrderIssued(event) => {
                self.status = Some(Status::Active);
                if event.reason == AFTER_PAUSE {
                    self.give_up();
                }
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
            DispatcherEvent::TransitionRefused(event) => {
                remember(&mut self.refused, recorded.cause);
                if self.contradictions.len() < REMEMBERED {
                    self.contradictions.extend(contradictions::line(event, recorded));
                }
            }
            DispatcherEvent::TaskPaused(event) => {
                self.paused = true;
                remember(&mut self.met_ids, Some(&event.request));
            }
            DispatcherEvent::TaskResumed(event) => {
                self.paused = false;
                remember(&mut self.met_ids, Some(&event.request));
                let order = self.order.as_ref().map(|order| order.id.clone()).unwrap_or_default();
                self.resumed = Some(Resumed { at: recorded.time, order });
            }
            DispatcherEvent::ApprovalRequired(_) => {}
        }
    }

    /// What is offered again after a pause is given up: whoever takes it all the same must stop.
    fn give_up(&mut self) {
        if self.expired_orders.len() < REMEMBERED {
            self.expired_orders.extend(self.order.as_ref().map(|order| order.id.clone()));
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

    fn wait(&mut self, order: &WorkOrder, since: Timestamp) {
        self.status = Some(Status::Pending);
        self.order = None;
        self.expired = None;
        self.expired_orders.clear();
        self.reference = order.task.clone().unwrap_or_default();
        self.waiting = Some(Waiting { order: order.clone(), since });
    }

    fn end(&mut self, status: Status, task: Option<&TaskRef>) {
        self.failed_at_gate =
            self.order.as_ref().is_none_or(|order| Some(run_of(order)) != task.map(|t| t.run));
        self.status = Some(status);
        self.expired = None;
        self.paused = false;
        if let Some(task) = task {
            self.reference = task.clone();
        }
    }

    /// Whether a run is under way.
    pub fn is_active(&self) -> bool {
        self.status == Some(Status::Active)
    }

    /// Whether the present run has not come to an end, nor to a halt that only a person ends.
    pub fn is_under_way(&self) -> bool {
        matches!(self.status, Some(Status::Pending | Status::Active))
    }

    /// Whether a cancel ends the present run.
    pub fn may_be_cancelled(&self) -> bool {
        self.is_under_way() || self.status == Some(Status::Blocked)
    }

    /// Whether run `run` waits to be put on offer, and nobody holds it.
    pub fn waits(&self, run: u32) -> bool {
        self.status == Some(Status::Pending) && !self.paused && self.reference.run == run
    }

    /// Whether `task` names the present run and attempt.
    pub fn is_present(&self, task: &TaskRef) -> bool {
        (task.run, task.attempt) == (self.reference.run, self.reference.attempt)
    }

    /// The offered work order, if it is `id` and has not expired.
    pub fn open_order(&self, id: &str) -> Option<&WorkOrder> {
        self.order.as_ref().filter(|order| self.is_active() && self.expired.is_none() && order.id == id)
    }

    /// Whether the present run was resumed while this order was the last one.
    pub fn is_resumed(&self, order: &str) -> bool {
        self.resumed.as_ref().is_some_and(|resumed| resumed.order == order)
    }

    /// Whether a request has been met or refused already.
    pub fn has_answered(&self, request: &Cause) -> bool {
        self.met.contains(request) || self.refused.contains(request)
    }

    /// Whether a pause or a resume with this id has been met.
    pub fn has_met(&self, id: &str) -> bool {
        !id.is_empty() && self.met_ids.iter().any(|met| met == id)
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

fn remember<T: Clone>(answered: &mut VecDeque<T>, one: Option<&T>) {
    answered.extend(one.cloned());
    while answered.len() > REMEMBERED {
        answered.pop_front();
    }
}
