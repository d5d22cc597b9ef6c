//! How the projector is doing, for health and for those of its parts that wait for each other.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

/// How the projector is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the ledger's schema stands and its checkpoints have been read.
    pub started: bool,
    /// What each part that is in trouble says, by the part's name; empty: all is well.
    pub problems: BTreeMap<String, String>,
    /// Streams that have lost events; they are not followed until the watchdog has seen them whole.
    pub regressed: BTreeSet<String>,
    /// Consumers that hold most of what they may hold, and how much.
    pub crowded: BTreeMap<String, String>,
    /// Logged events that the ledger's guard refused since the start. An alarm.
    pub mismatches: u64,
    /// Applied events that could not be read or are of an unknown type, since the start.
    pub skipped: u64,
    /// The last applied sequence of each stream.
    pub applied: BTreeMap<String, u64>,
}

impl Status {
    /// Whether it can do its work: for readiness.
    pub fn is_healthy(&self) -> bool {
        self.started && self.problems.is_empty() && self.regressed.is_empty()
    }
}

/// A part is in trouble.
pub(crate) fn trouble(status: &watch::Sender<Status>, part: &str, error: &dyn std::error::Error) {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    status.send_if_modified(|status| {
        let changed = status.problems.get(part) != Some(&text);
        if changed {
            tracing::warn!(part, error = %text, "the projector is in trouble and tries again");
            status.problems.insert(part.to_owned(), text);
        }
        changed
    });
}

/// A part is well again.
pub(crate) fn well(status: &watch::Sender<Status>, part: &str) {
    status.send_if_modified(|status| status.problems.remove(part).is_some());
}
