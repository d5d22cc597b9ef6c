//! The projection: takes what the followers read, in an order in which no effect comes before its cause,
//! and applies it in batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_events::Log;
use millrace_ledger::{ApplyOutcome, CauseOrder, Entry, Ledger, LedgerError, Mark};
use millrace_runtime::bootstrap::Declared;
use millrace_runtime::broker::{Broker, BrokerError};
use millrace_runtime::clock::Clock;
use millrace_runtime::host::retry::Backoff;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::follower::Follower;
use crate::status::{Status, trouble, well};
use crate::watchdog::Watchdog;

/// First and longest pause before something that failed is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long nothing may move before the broker is asked whether a cause can still come.
const STUCK_AFTER: Duration = Duration::from_millis(200);
/// Batches of followers that may wait to be taken.
const WAITING_BATCHES: usize = 16;
const APPLIER: &str = "ledger";

/// What an installation may set.
#[derive(Debug, Clone)]
pub struct Options {
    /// Partitions of every log.
    pub partitions: u32,
    /// Events in one transaction at most.
    pub batch: usize,
    /// How long a batch may wait to grow.
    pub linger: Duration,
    /// How often a stream is looked at when its consumer says nothing.
    pub poll: Duration,
    /// How long an active task that waits for nobody may be silent.
    pub overdue_after: Duration,
    /// How often the watchdog looks: for lost streams, a server that is not as declared, silent tasks. What it
    /// has to say comes within three of these.
    pub sweep_every: Duration,
    /// Events below the checkpoints that are compared with their streams at each look; ten times as many of
    /// streams that are known to have lost something, before they are followed again.
    pub scan: usize,
    /// What the server is compared with; empty: it is not.
    pub declared: Declared,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            partitions: 1,
            batch: 500,
            linger: Duration::from_millis(2),
            poll: Duration::from_secs(1),
            // DESIGN section 5.
            overdue_after: Duration::from_secs(90 * 60),
            sweep_every: Duration::from_secs(15),
            scan: 2_000,
            declared: Declared::default(),
        }
    }
}

/// Writes the ledger from the logs. Clones share everything.
#[derive(Clone)]
pub struct Projector {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ledger: Ledger,
    pub(crate) options: Options,
    pub(crate) status: watch::Sender<Status>,
}

/// Why the projector ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum ProjectorError {
    /// The ledger is not what it was when the projector started. A restart reads it anew.
    #[error("the ledger is not what it was at the start")]
    Ledger(#[from] LedgerError),
    /// The broker did not answer.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A part of the projector ended.
    #[error("a part of the projector ended unexpectedly")]
    Part(#[from] JoinError),
}

impl Projector {
    /// A projector that has not started yet.
    pub fn new(broker: Arc<dyn Broker>, clock: Arc<dyn Clock>, ledger: Ledger, options: Options) -> Self {
        Self { broker, clock, ledger, options, status: watch::Sender::new(Status::default()) }
    }

    /// How it is doing, now and from now on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// How many events each stream is ahead of the ledger.
    pub async fn lag(&self) -> Result<BTreeMap<String, u64>, ProjectorError> {
        let applied = self.ledger.applied().await?;
        let mut lag = BTreeMap::new();
        for stream in self.streams() {
            let last = self.broker.stream_state(&stream).await?.last;
            let applied = applied.get(&stream).copied().unwrap_or(0);
            lag.insert(stream, last.saturating_sub(applied));
        }
        Ok(lag)
    }

    /// Migrates the ledger and follows all logs until `stop`. A broker or database that fails is tried
    /// again, with bounded pauses, for as long as it takes: nothing is lost, and [`Status`] says so.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ProjectorError> {
        let Some(applied) = self.start(&stop).await else { return Ok(()) };
        let (entries, taken) = mpsc::channel(WAITING_BATCHES);
        // Not a child of `stop`: the followers end after the last batch.
        let parts = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for stream in self.streams() {
            let next = applied.get(&stream).copied().unwrap_or(0) + 1;
            let follower = Follower::new(self.clone(), stream, next, entries.clone());
            tasks.spawn(follower.run(parts.clone()));
        }
        drop(entries);
        tasks.spawn(Watchdog::new(self.clone()).run(parts.clone()));

        let streams = self.streams();
        let order = CauseOrder::new(streams.iter().map(String::as_str), &applied);
        let mut applier = Applier { projector: &self, order, taken };
        let result = tokio::select! {
            result = applier.run(&stop) => result,
            // They end only when asked to, or by a panic.
            Some(Err(error)) = tasks.join_next() => Err(error.into()),
        };
        parts.cancel();
        drop(applier);
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended
                && result.is_ok()
            {
                return Err(error.into());
            }
        }
        result
    }

    /// Every stream of every log.
    pub(crate) fn streams(&self) -> Vec<String> {
        let partitions = self.options.partitions.max(1);
        Log::ALL.into_iter().flat_map(|log| (0..partitions).map(move |one| log.stream(one))).collect()
    }

    async fn start(&self, stop: &CancellationToken) -> Option<BTreeMap<String, u64>> {
        let mut backoff = backoff();
        loop {
            let ready = async {
                self.ledger.migrate().await?;
                self.ledger.applied().await
            };
            match ready.await {
                Ok(applied) => {
                    well(&self.status, APPLIER);
                    self.status.send_modify(|status| {
                        status.started = true;
                        status.applied.clone_from(&applied);
                    });
                    return Some(applied);
                }
                Err(error) => trouble(&self.status, APPLIER, &error),
            }
            stop.run_until_cancelled(sleep(backoff.pause())).await?;
        }
    }
}

pub(crate) fn backoff() -> Backoff {
    // One projector advances a ledger: there are no others to keep out of step with.
    Backoff::new(FIRST_PAUSE, LONGEST_PAUSE, 0)
}

struct Applier<'a> {
    projector: &'a Projector,
    order: CauseOrder,
    taken: mpsc::Receiver<Vec<Entry>>,
}

impl Applier<'_> {
    async fn run(&mut self, stop: &CancellationToken) -> Result<(), ProjectorError> {
        let options = &self.projector.options;
        loop {
            while let Ok(entries) = self.taken.try_recv() {
                entries.into_iter().for_each(|entry| self.order.push(entry));
            }
            let batch = self.order.take(options.batch.max(1));
            if !batch.is_empty() {
                // Not cut short by the stop: a batch is one transaction, and short.
                self.apply(batch, stop).await?;
                if stop.is_cancelled() {
                    return Ok(());
                }
                continue;
            }
            let patience = if self.order.is_empty() { options.poll } else { STUCK_AFTER };
            match stop.run_until_cancelled(timeout(patience, self.taken.recv())).await {
                None | Some(Ok(None)) => return Ok(()),
                Some(Ok(Some(entries))) => {
                    entries.into_iter().for_each(|entry| self.order.push(entry));
                    // Others may be about to come: one transaction is cheaper than two.
                    sleep(options.linger).await;
                }
                Some(Err(_nothing_came)) => self.release_what_cannot_come().await,
            }
        }
    }

    /// Applies a batch, however long the database takes to answer again.
    async fn apply(&mut self, mut batch: Vec<Entry>, stop: &CancellationToken) -> Result<(), ProjectorError> {
        let status = &self.projector.status;
        let mut backoff = backoff();
        loop {
            match self.projector.ledger.apply_entries(&batch).await {
                Ok(outcome) => {
                    millrace_runtime::crash_point::reached("projector.committed");
                    well(status, APPLIER);
                    report(status, &batch, &outcome);
                    return Ok(());
                }
                Err(LedgerError::Overtaken { stream }) => {
                    tracing::info!(stream, "another projector was faster");
                    if let Ok(applied) = self.projector.ledger.applied().await {
                        let is_new = |entry: &Entry| {
                            let applied = applied.get(&entry.stored.stream);
                            applied.is_none_or(|applied| entry.stored.sequence > *applied)
                        };
                        batch.retain(is_new);
                        self.order.skip_to(&applied);
                        status.send_modify(|status| status.applied.extend(applied));
                    }
                }
                Err(error @ LedgerError::Gap { .. }) => return Err(error.into()),
                Err(error) => trouble(status, APPLIER, &error),
            }
            if stop.run_until_cancelled(sleep(backoff.pause())).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Lets go of heads whose cause is not in its stream and will not come: asked after the effect was
    /// read, so a cause that is only slow is there. DESIGN section 7.
    async fn release_what_cannot_come(&mut self) {
        for head in self.order.waiting() {
            let cause = &head.cause;
            let lost = self.projector.status.borrow().regressed.contains(&cause.stream);
            let gone = match self.projector.broker.stream_state(&cause.stream).await {
                Ok(state) => cause.sequence > state.last || cause.sequence < state.first,
                // Not known: it waits on. A stream that stays away is lost by the watchdog's word.
                Err(_) => false,
            };
            if lost || gone {
                tracing::warn!(stream = head.stream, sequence = head.sequence, %cause, "the cause is not there");
                self.order.release(&head.stream);
            }
        }
    }
}

fn report(status: &watch::Sender<Status>, batch: &[Entry], outcome: &ApplyOutcome) {
    for (place, mark, note) in &outcome.marked {
        match mark {
            Mark::StateMismatch => {
                tracing::error!(%place, note, "a logged event is not allowed: STATE_MISMATCH")
            }
            Mark::Invalid | Mark::Unknown => {
                tracing::warn!(%place, note, mark = mark.name(), "event skipped")
            }
        }
    }
    let mismatches = outcome.marked.iter().filter(|(_, mark, _)| *mark == Mark::StateMismatch).count() as u64;
    status.send_modify(|status| {
        status.mismatches += mismatches;
        status.skipped += outcome.marked.len() as u64 - mismatches;
        for entry in batch {
            let applied = status.applied.entry(entry.stored.stream.clone()).or_default();
            *applied = (*applied).max(entry.stored.sequence);
        }
    });
}
