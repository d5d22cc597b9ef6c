//! A worker's exclusive right to a work order. The fencing token is the sequence of the acknowledgement in
//! the worker's log; the entry here only shows that the holder is alive, and can be taken away.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::broker::BrokerError;
use crate::clock::Clock;
use crate::kv::Kv;

/// How often a holder looks whether its lease has been taken away.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Worker identity.
    pub worker: String,
    /// Process.
    pub instance: String,
    /// Sequence of the WorkOrderAcknowledged in the worker's log.
    pub token: u64,
}

/// How a lease ended for its holder.
#[derive(Debug)]
pub enum Lost {
    /// The entry is gone or somebody else's: it was taken away, or it expired.
    Gone,
    /// It could not be renewed within its life, because of this. Nobody has taken it away.
    RanOut(BrokerError),
}

/// A lease that this process holds.
pub struct Lease {
    kv: Arc<dyn Kv>,
    clock: Arc<dyn Clock>,
    order: String,
    value: Vec<u8>,
    revision: u64,
}

impl Lease {
    /// Takes the lease of `order`. `None`: somebody holds it.
    pub async fn take(
        kv: Arc<dyn Kv>,
        clock: Arc<dyn Clock>,
        order: &str,
        holder: &Holder,
    ) -> Result<Option<Self>, BrokerError> {
        let value = serde_json::to_vec(holder).map_err(|error| BrokerError::Failed {
            operation: "lease".to_owned(),
            message: error.to_string(),
        })?;
        let revision = kv.create(order, &value).await?;
        Ok(revision.map(|revision| Self { kv, clock, order: order.to_owned(), value, revision }))
    }

    /// Renews the lease every `renewal` and returns when it is lost: taken away, or not renewed within `life`,
    /// however long the broker takes to say anything. Runs until then, or until it is dropped.
    pub async fn keep(mut self, renewal: Duration, life: Duration) -> Lost {
        let clock = self.clock.clone();
        let mut renewed = clock.now();
        let mut trouble = None;
        loop {
            clock.sleep(WATCH_EVERY.min(renewal)).await;
            let now = clock.now();
            let left = life.saturating_sub(now.since(renewed));
            let is_due = now.since(renewed) >= renewal;
            let held = self.ask(is_due, left).await;
            match held {
                Some(Ok(Held::Renewed)) => renewed = now,
                Some(Ok(Held::Still)) => {}
                Some(Ok(Held::Gone)) => {
                    tracing::warn!(order = self.order, "the lease is gone; the work stops");
                    return Lost::Gone;
                }
                Some(Err(error)) => {
                    tracing::warn!(order = self.order, %error, "cannot reach the lease");
                    trouble = Some(error);
                }
                None => {
                    tracing::warn!(order = self.order, "the lease ran out before it could be renewed");
                    let operation = format!("renew the lease of {}", self.order);
                    let late = BrokerError::Timeout { operation, after: life };
                    return Lost::RanOut(trouble.unwrap_or(late));
                }
            }
        }
    }

    /// Renews the lease or looks at it. `None`: nobody has said anything within what is `left` of its life.
    async fn ask(&mut self, is_due: bool, left: Duration) -> Option<Result<Held, BrokerError>> {
        // A bucket that fails at once would win every time against a sleep of nothing.
        if left.is_zero() {
            return None;
        }
        let clock = self.clock.clone();
        let answer = async { if is_due { self.renew().await } else { self.look().await } };
        tokio::select! {
            biased;
            () = clock.sleep(left) => None,
            answer = answer => Some(answer),
        }
    }

    async fn renew(&mut self) -> Result<Held, BrokerError> {
        match self.kv.update(&self.order, &self.value, self.revision).await? {
            Some(revision) => {
                self.revision = revision;
                Ok(Held::Renewed)
            }
            // A time-out may have stored the renewal: then the entry is ours under another revision.
            None => self.look().await,
        }
    }

    async fn look(&mut self) -> Result<Held, BrokerError> {
        Ok(match self.kv.get(&self.order).await? {
            Some(entry) if entry.value == self.value => {
                self.revision = entry.revision;
                Held::Still
            }
            Some(_) | None => Held::Gone,
        })
    }
}

enum Held {
    Renewed,
    Still,
    Gone,
}

/// Whether anybody holds the lease of `order`.
pub async fn is_alive(kv: &dyn Kv, order: &str) -> Result<bool, BrokerError> {
    Ok(kv.get(order).await?.is_some())
}

/// Gives a lease back, or takes it away from its holder.
pub async fn end(kv: &dyn Kv, order: &str) -> Result<(), BrokerError> {
    kv.delete(order).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use async_trait::async_trait;
    use futures::FutureExt;
    use millrace_decider::Timestamp;

    use super::*;
    use crate::kv::{Change, Entry};
    use crate::memory::ManualClock;

    const RENEWAL: Duration = Duration::from_secs(10);
    const LIFE: Duration = Duration::from_secs(30);

    /// A bucket that takes a lease, and then never answers or fails.
    struct Broken {
        answers: bool,
    }

    impl Broken {
        async fn fail<T>(&self) -> Result<T, BrokerError> {
            if !self.answers {
                std::future::pending::<()>().await;
            }
            Err(BrokerError::Failed { operation: "test".to_owned(), message: "down".to_owned() })
        }
    }

    #[async_trait]
    impl Kv for Broken {
        async fn get(&self, _: &str) -> Result<Option<Entry>, BrokerError> {
            self.fail().await
        }
        async fn create(&self, _: &str, _: &[u8]) -> Result<Option<u64>, BrokerError> {
            Ok(Some(1))
        }
        async fn update(&self, _: &str, _: &[u8], _: u64) -> Result<Option<u64>, BrokerError> {
            self.fail().await
        }
        async fn put(&self, _: &str, _: &[u8]) -> Result<u64, BrokerError> {
            self.fail().await
        }
        async fn delete(&self, _: &str) -> Result<(), BrokerError> {
            self.fail().await
        }
        async fn delete_at(&self, _: &str, _: u64, _: Duration) -> Result<bool, BrokerError> {
            self.fail().await
        }
        async fn changes(&self, _: u64, _: usize) -> Result<Vec<Change>, BrokerError> {
            self.fail().await
        }
        async fn entries(&self) -> Result<Vec<(String, Entry)>, BrokerError> {
            self.fail().await
        }
    }

    #[tokio::test]
    async fn a_lease_runs_out_on_time_whether_the_broker_fails_or_hangs() {
        for answers in [true, false] {
            let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
            let holder = Holder { worker: "w".to_owned(), instance: "i".to_owned(), token: 1 };
            let kv = Arc::new(Broken { answers });
            let lease = Lease::take(kv, clock.clone(), "order", &holder).await.unwrap().unwrap();
            let mut keep = Box::pin(lease.keep(RENEWAL, LIFE));
            for _ in 0..29 {
                assert!((&mut keep).now_or_never().is_none());
                clock.advance(Duration::from_secs(1));
            }
            assert!((&mut keep).now_or_never().is_none(), "not before its life is over");
            clock.advance(Duration::from_secs(1));
            let lost = keep.now_or_never().expect("its life is over");
            match (answers, lost) {
                (true, Lost::RanOut(BrokerError::Failed { .. })) => {}
                (false, Lost::RanOut(BrokerError::Timeout { after, .. })) => assert_eq!(after, LIFE),
                (_, lost) => panic!("{lost:?}"),
            }
        }
    }
}
