//! What the dispatcher asks of the world. It never works on it: the one thing it changes is a lease, which
//! it may take away.

use millrace_events::v1::{
    CancelRequested, PauseRequested, RetryRequested, SpecRegistered, StageStopped, TimerFired,
};

use super::Candidate;

/// A question to another log, or the revocation of a lease.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Is there room for a run, under the limits and before others that wait?
    Admit {
        /// The run.
        candidate: Candidate,
        /// The spec that opens it; `None`: it is opened already, and waits.
        spec: Option<Box<SpecRegistered>>,
    },
    /// Put a run that waits into the queue, unless it stands there.
    Enqueue(Candidate),
    /// Take a run out of the queue: it is on offer.
    Dequeue {
        /// The task.
        task: String,
        /// Its run.
        run: u32,
    },
    /// A run is over, or held: take it out of the queue, and give back what it uses of the limits.
    Free(Candidate),
    /// A run on offer is paused: its offer keeps no other run waiting.
    CloseOffer {
        /// The task.
        task: String,
    },
    /// It is on offer again.
    OpenOffer {
        /// The task.
        task: String,
    },
    /// Look at the work order that a deadline is about: acknowledged, finished, lease alive?
    Inquire(TimerFired),
    /// Look up the spec that a retry is to work on.
    FindSpec(RetryRequested),
    /// Look whether the run is merged, or stopped for this cancel.
    AskCancel(CancelRequested),
    /// The deployer has stopped the run: look who asked for that.
    FindCancel(StageStopped),
    /// Look whether the run is merged, before a pause.
    AskPause {
        /// The request.
        request: PauseRequested,
        /// The id of the event that asked.
        id: String,
    },
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
