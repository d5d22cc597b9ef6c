//! The fold: one event, the changes of rows that it makes. Pure: no clock, no database, and no order of
//! application but that of the event's own log.
//!
//! How the order between logs is kept out: every column is either owned by one log ([`Merge::Set`],
//! [`Merge::First`]) or a join that does not care ([`Merge::Max`], [`Merge::Min`]). Status and all that goes
//! with it belong to the dispatcher and are written event by event ([`StatusChange`]), so that the
//! database's guard sees every transition.

mod change;
mod deployer;
mod dispatcher;
mod failure;
mod others;
mod spec_registry;
mod stage;
mod worker;

pub use change::{Change, Fact, Merge, RowChange, Status, StatusChange, Step, Table, Value};
pub use stage::Stage;

use millrace_events::Event;

/// What `fact` changes.
pub fn fold(fact: &Fact<'_>) -> Vec<Change> {
    match fact.event {
        Event::SpecRegistry(event) => spec_registry::fold(fact, event),
        Event::Dispatcher(event) => dispatcher::fold(fact, event),
        Event::Worker(event) => worker::fold(fact, event),
        Event::Validator(event) => others::validator(fact, event),
        Event::Deployer(event) => deployer::fold(fact, event),
        Event::FailureAnalyzer(event) => others::failure_analyzer(fact, event),
        Event::Operator(event) => others::operator(fact, event),
        Event::DeadLetter(event) => others::dead_letter(fact, event),
        Event::Projector(event) => others::projector(fact, event),
        Event::Intake(_) => Vec::new(),
    }
}
