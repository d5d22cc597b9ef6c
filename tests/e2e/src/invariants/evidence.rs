//! What is collected when a run is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use millrace_events::{Envelope, Event, Log};
use millrace_ledger::{Ledger, verify};
use millrace_projector::adapters::BrokerReader;
use millrace_runtime::broker::{Broker as _, Stored};
use millrace_runtime::permissions::Identity;

use crate::cluster::Cluster;
use crate::journal::Entry;
use crate::leftovers;
use crate::monitor::{self, Lag};
use crate::receiving::Receiver;

/// Messages of a log that are read at a time.
const PAGE: usize = 1_000;
/// How long what is under way at the end may take.
const SETTLES: Duration = Duration::from_secs(20);

/// Everything that the invariants look at.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// What the producers noted.
    pub journal: Vec<Entry>,
    /// How each task must have ended.
    pub expected: Vec<Expected>,
    /// Every message of every log, in order.
    pub logs: BTreeMap<Log, Vec<Message>>,
    /// Messages that the test itself put there, by log and sequence: nobody's fault.
    pub foreign: BTreeSet<(Log, u64)>,
    /// Where effects landed.
    pub receivers: Vec<Receiver>,
    /// The ledger.
    pub ledger: LedgerSeen,
    /// What each consumer has left.
    pub consumers: Vec<Lag>,
    /// Sandboxes that run for workers.
    pub sandboxes: Vec<String>,
}

/// How a task must have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its id.
    pub task: String,
    /// Its repository's id.
    pub repository: String,
    /// How many runs it has.
    pub runs: u32,
    /// How the last of them ends.
    pub end: End,
}

/// How a run must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Released and verified.
    Released,
    /// With a failure.
    Failed,
    /// By a person.
    Cancelled,
}

/// A message of a log, as it is stored and as it reads.
#[derive(Debug, Clone)]
pub struct Message {
    /// As it is stored.
    pub stored: Stored,
    /// Its envelope, where it has one.
    pub envelope: Option<Envelope>,
    /// Its event, where this version knows it.
    pub event: Option<Event>,
}

/// What was found out about the ledger.
#[derive(Debug, Clone, Default)]
pub struct LedgerSeen {
    /// The canonical dump of the live one.
    pub live: String,
    /// The same of one that was rebuilt from the streams.
    pub rebuilt: String,
    /// The first difference between the live one, its chains and the streams.
    pub difference: Option<String>,
    /// Sequence and hash at the head of each stream's chain.
    pub heads: BTreeMap<String, (u64, String)>,
    /// The same of the rebuilt one.
    pub rebuilt_heads: BTreeMap<String, (u64, String)>,
}

impl Message {
    /// Reads a stored message.
    pub fn read(stored: Stored) -> Self {
        let envelope = Envelope::decode(&stored.payload).ok();
        let event = envelope.as_ref().and_then(|envelope| envelope.event().ok().flatten());
        Self { stored, envelope, event }
    }

    /// Last token of its subject.
    pub fn key(&self) -> &str {
        self.stored.subject.rsplit('.').next().unwrap_or_default()
    }

    /// The last sequence of its subject that its writer had seen, where it was written with that check.
    pub fn follows(&self) -> Option<u64> {
        self.stored.header("Nats-Expected-Last-Subject-Sequence")?.parse().ok()
    }
}

impl Evidence {
    /// The messages of a log.
    pub fn log(&self, log: Log) -> &[Message] {
        self.logs.get(&log).map_or(&[], Vec::as_slice)
    }

    /// The events of a log that this version knows, with their places; without those that are foreign.
    pub fn events(&self, log: Log) -> impl Iterator<Item = (u64, &Event)> {
        let own = move |message: &&Message| !self.foreign.contains(&(log, message.stored.sequence));
        let messages = self.log(log).iter().filter(own);
        messages.filter_map(|message| Some((message.stored.sequence, message.event.as_ref()?)))
    }

    /// How many messages there are in all logs.
    pub fn messages(&self) -> usize {
        self.logs.values().map(Vec::len).sum()
    }

    /// Collects it from a cluster that is at rest. The journal, what is expected and what is foreign is for
    /// the caller to add.
    pub async fn collect(cluster: &Cluster) -> Self {
        let auditor = cluster.connect(Identity::Auditor).await;
        let mut logs = BTreeMap::new();
        for log in Log::ALL {
            let mut messages: Vec<Message> = Vec::new();
            loop {
                let next = messages.last().map_or(1, |last: &Message| last.stored.sequence + 1);
                let page = auditor.read(&log.stream(0), None, next, PAGE).await.expect("a log is read");
                if page.is_empty() {
                    break;
                }
                messages.extend(page.into_iter().map(Message::read));
            }
            logs.insert(log, messages);
        }
        let receivers = cluster.repositories.iter();
        let receivers =
            receivers.map(|repository| Receiver::look(repository, &cluster.target(repository))).collect();
        let workers = ["worker-1", "worker-2"];
        Self {
            logs,
            receivers,
            ledger: LedgerSeen::look(cluster).await,
            consumers: lags(cluster).await,
            sandboxes: workers.iter().flat_map(|name| leftovers::sandboxes(&cluster.path(name))).collect(),
            ..Self::default()
        }
    }
}

/// What waits, at the last of several looks: a deadline that fires in this moment is under way for a moment.
async fn lags(cluster: &Cluster) -> Vec<Lag> {
    let until = Instant::now() + SETTLES;
    loop {
        let lags = cluster.nats.monitor().and_then(monitor::consumers).unwrap_or_default();
        let is_settled = !lags.is_empty() && lags.iter().all(Lag::is_zero);
        if is_settled || Instant::now() > until {
            return lags;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl LedgerSeen {
    async fn look(cluster: &Cluster) -> Self {
        let live = Ledger::open(&cluster.database_url()).await.expect("the ledger");
        let verified = verify(&live, &BrokerReader::new(cluster.auditor().await)).await.expect("verified");
        let file = cluster.path("rebuilt-for-check.db");
        let _earlier = std::fs::remove_file(&file);
        let rebuilt = cluster.rebuild_into(&format!("sqlite://{}", file.display())).await;
        let heads = async |ledger: &Ledger| {
            let checkpoints = ledger.checkpoints().await.expect("checkpoints");
            checkpoints.into_iter().map(|found| (found.stream, (found.sequence, found.hash))).collect()
        };
        let seen = Self {
            live: cluster.export(&live).await,
            rebuilt: cluster.export(&rebuilt).await,
            difference: verified.difference.map(|difference| format!("{difference:?}")),
            heads: heads(&live).await,
            rebuilt_heads: heads(&rebuilt).await,
        };
        live.close().await;
        rebuilt.close().await;
        seen
    }
}
