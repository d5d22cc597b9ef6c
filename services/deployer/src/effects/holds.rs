//! What was found about held targets. A waiter asks again and again; the history below a commit never
//! changes, so it is searched once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether a base is free of refused commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// The base's commit.
    pub(super) base: String,
    /// The refused commits.
    pub(super) refused: Vec<String>,
}

/// The refused commit that holds the target; `None`: none does.
type Answer = Option<String>;

/// The last question about each target, with its answer. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Holds {
    last: Arc<Mutex<BTreeMap<String, (Question, Answer)>>>,
}

impl Holds {
    /// What was found; outer `None`: that was not asked last.
    pub(super) fn answer(&self, target: &str, question: &Question) -> Option<Answer> {
        let last = self.lock();
        last.get(target).filter(|(asked, _)| asked == question).map(|(_, answer)| answer.clone())
    }

    /// Remembers what was found.
    pub(super) fn remember(&self, target: &str, question: Question, answer: Answer) {
        self.lock().insert(target.to_owned(), (question, answer));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Question, Answer)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
