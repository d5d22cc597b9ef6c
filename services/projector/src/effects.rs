//! What the projector says itself: notices in its own log.

use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope, Log};
use millrace_ledger::{LedgerError, OverdueTask, ReseedError};
use millrace_runtime::broker::{Append, AppendError, BrokerError, Stored};

use crate::domain::{Findings, Notice, Silent, alarm, overdue};
use crate::projection::Projector;

/// Why something was not read or said this time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFailure {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Reseed(#[from] ReseedError),
}

impl Projector {
    /// Says what was found about a log, unless its last notice says it.
    pub(crate) async fn say_of_log(&self, findings: &Findings) -> Result<(), ReadFailure> {
        let last = self.last_said(findings.log.name()).await?;
        let after = last.as_ref().map_or(0, |last| last.sequence);
        let said = last.as_ref().and_then(|last| Envelope::decode(&last.payload).ok());
        let Some(notice) = alarm(findings, said.as_ref(), after) else { return Ok(()) };
        match findings.lost.first() {
            Some(lost) => tracing::error!(stream = lost.stream, message = lost.message, "LEDGER_REGRESSED"),
            None => tracing::warn!(
                log = findings.log.name(),
                differences = ?findings.differences,
                "{}",
                notice.event.name()
            ),
        }
        self.append(&notice, after).await
    }

    /// Says that a task is silent, unless that was said since its last event.
    pub(crate) async fn say_overdue(&self, task: OverdueTask) -> Result<(), ReadFailure> {
        let now = self.clock.now();
        let OverdueTask { task, run, last_event, last_place, last_time } = task;
        let silent = Silent { task, run, last_event, last_place, last_time };
        let Some(notice) = overdue(&silent, now) else { return Ok(()) };
        let last = self.last_said(notice.key.as_str()).await?;
        let said = last.as_ref().and_then(|last| Envelope::decode(&last.payload).ok());
        if said.is_some_and(|last| notice.is_said_by(&last)) {
            return Ok(());
        }
        self.append(&notice, last.map_or(0, |last| last.sequence)).await
    }

    /// The last notice under a key.
    pub(crate) async fn last_said(&self, key: &str) -> Result<Option<Stored>, ReadFailure> {
        let Ok(key) = millrace_events::Key::new(key) else { return Ok(None) };
        let partitions = self.options.partitions.max(1);
        let stream = Log::Projector.stream(key.partition(partitions));
        Ok(self.broker.last(&stream, &Log::Projector.subject(&key, partitions)).await?)
    }

    async fn append(&self, notice: &Notice, after: u64) -> Result<(), ReadFailure> {
        let partitions = self.options.partitions.max(1);
        let stream = Log::Projector.stream(notice.key.partition(partitions));
        let subject = Log::Projector.subject(&notice.key, partitions);
        let payload = notice.envelope(self.clock.now()).encode();
        let append =
            Append::new(stream, subject, payload).content_type(CONTENT_TYPE_PROTOBUF).expecting(after);
        match self.broker.append(&append).await {
            // Somebody else said something; the next sweep sees what.
            Ok(_) | Err(AppendError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
