//! What the world is owed.

use super::{Request, Submission};

/// Work in the world. Both kinds only read, so doing one again changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Read what was handed in, and check it.
    Read {
        /// The submission.
        submission: Submission,
        /// The id that was allocated to it, if it has none of its own.
        allocated: Option<String>,
    },
    /// Look for the specification of a task in the repositories.
    Find(Request),
}
