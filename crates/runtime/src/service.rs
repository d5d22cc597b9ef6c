//! What a running service has: its settings, its connection, its buckets, and the order to stop.

use std::sync::Arc;

use millrace_rpc::HealthHandle;
use tokio_util::sync::CancellationToken;

use crate::blobs::Blobs;
use crate::broker::{Broker, BrokerError};
use crate::clock::{Clock, Ids};
use crate::host::{Host, HostError, HostOptions, Hosted};
use crate::kv::Kv;
use crate::log_reader::LogReader;
use crate::settings::{Settings, SettingsError};

/// The world of one service. Cheap to clone; every part sits behind a seam.
#[derive(Clone)]
pub struct ServiceContext {
    /// The whole configuration.
    pub settings: Arc<Settings>,
    /// This process among those of the same service, such as `dispatcher-3f2a`.
    pub instance: String,
    /// JetStream, under this service's identity.
    pub broker: Arc<dyn Broker>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids that must not repeat.
    pub ids: Arc<dyn Ids>,
    /// Leases of work orders.
    pub leases: Arc<dyn Kv>,
    /// Who releases to which target.
    pub targets: Arc<dyn Kv>,
    /// Tasks that wait to be dispatched.
    pub queue: Arc<dyn Kv>,
    /// What uses up concurrency limits.
    pub slots: Arc<dyn Kv>,
    /// Heartbeats of all processes.
    pub heartbeats: Arc<dyn Kv>,
    /// The content-addressed store.
    pub blobs: Blobs,
    /// Where its parts report whether they are ready.
    pub health: HealthHandle,
    /// Ordered to stop: finish what is in flight, take nothing new.
    pub stop: CancellationToken,
}

/// Why a service ended.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Its configuration cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Its host ended.
    #[error(transparent)]
    Host(#[from] HostError),
    /// NATS did not do what it was asked for.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Something else that it cannot run without.
    #[error("{message}")]
    Failed {
        /// What failed.
        message: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ServiceError {
    /// Something that the service cannot run without failed.
    pub fn failed(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed { message: message.into(), source: source.into() }
    }
}

impl ServiceContext {
    /// Hosts a decider until the order to stop. `concurrency`: inputs of one consumer in flight at most.
    pub async fn host<H: Hosted>(&self, hosted: H, concurrency: usize) -> Result<(), HostError> {
        let options = HostOptions {
            concurrency,
            partitions: self.settings.nats.partitions,
            grace: self.settings.limits.grace,
            seed: self.ids.random() as u64,
            progress_every: self.settings.nats.ack_wait / 3,
            ..HostOptions::default()
        };
        Host::new(hosted, self.broker.clone(), self.clock.clone(), options, self.stop.clone())
            .reporting(self.health.clone())
            .run()
            .await
    }

    /// Reads logs that the service may read, key by key.
    pub fn logs(&self) -> LogReader {
        LogReader::new(self.broker.clone(), self.settings.nats.partitions)
    }
}
