//! The life cycle of a task, pure. The decider alone changes a status and ends a run.
//!
//! One input is at most one event. What does not follow from the dispatcher's own log is asked of the log
//! that owns it ([`Effect`]), never guessed: on the happy path the dispatcher writes two events of ten.

mod admit;
mod contradictions;
mod decider;
mod due;
mod effect;
mod input;
mod operator;
mod order;
mod results;
mod spec_gate;
mod state;
mod timers;

pub use admit::{ADMIT, Candidate, Room};
pub use decider::Dispatcher;
pub use effect::Effect;
pub use input::{Input, Release, Report};
pub use state::{Status, Task, Waiting};

/// The limits that the life cycle keeps.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A work order must be acknowledged within this.
    pub acknowledge: std::time::Duration,
    /// How often it is offered.
    pub dispatch_attempts: u32,
    /// Pause before it is offered again; doubles each time.
    pub dispatch_backoff: std::time::Duration,
    /// Life of a lease without renewal.
    pub lease: std::time::Duration,
    /// Execution of one work order.
    pub execution: std::time::Duration,
    /// Attempts of a run, the first included.
    pub attempts: u32,
    /// The pull request must be seen within this after the execution.
    pub pr_grace: std::time::Duration,
    /// Whether runs use up a limit of a repository or domain.
    pub counts_runs: bool,
}

#[cfg(test)]
mod tests;
