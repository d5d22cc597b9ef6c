//! Groups of like failures, pure. Key: the group.

mod decider;
mod group;
#[cfg(test)]
mod tests;

pub use decider::{Classifier, Effect, Group, Input, is_milestone};
pub use group::{Classification, Reported};
