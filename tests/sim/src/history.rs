//! What happened in a run: told line by line where somebody wants to read it, counted always.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use millrace_events::Log;
use millrace_runtime::broker::Append;
use tokio::time::Instant;

/// An append to a log whose writer was told where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// Who wrote it.
    pub process: String,
    /// Stream.
    pub stream: String,
    /// Subject.
    pub subject: String,
    /// Sequence that it was told.
    pub sequence: u64,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// The record of a run.
#[derive(Debug)]
pub struct History {
    started: Instant,
    /// Whether lines are kept.
    pub is_told: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    faults: BTreeMap<&'static str, u64>,
    acknowledged: Vec<Acknowledged>,
    troubles: Vec<String>,
}

impl History {
    /// Begins now.
    pub fn new(is_told: bool) -> Self {
        Self { started: Instant::now(), is_told, state: Mutex::default() }
    }

    /// Tells something; the words are only made where they are kept.
    pub fn tell(&self, who: &str, what: impl FnOnce() -> String) {
        if self.is_told {
            let at = self.started.elapsed().as_secs_f64();
            let line = format!("{at:>10.3}s {who:<16} {}", what());
            self.lock().lines.push(line);
        }
    }

    /// Counts a fault, and tells it.
    pub fn fault(&self, who: &str, kind: &'static str, what: impl FnOnce() -> String) {
        *self.lock().faults.entry(kind).or_default() += 1;
        self.tell(who, || format!("! {kind} {}", what()));
    }

    /// Remembers an append to a log that was acknowledged to its writer: deadlines, leases and blobs come and go.
    pub fn acknowledged(&self, process: &str, append: &Append, sequence: u64) {
        if Log::from_stream(&append.stream).is_none() {
            return;
        }
        self.lock().acknowledged.push(Acknowledged {
            process: process.to_owned(),
            stream: append.stream.clone(),
            subject: append.subject.clone(),
            sequence,
            payload: append.payload.clone(),
        });
    }

    /// Something that must not happen, whatever the faults.
    pub fn trouble(&self, who: &str, what: String) {
        self.tell(who, || format!("!! {what}"));
        self.lock().troubles.push(format!("{who}: {what}"));
    }

    /// The lines.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// Faults by kind.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.lock().faults.clone()
    }

    /// Appends that were acknowledged.
    pub fn all_acknowledged(&self) -> Vec<Acknowledged> {
        self.lock().acknowledged.clone()
    }

    /// What must not have happened.
    pub fn troubles(&self) -> Vec<String> {
        self.lock().troubles.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
