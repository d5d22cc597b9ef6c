//! Whole streams, read as an auditor.

use std::collections::{BTreeMap, BTreeSet};

use millrace_events::{DispatcherEvent, Envelope, Event, Log, SpecRegistryEvent};
use millrace_runtime::broker::{Broker, Stored};

/// Messages that are read at a time.
const PAGE: usize = 500;

/// Every message of a log, in order.
pub async fn read_all(broker: &dyn Broker, log: Log) -> Vec<Stored> {
    let (stream, mut found) = (log.stream(0), Vec::new());
    loop {
        let from = found.last().map_or(1, |stored: &Stored| stored.sequence + 1);
        let page = broker.read(&stream, None, from, PAGE).await.unwrap();
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

/// Counts of events of a log.
#[derive(Debug, Default)]
pub struct Events {
    /// How many of each name.
    pub by_name: BTreeMap<String, usize>,
    /// Per key and run the terminal events of the dispatcher.
    pub ends: BTreeMap<(String, u32), Vec<String>>,
    /// Why runs failed or are blocked: code, sentence and task.
    pub failures: Vec<String>,
    /// Keys and runs that a log speaks of.
    pub runs: BTreeSet<(String, u32)>,
    /// Per submission the answers of the spec-registry.
    pub answers: BTreeMap<String, Vec<String>>,
}

impl Events {
    /// Reads a log.
    pub async fn of(broker: &dyn Broker, log: Log) -> Self {
        let mut events = Self::default();
        for stored in read_all(broker, log).await {
            events.add(&stored);
        }
        events
    }

    /// How many events have that name.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.by_name.get(name).copied().unwrap_or(0)
    }

    /// Keys whose run has begun and not ended.
    #[must_use]
    pub fn unfinished(&self) -> Vec<String> {
        let open = self.runs.iter().filter(|run| !self.ends.contains_key(*run));
        open.map(|(key, _)| key.clone()).collect()
    }

    fn add(&mut self, stored: &Stored) {
        let envelope = Envelope::decode(&stored.payload).unwrap();
        let name = envelope.name().to_owned();
        *self.by_name.entry(name.clone()).or_default() += 1;
        self.runs.insert((envelope.key.as_str().to_owned(), envelope.run));
        if ["TaskCompleted", "TaskFailed", "TaskBlocked", "TaskCancelled"].contains(&name.as_str()) {
            let ends = self.ends.entry((envelope.key.as_str().to_owned(), envelope.run)).or_default();
            ends.push(name.clone());
        }
        let event = envelope.event().unwrap();
        let submission = match &event {
            Some(Event::SpecRegistry(SpecRegistryEvent::SpecRegistered(event))) => Some(&event.submission),
            Some(Event::SpecRegistry(SpecRegistryEvent::SpecRejected(event))) => Some(&event.submission),
            _ => None,
        };
        if let Some(submission) = submission {
            self.answers.entry(submission.clone()).or_default().push(name);
        }
        let failure = match event {
            Some(Event::Dispatcher(DispatcherEvent::TaskFailed(event))) => event.failure,
            Some(Event::Dispatcher(DispatcherEvent::TaskBlocked(event))) => event.failure,
            _ => None,
        };
        if let Some(failure) = failure {
            self.failures.push(format!("{} {}: {}", envelope.key, failure.code_name(), failure.message));
        }
    }
}
