//! What the registry's own log says about one task, or one submission without an id.

use std::collections::VecDeque;

use millrace_decider::{Cause, Recorded};
use millrace_events::SpecRegistryEvent;
use millrace_events::v1::{SpecRegistered, SpecRejected};

/// Causes and rejections that are remembered, the newest ones. More than one key ever has in flight.
const REMEMBERED: usize = 256;

/// The fold of the log for one key.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The task that a submission without an id got.
    pub allocated: Option<String>,
    /// The version that holds.
    pub current: Option<Registered>,
    rejections: VecDeque<Rejection>,
    causes: VecDeque<Cause>,
}

/// A version of a specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// From 1.
    pub version: u32,
    /// SHA-256 of its bytes.
    pub checksum: String,
    /// SHA-256 of its plan; empty when it has none.
    pub plan: String,
    /// The repository that it belongs to.
    pub repository: String,
    /// Where it stands there.
    pub path: String,
    /// The intake message that it came with.
    pub cause: Option<Cause>,
}

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rejection {
    submission: String,
    repository: String,
    path: String,
    checksum: String,
    message: String,
}

impl Record {
    /// Applies one event of the registry's log.
    pub(super) fn apply(&mut self, recorded: &Recorded<'_, SpecRegistryEvent>) {
        match recorded.event {
            // The first one stands: two of them would be two tasks.
            SpecRegistryEvent::TaskAllocated(event) => {
                self.allocated.get_or_insert_with(|| event.task.clone());
            }
            SpecRegistryEvent::SpecRegistered(event) => {
                // What is mended may break again, and is worth saying again.
                self.rejections.retain(|old| old.repository != event.repository || old.path != event.path);
                self.current = Some(Registered::of(event, recorded.cause.cloned()));
            }
            SpecRegistryEvent::SpecRejected(event) => remember(&mut self.rejections, Rejection::of(event)),
        }
        if let Some(cause) = recorded.cause {
            remember(&mut self.causes, cause.clone());
        }
    }

    /// Whether this message has led to an event under this key.
    pub(super) fn has_answered(&self, cause: &Cause) -> bool {
        self.causes.contains(cause)
    }

    /// Whether a submission or request was refused.
    pub(super) fn has_refused(&self, submission: &str) -> bool {
        self.rejections.iter().any(|rejection| rejection.submission == submission)
    }

    /// Whether the same bytes at the same place were refused for the same reason.
    pub(super) fn has_refused_alike(&self, rejected: &SpecRejected) -> bool {
        let rejected = Rejection::of(rejected);
        // What was not read may be another time: whoever asks again is answered again.
        !rejected.checksum.is_empty()
            && self
                .rejections
                .iter()
                .any(|old| *old == Rejection { submission: old.submission.clone(), ..rejected.clone() })
    }
}

impl Registered {
    fn of(event: &SpecRegistered, cause: Option<Cause>) -> Self {
        Self {
            version: event.version,
            checksum: event.checksum.clone(),
            plan: plan_checksum(event).to_owned(),
            repository: event.repository.clone(),
            path: event.path.clone(),
            cause,
        }
    }

    /// Whether `spec` has the same bytes, plan included.
    pub(super) fn has_bytes_of(&self, spec: &SpecRegistered) -> bool {
        self.checksum == spec.checksum && self.plan == plan_checksum(spec)
    }

    /// Whether the version came with a later message than `cause`, as far as the two can be compared.
    pub(super) fn is_newer_than(&self, cause: &Cause) -> bool {
        self.cause.as_ref().is_some_and(|own| own.stream == cause.stream && own.sequence > cause.sequence)
    }
}

impl Rejection {
    fn of(event: &SpecRejected) -> Self {
        Self {
            submission: event.submission.clone(),
            repository: event.repository.clone(),
            path: event.path.clone(),
            checksum: event.checksum.clone(),
            message: event.failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default(),
        }
    }
}

/// SHA-256 of a specification's plan; empty when it has none.
fn plan_checksum(spec: &SpecRegistered) -> &str {
    spec.plan.as_ref().map_or("", |plan| plan.sha256.as_str())
}

fn remember<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == REMEMBERED {
        list.pop_front();
    }
    list.push_back(item);
}
