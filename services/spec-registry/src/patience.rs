//! Waiting for NATS. While it is away nothing can be recorded anyway, so a question to it is asked again
//! until it answers; a specification is never refused because a server was restarted.

use std::time::Duration;

use millrace_runtime::blobs::BlobError;
use millrace_runtime::broker::{AppendError, BrokerError};
use millrace_runtime::clock::Clock;
use millrace_runtime::host::retry::Backoff;

/// Pauses between tries.
pub(crate) struct Patience<'a> {
    clock: &'a dyn Clock,
    backoff: Backoff,
}

/// An error that may pass by itself.
pub(crate) trait MayPass: std::error::Error {
    /// Whether it may.
    fn may_pass(&self) -> bool;
}

impl<'a> Patience<'a> {
    pub(crate) fn new(clock: &'a dyn Clock) -> Self {
        let seed = clock.now().as_micros().cast_unsigned();
        Self { clock, backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(2), seed) }
    }

    /// Waits, and comes back with nothing if it makes sense to try again, else with the error.
    pub(crate) async fn after<E: MayPass>(&mut self, error: E) -> Result<(), E> {
        if !error.may_pass() {
            return Err(error);
        }
        tracing::warn!(%error, "NATS does not answer; trying again");
        drop(error);
        self.clock.sleep(self.backoff.pause()).await;
        Ok(())
    }
}

impl MayPass for BrokerError {
    fn may_pass(&self) -> bool {
        match self {
            // Missing is what a stream is while its server is being stopped or has just started, too.
            Self::Timeout { .. } | Self::Failed { .. } | Self::Missing { .. } => true,
            Self::Forbidden { .. } => false,
        }
    }
}

impl MayPass for AppendError {
    fn may_pass(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Broker(error) => error.may_pass(),
            Self::Conflict { .. } | Self::TooLarge { .. } | Self::Forbidden { .. } => false,
        }
    }
}

impl MayPass for BlobError {
    fn may_pass(&self) -> bool {
        match self {
            Self::Append { source, .. } => source.may_pass(),
            Self::Broker(error) => error.may_pass(),
            Self::TooLarge { .. } | Self::NotADigest(_) | Self::Damaged { .. } => false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_runtime::clock::System;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_away_is_waited_for_and_a_refusal_is_not() {
        let mut patience = Patience::new(&System);
        for _ in 0..100 {
            let operation = "get".to_owned();
            let away = BrokerError::Timeout { operation, after: Duration::from_secs(5) };
            patience.after(BlobError::Broker(away)).await.unwrap();
        }
        let stopping = BrokerError::Missing { what: "stream S".to_owned() };
        patience.after(BlobError::Broker(stopping)).await.unwrap();
        let forbidden = AppendError::Forbidden { subject: "x".to_owned() };
        let digest = "d".to_owned();
        let error = patience.after(BlobError::Append { digest, source: forbidden }).await.unwrap_err();
        assert!(matches!(error, BlobError::Append { .. }));
    }
}
