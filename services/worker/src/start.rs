//! Puts the service together and runs it.

use std::sync::Arc;

use millrace_runtime::service::{ServiceContext, ServiceError};
use millrace_runtime::settings::{Settings, SettingsError};
use millrace_sandbox::Sandbox;

use crate::adapters::{Dependencies, Models, Sandboxed, SharedBuckets, Workplace};
use crate::config::WorkerConfig;
use crate::effects::{Workbench, WorkerService};

/// Whether the worker's own configuration can be used.
///
/// # Errors
/// The first setting that cannot, by name.
pub fn check(settings: &Settings) -> Result<(), SettingsError> {
    let config = WorkerConfig::read(settings)?;
    models(settings, &config).map(drop)
}

/// Runs the worker that the settings describe until it is told to stop.
///
/// # Errors
/// Its configuration or its folder cannot be used, or its host ended.
pub async fn run(context: ServiceContext) -> Result<(), ServiceError> {
    let config = WorkerConfig::read(&context.settings)?;
    run_as(context, config).await
}

/// Runs a worker with a configuration of its own, beside others in one process.
///
/// # Errors
/// As [`run`].
pub async fn run_as(context: ServiceContext, config: WorkerConfig) -> Result<(), ServiceError> {
    config.check()?;
    let shared = SharedBuckets::new(&context.broker, context.clock.clone(), context.ids.clone());
    let models = models(&context.settings, &config)?.sharing(Arc::new(shared));
    let limits = config.sandbox.limits()?;
    let sandbox = Sandbox::probe(config.sandbox_config(&context.settings)).await;
    let part = format!("sandbox of {}", config.id);
    let reason = sandbox.as_ref().err().map(ToString::to_string).unwrap_or_default();
    context.health.set_ready(part, sandbox.is_ok(), reason);
    if let Err(unavailable) = &sandbox {
        tracing::error!(
            worker = config.id,
            reason = unavailable.reason,
            fix = unavailable.fix,
            "no sandbox: every work order is refused with SANDBOX_UNAVAILABLE until this is fixed and the \
             worker restarted; nothing runs without a sandbox"
        );
    }
    let workplace = Workplace::take(&config.directory, &config.id).map_err(|error| {
        ServiceError::failed(format!("the worker's folder {}", config.directory.display()), error)
    })?;
    let slots = config.slots;
    let dependencies = Dependencies::new(config.setup.steps(&limits)?, config.dependencies());
    let commands = Arc::new(Sandboxed::new(sandbox, limits, config.exec_rules()?, dependencies));
    let prompts = config.prompts()?;
    let bench = Workbench { context: context.clone(), models, commands, workplace, prompts };
    let service = WorkerService::new(context.clone(), config.id, Arc::new(bench));
    Ok(context.host(service, slots).await?)
}

fn models(settings: &Settings, config: &WorkerConfig) -> Result<Models, SettingsError> {
    Models::configured(config.crew.as_deref(), config.recipe, settings.limits.contract_retries)
}
