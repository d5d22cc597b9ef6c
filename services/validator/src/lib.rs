//! The validator: whether a pull request's head may be merged. It looks at what the worker left, at the
//! pull request as the forge shows it, and at the checks that ran on this very head and base, and says so
//! with one verdict per attempt and base. It reads; it never writes to a forge.

pub mod domain;
pub mod effects;

pub mod adapters;
pub mod ports;

use std::sync::Arc;

use millrace_runtime::service::{ServiceContext, ServiceError};
use millrace_runtime::settings::{Settings, SettingsError};

use adapters::ConfiguredForges;
use domain::Validator;
use effects::{ValidatorService, World};

/// Inputs of one log in flight at most.
const CONCURRENCY: usize = 64;

/// Whether the validator can run with these settings. It has none that the common check does not cover.
pub fn check(_settings: &Settings) -> Result<(), SettingsError> {
    Ok(())
}

/// Runs the validator until the order to stop.
pub async fn run(context: ServiceContext) -> Result<(), ServiceError> {
    let limits = &context.settings.limits;
    let decider = Validator { checks_wait: limits.checks_wait };
    let world = World {
        pull_requests: Arc::new(ConfiguredForges::new(&context.settings)),
        logs: context.logs(),
        blobs: context.blobs.clone(),
        clock: context.clock.clone(),
        validation: limits.validation,
    };
    Ok(context.host(ValidatorService::new(decider, world), CONCURRENCY).await?)
}
