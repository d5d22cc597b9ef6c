//! A worker's exclusive right to a work order. The fencing token is the sequence of the acknowledgement in
//! the worker's log; the entry here only shows that the holder is alive, and can be taken away.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

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

    /// Renews the lease every `renewal` and cancels `lost` when it is gone: expired because it could not be
    /// renewed within `life`, or taken away. Runs until it is dropped or the lease is lost.
    pub async fn keep(mut self, renewal: Duration, life: Duration, lost: CancellationToken) {
        let mut renewed = self.clock.now();
        loop {
            self.clock.sleep(WATCH_EVERY.min(renewal)).await;
            let now = self.clock.now();
            if now.since(renewed) >= life {
                tracing::warn!(order = self.order, "the lease ran out before it could be renewed");
                lost.cancel();
                return;
            }
            let held = if now.since(renewed) >= renewal { self.renew().await } else { self.look().await };
            match held {
                Ok(Held::Renewed) => renewed = now,
                Ok(Held::Still) => {}
                Ok(Held::Gone) => {
                    tracing::warn!(order = self.order, "the lease is gone; the work stops");
                    lost.cancel();
                    return;
                }
                Err(error) => tracing::warn!(order = self.order, %error, "cannot reach the lease"),
            }
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
