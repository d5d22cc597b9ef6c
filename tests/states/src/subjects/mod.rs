//! The six deciders: their histories, the answers that they wait for, and a small model of each that knows
//! only the history and says what may follow, and why nothing may.

mod analyzer;
mod deployer;
mod dispatcher;
mod registry;
mod validator;
mod worker;

pub use analyzer::analyzer;
pub use deployer::deployer;
pub use dispatcher::dispatcher;
pub use registry::{registry, registry_of_submissions};
pub use validator::{findings, validator};
pub use worker::worker;

use millrace_events::{Key, LogEvent};

use crate::facts::{Label, TASK, fact};

/// The event of a history that a label names, as it is.
fn as_named<E: LogEvent>(_: &[E], label: &Label) -> E {
    E::from_event(fact(E::LOG, label)).unwrap()
}

fn task() -> Key {
    Key::new(TASK).unwrap()
}

/// Where an event of a history stands.
fn place<E: LogEvent>(event: &E) -> (u32, u32) {
    let event = event.clone().into_event();
    event.task_ref().map_or((0, 0), |task| (task.run, task.attempt))
}
