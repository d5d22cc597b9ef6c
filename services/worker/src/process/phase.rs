//! The nine phases by name and order. S4-CI1.

use millrace_events::v1::Phase;

/// All phases, in the order in which they are gone through.
pub const ALL: [Phase; 9] = [
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

/// The name that people and the phase table use, such as `IMPLEMENT`.
#[must_use]
pub fn name(phase: Phase) -> &'static str {
    let wire = phase.as_str_name();
    wire.strip_prefix("PHASE_").unwrap_or(wire)
}

/// The phase of that name.
#[must_use]
pub fn named(text: &str) -> Option<Phase> {
    ALL.into_iter().find(|phase| name(*phase) == text)
}
