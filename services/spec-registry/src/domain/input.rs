//! What can happen to a task's specification.

use std::fmt;
use std::sync::Arc;

use millrace_events::v1::{SpecRegistered, SpecRejected, SpecSource, SpecSubmitted, TaskRequested};
use millrace_events::{Key, TaskId, submission_id};

/// First characters of the key of a submission.
const SUBMISSION_PREFIX: &str = "req-";

/// An input of the registry.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Somebody handed in a specification.
    Submitted(Submission),
    /// Somebody asked for a task.
    Requested(Request),
    /// What was handed in names no task, and this id is free: part of the answer to [`super::Effect::Read`].
    Unnamed {
        /// Where ids are given to it.
        under: Key,
        /// The submission.
        submission: String,
        /// The free id.
        task: String,
    },
    /// A specification that satisfies every rule. The answer to both effects.
    Accepted {
        /// The task.
        under: Key,
        /// What is to be registered; its version is not set.
        spec: SpecRegistered,
    },
    /// One that does not, or that is nowhere. The answer to both effects.
    Refused {
        /// The task, or the submission where no task is known.
        under: Key,
        /// What is wrong.
        rejection: SpecRejected,
    },
}

/// A specification as it was handed in.
#[derive(Clone, PartialEq)]
pub struct Submission {
    /// Its key in the intake log.
    pub key: Key,
    /// Its sequence there: the base of the id that it gets if it has none.
    pub sequence: u64,
    /// The event.
    pub event: Arc<SpecSubmitted>,
}

/// A task that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The request's key in the intake log.
    pub key: Key,
    /// The event.
    pub event: TaskRequested,
}

impl Submission {
    /// The key under which it gets a task id if it has none: in a repository the place is what stays the
    /// same when the text changes; anywhere else it is the submission itself.
    pub fn identity(&self) -> Key {
        if self.event.source() != SpecSource::Git {
            return submission_key(&self.key);
        }
        derived("place", &format!("{}\n{}", self.event.repository, self.event.path), &self.key)
    }
}

impl Request {
    /// The task, if it is one.
    pub fn task(&self) -> Option<TaskId> {
        TaskId::parse(&self.event.task).ok()
    }
}

impl Input {
    /// The key that it is decided under: the task where it is known, else the submission.
    pub fn key(&self) -> Key {
        match self {
            Self::Submitted(submission) => submission.identity(),
            Self::Requested(request) => match request.task() {
                Some(task) => task.key(),
                None => submission_key(&request.key),
            },
            Self::Unnamed { under, .. } | Self::Accepted { under, .. } | Self::Refused { under, .. } => {
                under.clone()
            }
        }
    }
}

/// The key of a submission in this log. A producer that chose another kind of key gets one derived from it,
/// so that nobody writes under a task by naming a submission like one.
fn submission_key(key: &Key) -> Key {
    if key.as_str().starts_with(SUBMISSION_PREFIX) { key.clone() } else { derived("key", key.as_str(), key) }
}

/// `req-<uuid5>`, which always is a key.
fn derived(kind: &str, name: &str, or: &Key) -> Key {
    let id = submission_id(&format!("/millrace/spec-registry/{kind}"), name);
    Key::new(format!("{SUBMISSION_PREFIX}{id}")).unwrap_or_else(|_| or.clone())
}

/// Says what it is without its bytes: half a megabyte in a log line helps nobody.
impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission")
            .field("key", &self.key.as_str())
            .field("repository", &self.event.repository)
            .field("path", &self.event.path)
            .finish_non_exhaustive()
    }
}
