//! The dispatcher owns the life cycle of every task: it alone changes a status, issues work orders and ends
//! a run. DESIGN sections 2 and 5.

pub mod config;
pub mod domain;
pub mod effects;

use millrace_runtime::service::{ServiceContext, ServiceError};
use millrace_runtime::settings::{Settings, SettingsError};

/// Inputs of one log in flight at most: decisions are short.
const CONCURRENCY: usize = 256;

/// Whether the dispatcher can run with these settings. It has none that the common check does not cover.
pub fn check(_settings: &Settings) -> Result<(), SettingsError> {
    Ok(())
}

/// Runs the dispatcher until the order to stop.
pub async fn run(context: ServiceContext) -> Result<(), ServiceError> {
    let decider = domain::Dispatcher { limits: config::limits(&context.settings) };
    let service = effects::DispatcherService::new(
        decider,
        context.logs(),
        context.leases.clone(),
        context.clock.clone(),
    );
    Ok(context.host(service, CONCURRENCY).await?)
}
