//! What the worker log says about the work orders of one task.

use std::collections::BTreeMap;

use millrace_decider::{Recorded, Timestamp};
use millrace_events::WorkerEvent;
use millrace_events::v1::{TaskRef, WorkOrder, WorkOrderAcknowledged, WorkOrderKind};

/// The claims of one task, and the newest order that anybody claimed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    claims: BTreeMap<String, Claim>,
    newest: Option<Rank>,
}

/// Who acknowledged an order, and whether it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Worker identity.
    pub worker: String,
    /// Process of it.
    pub instance: String,
    /// The fencing token: the sequence of the acknowledgement.
    pub token: u64,
    /// When it was acknowledged.
    pub at: Timestamp,
    /// Its place; `None`: it named no task.
    pub rank: Option<Rank>,
    /// Whether its end is recorded.
    pub ended: bool,
}

/// The place of an order among those of its task: later work outranks earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    run: u32,
    attempt: u32,
    is_check: bool,
    round: u32,
}

impl Orders {
    /// The claim on an order, if somebody made one.
    pub fn claim(&self, order: &str) -> Option<&Claim> {
        self.claims.get(order)
    }

    /// Whether the work of a claim has been taken over: an order that comes after it has been claimed.
    pub fn is_overtaken(&self, claim: &Claim) -> bool {
        claim.rank.is_some_and(|rank| self.has_newer_than(rank))
    }

    /// Whether somebody has claimed an order that comes after this rank.
    pub fn has_newer_than(&self, rank: Rank) -> bool {
        self.newest.is_some_and(|newest| newest > rank)
    }

    /// Applies an event of the worker log.
    pub fn apply(&mut self, recorded: &Recorded<'_, WorkerEvent>) {
        match recorded.event {
            WorkerEvent::WorkOrderAcknowledged(event) => self.acknowledged(event, recorded),
            WorkerEvent::ExecutionCompleted(event) => self.end(&event.order, event.fencing_token),
            WorkerEvent::ExecutionFailed(event) => self.end(&event.order, event.fencing_token),
            WorkerEvent::ExecutionSuspended(event) => self.end(&event.order, event.fencing_token),
            WorkerEvent::ChecksCompleted(event) => self.end(&event.order, event.fencing_token),
            WorkerEvent::PhaseCompleted(_)
            | WorkerEvent::PhaseReverted(_)
            | WorkerEvent::ModelCalled(_)
            | WorkerEvent::ModelFellBack(_)
            | WorkerEvent::ContractViolated(_)
            | WorkerEvent::ToolCallRefused(_)
            | WorkerEvent::PromptDriftDetected(_) => {}
        }
    }

    fn acknowledged(&mut self, event: &WorkOrderAcknowledged, recorded: &Recorded<'_, WorkerEvent>) {
        let rank = event.task.as_ref().map(|task| Rank::new(task, event.kind(), &event.order));
        self.newest = self.newest.max(rank);
        // The first acknowledgement is the claim; there is no second one to an order.
        self.claims.entry(event.order.clone()).or_insert_with(|| Claim {
            worker: event.worker.clone(),
            instance: event.instance.clone(),
            token: recorded.sequence,
            at: recorded.time,
            rank,
            ended: false,
        });
    }

    fn end(&mut self, order: &str, token: u64) {
        if let Some(claim) = self.claims.get_mut(order).filter(|claim| claim.token == token) {
            claim.ended = true;
        }
    }
}

impl Rank {
    /// The rank of an order; `None` when it names no task.
    pub fn of(order: &WorkOrder) -> Option<Self> {
        order.task.as_ref().map(|task| Self::new(task, order.kind(), &order.id))
    }

    fn new(task: &TaskRef, kind: WorkOrderKind, order: &str) -> Self {
        Self {
            run: task.run,
            attempt: task.attempt,
            is_check: kind == WorkOrderKind::Check,
            round: order.rsplit_once('/').and_then(|(_, round)| round.parse().ok()).unwrap_or(1),
        }
    }
}
