//! How the work of one attempt goes, phase by phase: what may be done when, by whom, and what must be there
//! before the next phase begins. Rules only: files, commands and models are behind traits.
//!
//! Read in this order: [`PhaseTable`] (the rules as data), [`Enforcer`] (the way through the phases),
//! [`evidence`] (what an artifact must contain), [`tools`] (what a model may call), [`agent`] (the loop in
//! which it calls them).

pub mod agent;
mod enforcer;
pub mod evidence;
mod phase;
mod table;
pub mod tools;

pub use enforcer::{Artifact, Counts, Enforcer, Refusal, Refused, Reverted};
pub use phase::{ALL, name, named};
pub use table::{ArtifactRule, Limits, Mode, PhaseRule, PhaseTable, RunsIn, TableError, Thresholds};
