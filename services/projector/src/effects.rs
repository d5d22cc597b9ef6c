//! What the projector says itself: notices in its own log.

use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope, Log};
use millrace_ledger::{LedgerError, OverdueTask};
use millrace_runtime::broker::{Append, AppendError, BrokerError};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::adapters::stored_event;
use crate::domain::{Lost, Notice, Silent, overdue, regressed};
use crate::projection::Projector;
use crate::status::{trouble, well};

const PART: &str = "watchdog";

/// Why something was not read or said this time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFailure {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Looks for silent tasks and lost streams, now and then.
pub(crate) struct Watchdog {
    projector: Projector,
}

impl Watchdog {
    pub(crate) fn new(projector: Projector) -> Self {
        Self { projector }
    }

    /// Looks until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
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

    async fn sweep(&self) -> Result<(), ReadFailure> {
        let projector = &self.projector;
        for stream in projector.streams() {
            projector.look_for_loss(&stream).await?;
        }
        let now = projector.clock.now();
        if !projector.has_caught_up().await? {
            tracing::debug!("the ledger is behind; silent tasks are looked for when it is not");
            return Ok(());
        }
        for task in projector.ledger.active_overdue(now, projector.options.overdue_after).await? {
            if let Some(notice) = overdue(&silent(task), now) {
                projector.say(&notice).await?;
            }
        }
        Ok(())
    }
}

impl Projector {
    /// Whether the ledger has all that the streams hold just now, or has it soon. Until then a task that seems
    /// silent may only be unread.
    async fn has_caught_up(&self) -> Result<bool, ReadFailure> {
        let mut ends = Vec::new();
        for stream in self.streams() {
            ends.push((self.broker.stream_state(&stream).await?.last, stream));
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
        Ok(timeout(self.options.sweep_every, reached).await.is_ok_and(|reached| reached.is_ok()))
    }

    /// Compares a stream with what the ledger remembers of it. A loss is said in the projector's log, and the
    /// stream is not followed any more.
    pub(crate) async fn look_for_loss(&self, stream: &str) -> Result<(), ReadFailure> {
        // Before the stream's end is read, so that an event that is applied meanwhile is no loss.
        let Some(applied) = self.ledger.applied().await?.get(stream).copied() else { return Ok(()) };
        let last = self.broker.stream_state(stream).await?.last;
        let message =
            if last < applied { None } else { self.broker.get(stream, applied).await?.map(stored_event) };
        let Some(found) = self.ledger.regression(stream, last, message.as_ref()).await? else {
            return Ok(());
        };
        // The checkpoint may have moved past the end that was read before it.
        if last >= applied && message.as_ref().is_none_or(|message| message.sequence != found.ledger_sequence)
        {
            return Ok(());
        }
        let lost = Lost {
            stream: found.stream,
            ledger_sequence: found.ledger_sequence,
            stream_sequence: found.stream_sequence,
            message: found.message,
        };
        self.lose(&lost).await
    }

    /// A message inside the stream is not there.
    pub(crate) async fn hole(&self, stream: &str, expected: u64, found: u64) -> Result<(), ReadFailure> {
        let last = self.broker.stream_state(stream).await?.last;
        let lost = Lost {
            stream: stream.to_owned(),
            ledger_sequence: expected.saturating_sub(1),
            stream_sequence: last,
            message: format!("{stream} holds {found}, but nothing from {expected} on before it"),
        };
        self.lose(&lost).await
    }

    async fn lose(&self, lost: &Lost) -> Result<(), ReadFailure> {
        let is_new = self.status.send_if_modified(|status| status.regressed.insert(lost.stream.clone()));
        if is_new {
            tracing::error!(stream = lost.stream, message = lost.message, "LEDGER_REGRESSED");
        }
        match regressed(lost) {
            Some(notice) => self.say(&notice).await,
            None => Ok(()),
        }
    }

    /// Appends a notice to the projector's log, unless it stands there.
    async fn say(&self, notice: &Notice) -> Result<(), ReadFailure> {
        let partitions = self.options.partitions.max(1);
        let stream = Log::Projector.stream(notice.key.partition(partitions));
        let subject = Log::Projector.subject(&notice.key, partitions);
        let last = self.broker.last(&stream, &subject).await?;
        let said = last.as_ref().and_then(|last| Envelope::decode(&last.payload).ok());
        if said.is_some_and(|last| notice.is_said_by(&last)) {
            return Ok(());
        }
        let payload = notice.envelope(self.clock.now()).encode();
        let append = Append::new(stream, subject, payload)
            .content_type(CONTENT_TYPE_PROTOBUF)
            .expecting(last.map_or(0, |last| last.sequence));
        match self.broker.append(&append).await {
            // Somebody else said something; the next sweep sees what.
            Ok(_) | Err(AppendError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn silent(task: OverdueTask) -> Silent {
    let OverdueTask { task, run, last_event, last_place, last_time } = task;
    Silent { task, run, last_event, last_place, last_time }
}
