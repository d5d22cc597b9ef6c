//! What a run leaves behind: all that the invariants look at.

use std::collections::BTreeMap;

use millrace_deployer::target_book::TargetEntry;
use millrace_events::catalogue::TARGET_BUCKET;
use millrace_events::{Envelope, Event, Key, Log};
use millrace_runtime::broker::{Broker as _, Stored};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::kv::Kv as _;
use millrace_runtime::memory::ConsumerState;

use crate::forge::Deed;
use crate::history::Acknowledged;
use crate::ledger::Image;
use crate::process::Outside;

/// The end of a run, or any moment of it.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Every message of every log, by stream.
    pub streams: BTreeMap<String, Vec<Stored>>,
    /// What writers were told is stored.
    pub acknowledged: Vec<Acknowledged>,
    /// What was done to forges and targets.
    pub deeds: Vec<Deed>,
    /// Millrace's branches that stand, by repository.
    pub branches: BTreeMap<String, Vec<String>>,
    /// What the deployer's book says of each target.
    pub targets: BTreeMap<String, TargetEntry>,
    /// The ledger.
    pub ledger: Image,
    /// Where consumers stand.
    pub consumers: Vec<ConsumerState>,
    /// What must not have happened.
    pub troubles: Vec<String>,
    /// Whether everything came to rest in time.
    pub at_rest: bool,
}

/// An event as it stands in its log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Its stream sequence.
    pub sequence: u64,
    /// Its key.
    pub key: Key,
    /// The envelope.
    pub envelope: Envelope,
    /// The event.
    pub event: Event,
    /// The message.
    pub stored: Stored,
}

/// The id of a task by its number.
pub fn task_id(task: u64) -> String {
    format!("VTID-{:05}", 1_000 + task)
}

impl Evidence {
    /// What stands now.
    pub async fn of(outside: &Outside) -> Self {
        let mut streams = BTreeMap::new();
        for log in Log::ALL {
            let stream = log.stream(0);
            let found = outside.broker.read(&stream, None, 1, usize::MAX).await;
            streams.insert(stream, found.unwrap_or_default());
        }
        let mut targets = BTreeMap::new();
        let bucket = Bucket::new(std::sync::Arc::new(outside.broker.clone()), TARGET_BUCKET);
        for repository in &outside.settings.repositories {
            if let Ok(Some(entry)) = bucket.get(&format!("target-{}", repository.target)).await
                && let Ok(entry) = serde_json::from_slice(&entry.value)
            {
                targets.insert(repository.target.clone(), entry);
            }
        }
        let branches = outside.settings.repositories.iter();
        let branches = branches.map(|found| (found.id.clone(), outside.forges.branches(&found.id)));
        Self {
            streams,
            acknowledged: outside.weather.history.all_acknowledged(),
            deeds: outside.forges.deeds(),
            branches: branches.collect(),
            targets,
            ledger: outside.ledger.image(),
            consumers: outside.broker.consumers(),
            troubles: outside.weather.history.troubles(),
            at_rest: false,
        }
    }

    /// The messages of a log.
    pub fn messages(&self, log: Log) -> &[Stored] {
        self.streams.get(&log.stream(0)).map_or(&[], Vec::as_slice)
    }

    /// The events of a log, in its order.
    pub fn events(&self, log: Log) -> Vec<Logged> {
        let read = |stored: &Stored| {
            let envelope = Envelope::decode(&stored.payload).ok()?;
            let event = envelope.event().ok()??;
            let key = envelope.key.clone();
            Some(Logged { sequence: stored.sequence, key, envelope, event, stored: stored.clone() })
        };
        self.messages(log).iter().filter_map(read).collect()
    }

    /// Events of all logs.
    pub fn total(&self) -> u64 {
        self.streams.values().map(|messages| messages.len() as u64).sum()
    }
}
