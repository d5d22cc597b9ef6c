//! The deployer: the only writer to forges and targets. It publishes a worker's change as a pull request,
//! merges what the validator lets through, releases the merge to its target, and takes it back when the
//! target does not show it. One release at a time per target, from merge to verdict.

pub mod config;
pub mod domain;
pub mod effects;
pub mod releases;
pub mod target_book;

pub mod adapters;
pub mod ports;

use std::sync::Arc;

use millrace_runtime::service::{ServiceContext, ServiceError};
use millrace_runtime::settings::{Settings, SettingsError};

use adapters::sites::ConfiguredSites;
use config::Config;
use effects::{DeployerService, Holds, World};
use target_book::TargetBook;

/// Inputs of one log in flight at most. A release holds one from its merge to its verdict.
const CONCURRENCY: usize = 64;

/// Whether the deployer can run with these settings.
pub fn check(settings: &Settings) -> Result<(), SettingsError> {
    Config::from_settings(settings).map(drop)
}

/// Runs the deployer until the order to stop.
pub async fn run(context: ServiceContext) -> Result<(), ServiceError> {
    let config = Config::from_settings(&context.settings)?;
    let sites = Arc::new(ConfiguredSites::new(&context.settings, &config));
    let targets = TargetBook::new(context.targets.clone());
    releases::resume(&sites, &targets, &config).await;
    let world = World {
        sites,
        targets,
        logs: context.logs(),
        blobs: context.blobs.clone(),
        clock: context.clock.clone(),
        wrong_sha_grace: config.wrong_sha_grace,
        deployment: context.settings.limits.deployment,
        holds: Holds::default(),
    };
    Ok(context.host(DeployerService::new(world), CONCURRENCY).await?)
}
