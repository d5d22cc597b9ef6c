//! Versions of a specification, and who may write the next one. DESIGN section 2.

use millrace_decider::Context;
use millrace_events::SpecRegistryEvent;
use millrace_events::v1::{SpecRegistered, SpecRejected};

use super::{Record, Registered, outcome};

/// A valid specification: the same bytes are nothing new, changed bytes at the same place are the next
/// version, and another place that claims the task is refused.
pub(super) fn accepted(
    state: &Record,
    spec: &SpecRegistered,
    context: &Context,
) -> Option<SpecRegistryEvent> {
    let Some(current) = &state.current else { return Some(version(1, spec)) };
    let same_repository = current.repository == spec.repository;
    // A copy, or a file that was moved as it is, claims nothing that is not registered.
    if same_repository && current.has_bytes_of(spec) {
        return None;
    }
    if !same_repository || current.path != spec.path {
        return refused(state, &outcome::conflict(spec, current));
    }
    // An older text that was overtaken, or came again: the newer one holds.
    if current.is_newer_than(&context.cause) {
        return None;
    }
    Some(version(current.version.saturating_add(1), spec))
}

/// A specification that is refused leaves the registered version as it is. The same refusal again is
/// nothing.
pub(super) fn refused(state: &Record, rejection: &SpecRejected) -> Option<SpecRegistryEvent> {
    // It was looked for and not found; meanwhile a scan has registered it.
    let overtaken = rejection.path.is_empty() && state.current.is_some();
    (!overtaken && !state.has_refused_alike(rejection)).then(|| rejection.clone().into())
}

fn version(version: u32, spec: &SpecRegistered) -> SpecRegistryEvent {
    SpecRegistered { version, ..spec.clone() }.into()
}

impl Registered {
    /// Where it stands, for people.
    pub(super) fn place(&self) -> String {
        format!("{} in repository {}", self.path, self.repository)
    }
}
