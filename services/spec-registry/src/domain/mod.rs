//! The pure part of the registry: what a specification must be, and what is decided about each one.
//!
//! One key of the log is a task, or a submission (`req-…`) of which the task is not known. What is written
//! is read by [`format`]; [`outcome`] puts the result into events; [`Registry`] decides.

mod decider;
mod effect;
pub mod format;
mod input;
pub mod outcome;
mod record;
mod requests;
mod versions;

pub use decider::Registry;
pub use effect::Effect;
pub use input::{Input, Request, Submission};
pub use record::{Record, Registered};

#[cfg(test)]
mod tests;
