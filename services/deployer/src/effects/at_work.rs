//! One piece of work at a time per task, in this process.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The tasks that something is being done for.
#[derive(Debug, Clone, Default)]
pub(super) struct AtWork {
    tasks: Arc<Mutex<BTreeSet<String>>>,
}

/// Ends with the work, however that ends.
#[derive(Debug)]
pub(super) struct Turn {
    at_work: AtWork,
    task: String,
}

impl AtWork {
    /// Begins; `None`: something is being done for that task.
    pub(super) fn begin(&self, task: &str) -> Option<Turn> {
        let is_first = self.lock().insert(task.to_owned());
        is_first.then(|| Turn { at_work: self.clone(), task: task.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.at_work.lock().remove(&self.task);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let at_work = AtWork::default();
        let turn = at_work.begin("a").unwrap();
        assert!(at_work.begin("a").is_none());
        assert!(at_work.begin("b").is_some());
        drop(turn);
        assert!(at_work.begin("a").is_some());
    }
}
