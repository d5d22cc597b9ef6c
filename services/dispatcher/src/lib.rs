//! The dispatcher owns the life cycle of every task: it alone changes a status, issues work orders and ends
//! a run. DESIGN sections 2 and 5.

pub mod admission;
pub mod config;
pub mod domain;
pub mod effects;

use std::sync::Arc;
use std::time::Duration;

use millrace_runtime::service::{ServiceContext, ServiceError};
use millrace_runtime::settings::{Settings, SettingsError};

use admission::Admission;

/// Inputs of one log in flight at most: decisions are short.
const CONCURRENCY: usize = 256;
/// Pause before NATS is asked again at the start.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether the dispatcher can run with these settings. It has none that the common check does not cover.
pub fn check(_settings: &Settings) -> Result<(), SettingsError> {
    Ok(())
}

/// Runs the dispatcher until the order to stop.
pub async fn run(context: ServiceContext) -> Result<(), ServiceError> {
    let world = admission::World {
        broker: context.broker.clone(),
        queue: context.queue.clone(),
        slots: context.slots.clone(),
        heartbeats: context.heartbeats.clone(),
        clock: context.clock.clone(),
    };
    let admission = Arc::new(Admission::new(config::rules(&context.settings), world));
    // Nothing is let in before it is known who waits, and which alarms stand.
    while let Err(error) = admission.start().await {
        tracing::warn!(%error, "cannot find out who waits; trying again");
        tokio::select! {
            biased;
            () = context.stop.cancelled() => return Ok(()),
            () = context.clock.sleep(PAUSE) => {}
        }
    }
    let decider = domain::Dispatcher { limits: config::limits(&context.settings) };
    let service = effects::DispatcherService::new(
        decider,
        context.logs(),
        context.leases.clone(),
        context.clock.clone(),
        admission.clone(),
    );
    tokio::select! {
        biased;
        ended = context.host(service, CONCURRENCY) => Ok(ended?),
        never = admission.run() => match never {},
    }
}
