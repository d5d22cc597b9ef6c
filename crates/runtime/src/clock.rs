//! Time and ids from outside, behind seams.

use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::Timestamp;

/// The clock that a process lives by.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
}

/// A source of ids that must not repeat: instance names, trace ids.
pub trait Ids: Send + Sync + 'static {
    /// 128 random bits.
    fn random(&self) -> u128;
}

/// The machine's clock and its randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

#[async_trait]
impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "this is the seam that everybody else uses")]
    fn now(&self) -> Timestamp {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

impl Ids for System {
    #[expect(clippy::disallowed_methods, reason = "this is the seam that everybody else uses")]
    fn random(&self) -> u128 {
        uuid::Uuid::new_v4().as_u128()
    }
}
