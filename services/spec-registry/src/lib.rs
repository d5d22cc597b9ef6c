//! Millrace spec-registry: finds written specifications, checks them, and records each version once.
//!
//! [`run`] hosts the decider and, beside it, the scan of every repository: the scan is a producer that hands
//! in what it finds, and the decider reads it from `intake` like anybody else's.

pub mod adapters;
mod allocation;
pub mod config;
pub mod domain;
pub mod effects;
pub mod intake;
mod patience;
pub mod ports;
mod producer;
mod reading;
pub mod repositories;
mod scan;
mod search;

use futures::future::join_all;
use millrace_runtime::service::{ServiceContext, ServiceError};
use millrace_runtime::settings::{Settings, SettingsError};

use crate::config::Config;
use crate::repositories::Repositories;

/// Inputs in flight at most. Each may hold a specification with its plan, and a request waits for git.
const CONCURRENCY: usize = 32;

/// Whether the registry can run with these settings.
///
/// # Errors
/// An unknown key of its section, or a repository whose branch, path or URL cannot be meant.
pub fn check(settings: &Settings) -> Result<(), SettingsError> {
    Repositories::of(settings, &Config::of(settings)?).map(drop)
}

/// Runs the registry until the order to stop.
///
/// # Errors
/// Settings that cannot be used, or the end of the host.
pub async fn run(context: ServiceContext) -> Result<(), ServiceError> {
    let repositories = Repositories::of(&context.settings, &Config::of(&context.settings)?)?;
    run_with(context, repositories).await
}

/// Runs the registry on these repositories.
///
/// # Errors
/// The end of the host.
pub async fn run_with(context: ServiceContext, repositories: Repositories) -> Result<(), ServiceError> {
    let stop = context.stop.child_token();
    let scans: Vec<_> = repositories
        .iter()
        .map(|source| scan::Scanner::new(&context, source.clone()).run(stop.clone()))
        .collect();
    let service = effects::RegistryService::new(&context, repositories);
    let hosted = async {
        let ended = context.host(service, CONCURRENCY).await;
        stop.cancel();
        ended
    };
    let (ended, _scans) = tokio::join!(hosted, join_all(scans));
    Ok(ended?)
}
