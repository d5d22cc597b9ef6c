//! Builds what models are asked, the same bytes from the same inputs (S4-IMP-21, S4-D4). Nothing here asks anybody:
//! no clock, no chance, no network; files are read only by [`Library::with_folder`].
//!
//! Read in this order: [`compile`] (the parts of a prompt and their order), [`Library`] (the parts, each with a name, a
//! version and a digest), [`Material`] (texts of others, marked as data), [`PersonaSpec`] (who is asked, and in which
//! variant), [`attest`] (whether a prompt is still the one that was meant).

mod attestation;
mod canonical;
mod compiler;
mod data;
mod library;
mod part;
mod persona;
mod variant;

pub use attestation::{Attestation, AttestationPolicy, Baseline, Drift, attest};
pub use canonical::canonical_json;
pub use compiler::{Anchor, CompileError, Compiled, PartRef, Request, Taken, compile};
pub use data::{Material, block};
pub use library::{Library, LibraryError};
pub use part::Part;
pub use persona::{PersonaSpec, Trial, VariantSpec};
pub use variant::{Variant, assign, is_sampled};

use millrace_events::v1::Phase;
use sha2::{Digest, Sha256};

/// The phases that have a prompt, in order.
pub const PHASES: [Phase; 9] = [
    Phase::Strategize,
    Phase::Spec,
    Phase::Plan,
    Phase::Think,
    Phase::Implement,
    Phase::Verify,
    Phase::Review,
    Phase::Pr,
    Phase::Monitor,
];

/// The roles that have a prompt.
pub const ROLES: [&str; 3] = ["planner", "implementer", "reviewer"];

/// A phase as it is called in files and in names of prompts, such as `plan`.
#[must_use]
pub fn phase_name(phase: Phase) -> String {
    phase.as_str_name().trim_start_matches("PHASE_").to_ascii_lowercase()
}

/// The phase of that name, in letters of any case.
#[must_use]
pub fn phase_named(name: &str) -> Option<Phase> {
    PHASES.into_iter().find(|phase| phase_name(*phase).eq_ignore_ascii_case(name))
}

/// SHA-256 in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
