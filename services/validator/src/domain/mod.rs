//! The verdict on a pull request, pure: what was found is judged here, by name, and the first objection is
//! the failure.

mod decider;
mod findings;
mod judge;
#[cfg(test)]
mod tests;

pub use decider::{Effect, Input, Validator, Verdicts};
pub use findings::{Artifact, Findings, Proof, REQUIRED_EVIDENCE, Showing};
pub use judge::judge;

/// The deadline by which the checks of a pull request must be done.
pub const CHECKS_WAIT: &str = "checks_wait";
