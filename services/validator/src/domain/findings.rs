//! What was found when a pull request was inspected.

use millrace_events::Code;
use millrace_events::v1::{ChecksCompleted, PullRequestOpened};

/// Evidence without which nothing is merged.
pub const REQUIRED_EVIDENCE: [&str; 4] =
    ["plan.json", "git_diff.patch", "modified_files.json", "execution_result.json"];

/// Everything a verdict rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    /// The pull request as the deployer opened it.
    pub opened: PullRequestOpened,
    /// As the forge shows it now; `None`: it does not exist.
    pub shown: Option<Showing>,
    /// The required evidence.
    pub evidence: Vec<Artifact>,
    /// What the worker says its work came to; `None` where that cannot be read.
    pub proof: Option<Proof>,
    /// The checks that ran; `None` where the base asks for none.
    pub checks: Option<Box<ChecksCompleted>>,
}

/// A pull request on its forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Showing {
    /// It can still be merged.
    pub open: bool,
    /// Its change is in the base branch.
    pub merged: bool,
    /// Full SHA of its head.
    pub head: String,
    /// Its head defines other checks than its base.
    pub redefines_checks: bool,
}

/// One piece of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its name.
    pub name: String,
    /// `None`: it is what it should be. Else what is wrong with it.
    pub fault: Option<(Code, String)>,
}

/// `execution_result.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Its `outcome`.
    pub outcome: String,
    /// Its `head`: the commit that it is about.
    pub head: String,
}
