//! What the deployer decides about one task, pure: pull request, merge, release, rollback.
//!
//! Every effect's outcome comes back as the event that would record it ([`Input::Found`]); the decider
//! records it only while its own log does not yet hold an answer, so that of two outcomes the first stands.

mod decider;
mod due;
mod input;
mod state;
#[cfg(test)]
mod tests;

pub use decider::Deployer;
pub use input::{Effect, End, Input};
pub use state::{Attempt, Merge, Release, Verdict};

/// The deadline after a merge by which the release must have its verdict.
pub const DEPLOYMENT: &str = "deployment";
