//! The shape of every Millrace service that decides something: four functions, three of them pure.
//!
//! ```text
//! decide(state, input, context) -> Result<Option<Event>, Refusal>   no clock, no I/O, no randomness
//! evolve(state, event)          -> state                            a total fold over the service's own log
//! due(state, input)             -> what the world is still owed
//! perform(effect)               -> Input                            async; lives in the service, not here
//! ```
//!
//! The runtime hosts deciders; this crate knows neither it nor the wire. [`test`] is a given/when/then kit
//! that folds and decides just as the runtime does, in memory.

mod context;
mod decider;
mod fold;
pub mod test;
mod time;

pub use context::{Cause, Context, Recorded};
pub use decider::{Deadline, Decider, Due, Refusal};
pub use fold::fold;
pub use time::Timestamp;
