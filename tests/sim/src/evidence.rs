//! What a run leaves behind: all that the invariants look at.

use std::collections::BTreeMap;

use millrace_decider::{Cause, Timestamp};
use millrace_deployer::target_book::TargetEntry;
use millrace_events::catalogue::TARGET_BUCKET;
use millrace_events::{DeadLetterEvent, Envelope, Event, Key, Log};
use millrace_runtime::broker::{Broker as _, Stored};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::kv::Kv as _;
use millrace_runtime::memory::ConsumerState;
use millrace_runtime::settings::Dispatch;

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
    /// The limits on what is under way.
    pub dispatch: Dispatch,
    /// From when on nothing held anybody up any more.
    pub well_since: Option<Timestamp>,
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

/// A dead letter with all that is recorded about it.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The message.
    pub message: Cause,
    /// Who could not handle it.
    pub service: String,
    /// The request that each record answers; 0: it is the first.
    pub records: Vec<u64>,
    /// It was read again, and handled.
    pub handled: bool,
    /// A record follows after it was handled.
    pub goes_on: bool,
}

/// The dead letters of a log, by key.
pub fn letters(messages: &[Stored]) -> BTreeMap<Key, Letter> {
    let mut letters: BTreeMap<Key, Letter> = BTreeMap::new();
    for stored in messages {
        let Ok(envelope) = Envelope::decode(&stored.payload) else { continue };
        let Ok(Some(Event::DeadLetter(event))) = envelope.event() else { continue };
        let (stream, sequence, service, replay, handled) = match event {
            DeadLetterEvent::DeadLettered(found) => {
                (found.stream, found.sequence, found.service, found.replay, false)
            }
            DeadLetterEvent::DeadLetterReplayed(found) => {
                (found.stream, found.sequence, found.service, found.replay, true)
            }
        };
        let letter = letters.entry(envelope.key).or_insert_with(|| Letter {
            message: Cause::new(stream, sequence),
            service,
            records: Vec::new(),
            handled: false,
            goes_on: false,
        });
        letter.goes_on |= letter.handled;
        letter.handled |= handled;
        letter.records.push(replay);
    }
    letters
}

/// The id of a task by its number.
pub fn task_id(task: u64) -> String {
    format!("VTID-{:05}", 1_000 + task)
}

impl Evidence {
    /// All that stands now.
    pub async fn of(outside: &Outside) -> Self {
        let branches = outside.settings.repositories.iter();
        let branches = branches.map(|found| (found.id.clone(), outside.forges.branches(&found.id)));
        Self {
            acknowledged: outside.weather.history.all_acknowledged(),
            deeds: outside.forges.deeds(),
            branches: branches.collect(),
            ledger: outside.ledger.image(),
            troubles: outside.weather.history.troubles(),
            dispatch: outside.settings.dispatch.clone(),
            ..Self::of_rest(outside).await
        }
    }

    /// As much of it as shows whether there is rest: that is looked at again and again.
    pub async fn of_rest(outside: &Outside) -> Self {
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
        let ledger = Image { checkpoints: outside.ledger.checkpoints(), ..Image::default() };
        Self { streams, targets, ledger, consumers: outside.broker.consumers(), ..Self::default() }
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
