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
    /// Nothing yet, with the domains that have a limit.
    pub(super) fn new<'a>(limited: impl Iterator<Item = &'a String>) -> Self {
        Self { queue: Queue::new(limited), ..Self::default() }
    }

    /// A run was chosen: it counts as on offer from now on.
    pub(super) fn grant(&mut self, waiting: Waiting, now: Timestamp) {
        self.offers.open(&waiting.task, now);
        self.granted.insert(waiting.task.to_string(), Granted { waiting, at: now });
    }

    /// It is not let in after all: it has its place again.
    pub(super) fn put_back(&mut self, task: &str, now: Timestamp) {
        if let Some(granted) = self.granted.remove(task) {
            self.offers.close(task, now);
            self.queue.put(granted.waiting);
        }
    }

    /// The first few that were chosen before `before` and have not come on offer.
    pub(super) fn granted_before(&self, before: Timestamp, count: usize) -> Vec<Waiting> {
        let old = self.granted.values().filter(|granted| granted.at < before);
        old.take(count).map(|granted| granted.waiting.clone()).collect()
    }

    /// Whether it was chosen before `before` and has not come on offer.
    pub(super) fn is_granted_before(&self, task: &str, before: Timestamp) -> bool {
        self.granted.get(task).is_some_and(|granted| granted.at < before)
    }

    /// It has come on offer elsewhere, or it is over: where it was chosen here, there is room again. Whether it
    /// was.
    pub(super) fn revoke(&mut self, task: &str, now: Timestamp) -> bool {
        self.granted.remove(task).is_some() && self.offers.close(task, now)
    }

    /// Whether the run, or one before it of the same task, waits or was chosen.
    pub(super) fn knows(&self, task: &str, run: u32) -> bool {
        self.waits(task, run) || self.is_granted(task, run)
    }

    /// The run, or one before it of the same task, waits no more.
    pub(super) fn forget(&mut self, task: &str, run: u32) {
        if self.waits(task, run) {
            self.queue.remove(task);
        }
        if self.is_granted(task, run) {
            self.granted.remove(task);
        }
    }

    fn waits(&self, task: &str, run: u32) -> bool {
        self.queue.run_of(task).is_some_and(|waits| waits <= run)
    }

    fn is_granted(&self, task: &str, run: u32) -> bool {
        self.granted.get(task).is_some_and(|granted| granted.waiting.run <= run)
    }
}
