//! What can happen to a work order, and what follows in the world.

use std::fmt;

use millrace_decider::Timestamp;
use millrace_events::v1::WorkOrder;
use millrace_events::{Key, WorkerEvent};

/// An input.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The dispatcher offers an order.
    Offered(Box<Offer>),
    /// Something happened during the work on an order.
    Noted(Box<Said>),
    /// The work on an order has ended.
    Ended(Box<Said>),
}

/// An order on offer.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// The task.
    pub task: Key,
    /// The order.
    pub order: WorkOrder,
}

/// What the work on an order says: that something happened, or how it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The task.
    pub task: Key,
    /// Id of the order.
    pub order: String,
    /// The token under which it was worked on.
    pub token: u64,
    /// The event that says it.
    pub event: WorkerEvent,
}

/// Work in the world.
#[derive(Clone, PartialEq)]
pub enum Effect {
    /// Do what an order asks for.
    Execute(Box<Execute>),
    /// Give the lease of an order back whose end is recorded.
    Release {
        /// Id of the order.
        order: String,
    },
}

/// An order that this process has claimed.
#[derive(Clone, PartialEq)]
pub struct Execute {
    /// The task.
    pub task: Key,
    /// The order.
    pub order: WorkOrder,
    /// The fencing token.
    pub token: u64,
    /// When it was claimed: the date of the commit, so that a repeat makes the same one.
    pub claimed_at: Timestamp,
}

impl Input {
    /// The task that it is about.
    pub fn task(&self) -> &Key {
        match self {
            Self::Offered(offer) => &offer.task,
            Self::Noted(said) | Self::Ended(said) => &said.task,
        }
    }
}

/// By the order's id: an order is long.
impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Execute(execute) => write!(f, "Execute({}, token {})", execute.order.id, execute.token),
            Self::Release { order } => write!(f, "Release({order})"),
        }
    }
}
