//! Tasks that have fallen silent, where that is nobody else's fault.

use millrace_events::{Envelope, Log};
use millrace_runtime::broker::BrokerError;
use tokio::time::{Duration, timeout};

use crate::domain::excuses_silence;
use crate::effects::ReadFailure;
use crate::projection::Projector;

/// How long a sweep waits for the ledger to catch up before it looks for silent tasks.
const CATCH_UP: Duration = Duration::from_secs(5);

impl Projector {
    /// Says which tasks are silent. Not while an alarm stands, and not until `overdue_after` has passed since
    /// the last one ended: what is not dispatched has nothing to say.
    pub(crate) async fn look_for_silence(&self) -> Result<(), ReadFailure> {
        if self.has_excuse().await? {
            tracing::debug!("an alarm stands or stood; silent tasks are looked for later");
            return Ok(());
        }
        if !self.has_caught_up().await? {
            tracing::debug!("the ledger is behind; silent tasks are looked for when it is not");
            return Ok(());
        }
        for task in self.ledger.active_overdue(self.clock.now(), self.options.overdue_after).await? {
            self.say_overdue(task).await?;
        }
        Ok(())
    }

    /// Learned from the projector's own log, so that a restart changes nothing.
    async fn has_excuse(&self) -> Result<bool, ReadFailure> {
        let now = self.clock.now();
        for log in Log::ALL {
            let Some(said) = self.last_said(log.name()).await? else { continue };
            let Ok(envelope) = Envelope::decode(&said.payload) else { continue };
            if excuses_silence(&envelope, now.since(said.time), self.options.overdue_after) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the ledger has all that the streams hold just now, or has it soon. Until then a task that seems
    /// silent may only be unread.
    async fn has_caught_up(&self) -> Result<bool, ReadFailure> {
        let mut ends = Vec::new();
        for stream in self.streams() {
            match self.broker.stream_state(&stream).await {
                Ok(state) => ends.push((state.last, stream)),
                // Nobody knows what stands there.
                Err(BrokerError::Missing { .. }) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
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
}
