//! Looks now and then for what nobody else would say: streams that have lost events, a server that is not as
//! declared, tasks that have fallen silent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_events::{Envelope, Log};
use millrace_ledger::{Walk, append_missing, survey};
use millrace_runtime::bootstrap::reported_under;
use millrace_runtime::preflight::differences;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::adapters::{BrokerReader, BrokerWriter};
use crate::domain::{Findings, Lost, lost_before};
use crate::effects::ReadFailure;
use crate::loss::Confirmed;
use crate::projection::Projector;
use crate::status::{trouble, well};

const PART: &str = "watchdog";
/// Events that the scan compares at a time.
const PAGE: usize = 200;
/// How long a sweep waits for the ledger to catch up before it looks for silent tasks.
const CATCH_UP: Duration = Duration::from_secs(5);

/// What is not as declared about one log.
#[derive(Default)]
struct Differing {
    /// A line each.
    lines: Vec<String>,
    /// The log differed at the sweep before, too.
    stays: bool,
}

/// Sweeps until it is stopped.
pub(crate) struct Watchdog {
    projector: Projector,
    /// Logs that were not as declared at the sweep before: only what stays is said, so that nobody hears of an
    /// installation that is just being made or changed.
    differed: BTreeSet<Log>,
    /// Where the scan stands, and the number of its stream.
    scan: Option<(usize, Walk)>,
    /// Streams whose chain in the ledger is broken.
    damaged: BTreeMap<String, String>,
}

impl Watchdog {
    pub(crate) fn new(projector: Projector) -> Self {
        Self { projector, differed: BTreeSet::new(), scan: None, damaged: BTreeMap::new() }
    }

    /// Looks until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut times = interval(self.projector.options.sweep_every);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(times.tick()).await.is_some() {
            match stop.run_until_cancelled(self.sweep()).await {
                None => return,
                Some(Ok(())) => well(&self.projector.status, PART),
                Some(Err(error)) => trouble(&self.projector.status, PART, &error),
            }
        }
    }

    /// One look at everything. What cannot be looked at keeps nothing else from being looked at; the first
    /// error is given back.
    async fn sweep(&mut self) -> Result<(), ReadFailure> {
        let mut result = self.scan().await;
        let differing = self.differing().await;
        // Its own log first: the others' alarms are written there.
        let others = Log::ALL.into_iter().filter(|log| *log != Log::Projector);
        for log in std::iter::once(Log::Projector).chain(others) {
            let judged = match &differing {
                Ok(differing) => self.judge(log, differing.get(&log)).await,
                // Not known, so nothing is said: neither an alarm nor that all is well.
                Err(_) => Ok(()),
            };
            result = result.and(judged);
        }
        result.and(differing.map(drop)).and(self.look_for_silence().await)
    }

    /// Looks at a log's streams and says what is to be said.
    async fn judge(&self, log: Log, differing: Option<&Differing>) -> Result<(), ReadFailure> {
        let projector = &self.projector;
        let said = projector.last_said(log.name()).await?;
        let said = said.and_then(|said| Envelope::decode(&said.payload).ok());
        let before = said.map(|said| lost_before(&said)).unwrap_or_default();
        let (mut lost, mut damages) = (Vec::new(), Vec::new());
        for partition in 0..projector.options.partitions.max(1) {
            let stream = log.stream(partition);
            let known = before.contains(&stream) || projector.status.borrow().regressed.contains(&stream);
            let found = match known {
                true => projector.look_at_all(&stream).await?,
                false => projector.look_at_end(&stream).await?,
            };
            match found {
                Some(found) => {
                    projector.leave_alone(&stream);
                    lost.push(self.mend_own(found).await?);
                }
                None => projector.follow_again(&stream),
            }
            damages.extend(self.damaged.get(&stream).cloned());
        }
        let mut differences = match differing {
            None => Vec::new(),
            Some(Differing { lines, stays: true }) => lines.clone(),
            // The next sweep tells; a loss does not wait for that.
            Some(_) if lost.is_empty() => return Ok(()),
            Some(_) => Vec::new(),
        };
        differences.append(&mut damages);
        projector.say_of_log(&Findings { log, lost, differences }).await
    }

    /// The projector is the only writer of its own log: before it adds an alarm to what is left of that, it
    /// writes back what the ledger knows. The next sweep sees it whole.
    async fn mend_own(&self, lost: Lost) -> Result<Lost, ReadFailure> {
        if Log::from_stream(&lost.stream) != Some(Log::Projector) {
            return Ok(lost);
        }
        let Projector { broker, ledger, .. } = &self.projector;
        let found = survey(ledger, &BrokerReader::new(broker.clone()), &lost.stream).await?;
        if found.diverged.is_empty() {
            let writer = BrokerWriter::new(broker.clone());
            let written = append_missing(ledger, &writer, &found, &mut |_| {}).await?;
            tracing::warn!(stream = lost.stream, written, "the projector's own log was written back");
        }
        Ok(lost)
    }

    /// What is not as declared, by log.
    async fn differing(&mut self) -> Result<BTreeMap<Log, Differing>, ReadFailure> {
        let Some(inspect) = self.projector.broker.inspect() else { return Ok(BTreeMap::new()) };
        let mut found: BTreeMap<Log, Differing> = BTreeMap::new();
        for difference in differences(inspect, &self.projector.options.declared).await? {
            let stream = difference.object.split(" > ").next().unwrap_or_default();
            found.entry(reported_under(stream)).or_default().lines.push(difference.to_string());
        }
        for (log, differing) in &mut found {
            differing.stays = self.differed.contains(log);
        }
        self.differed = found.keys().copied().collect();
        Ok(found)
    }

    /// Compares the next events of the ledger with their streams, from the first to the last and round again:
    /// what lies below the checkpoints is looked at too, a little at a time.
    async fn scan(&mut self) -> Result<(), ReadFailure> {
        let projector = self.projector.clone();
        let streams = projector.streams();
        let reader = BrokerReader::new(projector.broker.clone());
        let mut left = projector.options.scan;
        for _ in 0..=streams.len() {
            let (number, mut walk) = self.scan.take().unwrap_or_else(|| (0, Walk::new(first(&streams, 0))));
            let stream = walk.stream().to_owned();
            let state = projector.extent(&stream).await?;
            let extent = millrace_ledger::Extent { first: state.first, last: state.last };
            let ended = loop {
                // The watchdog proves a stream that is known to have lost something, all of it.
                if projector.status.borrow().regressed.contains(&stream) {
                    break true;
                }
                let before = walk.after();
                let limit = PAGE.min(left.max(1));
                match walk.step(&projector.ledger, &reader, extent, limit, u64::MAX).await? {
                    Some(difference) => {
                        match projector.confirm(&difference).await? {
                            Confirmed::Lost(_) => projector.leave_alone(&stream),
                            Confirmed::LedgerChanged => {
                                let line = format!(
                                    "the ledger itself was changed at {stream}:{}: build it anew with \
                                     `millrace ledger rebuild`",
                                    difference.sequence
                                );
                                self.damaged.insert(stream.clone(), line);
                            }
                            Confirmed::Nothing => {}
                        }
                        break true;
                    }
                    None if walk.after() == before => {
                        self.damaged.remove(&stream);
                        break true;
                    }
                    None => {}
                }
                left = left.saturating_sub(usize::try_from(walk.after() - before).unwrap_or(left));
                if left == 0 {
                    break false;
                }
            };
            if !ended {
                self.scan = Some((number, walk));
                return Ok(());
            }
            let next = (number + 1) % streams.len().max(1);
            self.scan = Some((next, Walk::new(first(&streams, next))));
        }
        Ok(())
    }

    async fn look_for_silence(&self) -> Result<(), ReadFailure> {
        let projector = &self.projector;
        let now = projector.clock.now();
        if !projector.has_caught_up().await? {
            tracing::debug!("the ledger is behind; silent tasks are looked for when it is not");
            return Ok(());
        }
        for task in projector.ledger.active_overdue(now, projector.options.overdue_after).await? {
            projector.say_overdue(task).await?;
        }
        Ok(())
    }
}

fn first(streams: &[String], number: usize) -> String {
    streams.get(number).cloned().unwrap_or_default()
}

impl Projector {
    /// Whether the ledger has all that the streams hold just now, or has it soon. Until then a task that seems
    /// silent may only be unread.
    async fn has_caught_up(&self) -> Result<bool, ReadFailure> {
        let mut ends = Vec::new();
        for stream in self.streams() {
            ends.push((self.extent(&stream).await?.last, stream));
        }
        let mut status = self.status();
        let reached = status.wait_for(|status| {
            ends.iter().all(|(end, stream)| {
                // A lost stream is not followed any more: its own notice has been given.
                status.applied.get(stream).is_some_and(|applied| applied >= end)
                    || *end == 0
                    || status.regressed.contains(stream)
            })
        });
        let patience = self.options.sweep_every.min(CATCH_UP);
        Ok(timeout(patience, reached).await.is_ok_and(|reached| reached.is_ok()))
    }

    fn follow_again(&self, stream: &str) {
        if self.status.send_if_modified(|status| status.regressed.remove(stream)) {
            tracing::info!(stream, "the stream holds again what the ledger remembers; it is followed");
        }
    }
}
