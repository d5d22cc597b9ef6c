//! What is chosen from: those that wait, those that were chosen, and those on offer.

use std::collections::BTreeMap;

use millrace_decider::Timestamp;

use super::offers::Offers;
use super::queue::{Queue, Waiting};

/// What a choice is made from. In memory only.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Those that wait.
    pub(super) queue: Queue,
    /// Those that were chosen and are not on offer yet, by task.
    pub(super) granted: BTreeMap<String, Granted>,
    /// Those on offer.
    pub(super) offers: Offers,
}

/// A run that was chosen.
#[derive(Debug)]
pub(super) struct Granted {
    /// The run.
    pub(super) waiting: Waiting,
    /// When.
    pub(super) at: Timestamp,
}

impl Choice {
    /// A run was chosen: it counts as on offer from now on.
    pub(super) fn grant(&mut self, waiting: Waiting, now: Timestamp) {
        self.offers.open(&waiting.task, now);
        self.granted.insert(waiting.task.to_string(), Granted { waiting, at: now });
    }

    /// It is not let in after all: it has its place again.
    pub(super) fn put_back(&mut self, task: &str) {
        if let Some(granted) = self.granted.remove(task) {
            self.offers.close(task);
            self.queue.put(granted.waiting);
        }
    }

    /// Takes back what was chosen before `before` and has not come on offer.
    pub(super) fn put_back_older(&mut self, before: Timestamp) {
        let old = self.granted.iter().filter(|(_, granted)| granted.at < before);
        let old: Vec<String> = old.map(|(task, _)| task.clone()).collect();
        for task in old {
            self.put_back(&task);
        }
    }
}
