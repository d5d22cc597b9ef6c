//! Looks now and then for what nobody else would say: streams that have lost events, a server that is not as
//! declared, tasks that have fallen silent.

use std::collections::{BTreeMap, BTreeSet};

use millrace_events::{Envelope, Log};
use millrace_ledger::{Walk, append_missing, survey};
use millrace_runtime::bootstrap::reported_under;
use millrace_runtime::broker::BrokerError;
use millrace_runtime::preflight::differences;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::adapters::{BrokerReader, BrokerWriter};
use crate::domain::{Findings, Lost, ledger_changed, lost_before, says_ledger_changed};
use crate::effects::ReadFailure;
use crate::loss::Confirmed;
use crate::projection::Projector;
use crate::proof::{Look, Proof};
use crate::status::{trouble, well};

const PART: &str = "watchdog";
/// Events that the scan compares at a time.
const PAGE: usize = 200;
/// How much more is compared at a sweep of streams that are known to have lost something: work waits for them.
const PROVEN: usize = 10;

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
    /// Streams that the scan has seen to their end.
    scanned: BTreeSet<String>,
    /// Streams that had lost something at the look before: a server that is being stopped or has just started
    /// may say that a stream is missing.
    suspects: BTreeSet<String>,
    /// How far streams that have lost something are proven.
    proofs: BTreeMap<String, Proof>,
}

impl Watchdog {
    pub(crate) fn new(projector: Projector) -> Self {
        Self {
            projector,
            differed: BTreeSet::new(),
            scan: None,
            damaged: BTreeMap::new(),
            scanned: BTreeSet::new(),
            suspects: BTreeSet::new(),
            proofs: BTreeMap::new(),
        }
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
        let mut left = self.projector.options.scan.saturating_mul(PROVEN);
        // Its own log first: the others' alarms are written there.
        let others = Log::ALL.into_iter().filter(|log| *log != Log::Projector);
        for log in std::iter::once(Log::Projector).chain(others) {
            let judged = match &differing {
                Ok(differing) => self.judge(log, differing.get(&log), &mut left).await,
                // Not known, so nothing is said: neither an alarm nor that all is well.
                Err(_) => Ok(()),
            };
            result = result.and(judged);
        }
        let silence = match self.is_quiet() {
            true => self.projector.look_for_silence().await,
            false => Ok(()),
        };
        result.and(differing.map(drop)).and(silence).and(self.projector.look_for_crowds().await)
    }

    /// Nothing is suspected that may yet become an alarm.
    fn is_quiet(&self) -> bool {
        let suspected = !self.suspects.is_empty() || !self.differed.is_empty();
        !suspected && self.projector.status.borrow().regressed.is_empty()
    }

    /// Looks at a log's streams and says what is to be said. A loss is said when two looks in a row have seen
    /// it, or when it has been said before.
    async fn judge(
        &mut self,
        log: Log,
        differing: Option<&Differing>,
        left: &mut usize,
    ) -> Result<(), ReadFailure> {
        let projector = self.projector.clone();
        let said = projector.last_said(log.name()).await?;
        let said = said.and_then(|said| Envelope::decode(&said.payload).ok());
        let before = said.as_ref().map(lost_before).unwrap_or_default();
        let (mut lost, mut damages, mut is_sure) = (Vec::new(), Vec::new(), true);
        let streams: Vec<String> =
            (0..projector.options.partitions.max(1)).map(|one| log.stream(one)).collect();
        for stream in &streams {
            let is_said = before.contains(stream);
            damages.extend(self.damaged.get(stream).cloned());
            let (found, is_there) = match self.look(stream, is_said, left).await? {
                Look::Lost(found) => (found, true),
                Look::Gone => match projector.look_at_nothing(stream).await? {
                    Some(found) => (found, false),
                    None => continue,
                },
                Look::Unproven if is_said => {
                    projector.leave_alone(stream);
                    lost.push(unproven(stream));
                    continue;
                }
                // It is left alone until it is proven.
                Look::Unproven => {
                    self.suspects.remove(stream);
                    is_sure = false;
                    continue;
                }
                Look::Whole => {
                    self.suspects.remove(stream);
                    self.proofs.remove(stream);
                    projector.follow_again(stream);
                    continue;
                }
            };
            let is_seen_again = !self.suspects.insert(stream.clone());
            // Nothing may be added to what is left of the projector's own log: that is mended at once.
            let is_own = log == Log::Projector && is_there;
            if is_there || is_seen_again {
                projector.leave_alone(stream);
            }
            if is_said || is_seen_again || is_own {
                lost.push(self.mend_own(found).await?);
            } else {
                is_sure = false;
            }
        }
        if lost.is_empty() {
            let is_scanned = streams.iter().all(|stream| self.scanned.contains(stream));
            let is_unread =
                damages.is_empty() && !is_scanned && said.as_ref().is_some_and(says_ledger_changed);
            // The next sweeps tell.
            if !is_sure || is_unread || differing.is_some_and(|differing| !differing.stays) {
                return Ok(());
            }
        }
        let lines = differing.filter(|differing| differing.stays).map(|differing| differing.lines.clone());
        let mut differences = lines.unwrap_or_default();
        differences.append(&mut damages);
        projector.say_of_log(&Findings { log, lost, differences }).await
    }

    /// Looks at a stream: at its end, or at all of it where a loss was found before.
    async fn look(&mut self, stream: &str, is_said: bool, left: &mut usize) -> Result<Look, ReadFailure> {
        let projector = self.projector.clone();
        let is_known = is_said || projector.status.borrow().regressed.contains(stream);
        let look = if is_known {
            let proof = self.proofs.entry(stream.to_owned()).or_insert_with(|| Proof::new(stream, None));
            projector.prove(proof, left).await
        } else {
            let found = projector.look_at_end(stream).await;
            found.map(|found| found.map_or(Look::Whole, Look::Lost))
        };
        match look {
            Err(ReadFailure::Broker(BrokerError::Missing { .. })) => Ok(Look::Gone),
            look => look,
        }
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
            let extent = match projector.broker.stream_state(&stream).await {
                Ok(state) => Some(millrace_ledger::Extent { first: state.first, last: state.last }),
                Err(BrokerError::Missing { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            let ended = loop {
                // A stream that is known to have lost something is proven, all of it.
                let is_lost = projector.status.borrow().regressed.contains(&stream);
                let Some(extent) = extent.filter(|_| !is_lost) else { break true };
                let before = walk.after();
                let limit = PAGE.min(left.max(1));
                match walk.step(&projector.ledger, &reader, extent, limit, u64::MAX).await? {
                    Some(difference) => {
                        match projector.confirm(&stream, difference.sequence).await? {
                            Confirmed::Lost(_) => {
                                let proof = Proof::new(&stream, Some(difference.sequence));
                                self.proofs.insert(stream.clone(), proof);
                                projector.leave_alone(&stream);
                            }
                            Confirmed::LedgerChanged => {
                                let line = ledger_changed(&stream, difference.sequence);
                                self.damaged.insert(stream.clone(), line);
                            }
                            Confirmed::Nothing => {}
                        }
                        break true;
                    }
                    None if walk.after() == before => {
                        self.damaged.remove(&stream);
                        self.scanned.insert(stream.clone());
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
}

/// What is said of a stream that was lost and of which not all has been compared yet.
fn unproven(stream: &str) -> Lost {
    Lost {
        stream: stream.to_owned(),
        ledger_sequence: 0,
        stream_sequence: 0,
        message: format!("{stream} is being compared with the ledger again"),
        tasks: String::new(),
    }
}

fn first(streams: &[String], number: usize) -> String {
    streams.get(number).cloned().unwrap_or_default()
}

impl Projector {
    fn follow_again(&self, stream: &str) {
        if self.status.send_if_modified(|status| status.regressed.remove(stream)) {
            tracing::info!(stream, "the stream holds again what the ledger remembers; it is followed");
        }
    }
}
