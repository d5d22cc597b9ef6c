//! What the dispatcher asks of the world. It never works on it: the one thing it changes is a lease, which
//! it may take away.

use millrace_events::v1::{CancelRequested, RetryRequested, TimerFired};

/// A question to another log, or the revocation of a lease.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Look at the work order that a deadline is about: acknowledged, finished, lease alive?
    Inquire(TimerFired),
    /// Look up the spec that a retry is to work on.
    FindSpec(RetryRequested),
    /// Look whether the change is merged, before a cancel.
    AskMerged(CancelRequested),
    /// Take the lease of a work order away; its holder stops.
    RevokeLease {
        /// The work order.
        order: String,
    },
    /// Decide what follows on a recorded expiry. Needs nothing of the world; it is due so that a crash
    /// between the two decisions leaves nothing undone.
    FollowUp {
        /// The task.
        task: String,
    },
}
