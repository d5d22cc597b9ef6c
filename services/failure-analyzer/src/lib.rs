//! The failure analyzer: puts every failure into a group of its like (code, stage, domain, model, prompt
//! version) and says something when a group grows. No failure is silent, and none is "unknown".

pub mod domain;
pub mod effects;

use millrace_runtime::service::{ServiceContext, ServiceError};
use millrace_runtime::settings::{Settings, SettingsError};

use effects::FailureAnalyzerService;

/// Inputs of one log in flight at most: decisions are short.
const CONCURRENCY: usize = 256;

/// Whether the failure analyzer can run with these settings. It has none of its own.
pub fn check(_settings: &Settings) -> Result<(), SettingsError> {
    Ok(())
}

/// Runs the failure analyzer until the order to stop.
pub async fn run(context: ServiceContext) -> Result<(), ServiceError> {
    Ok(context.host(FailureAnalyzerService::new(context.logs()), CONCURRENCY).await?)
}
