//! Every service as a supervised task: one that fails is started again, and nobody else notices.

use std::sync::Arc;
use std::time::Duration;

use millrace_events::Service;
use millrace_rpc::HealthHandle;
use millrace_runtime::clock::{Ids as _, System};
use millrace_runtime::host::retry::Backoff;
use millrace_runtime::launch::{self, Entry};
use millrace_runtime::permissions::{Identity, IdentityKey};
use millrace_runtime::settings::Settings;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use toml::Value;

use crate::services;

/// Worker identities: a change must be checked by another one than made it.
const WORKERS: [&str; 2] = ["worker-1", "worker-2"];

/// Runs all services until the order to stop, and returns when all have ended.
pub(crate) async fn run(settings: Arc<Settings>, keys: Vec<IdentityKey>, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    for entry in services::ALL {
        let seed = keys
            .iter()
            .find(|key| key.identity == Identity::Service(entry.service))
            .map(|key| key.seed.clone());
        for settings in instances(entry.service, &settings) {
            tasks.spawn(keep_running(entry, settings, seed.clone(), stop.clone()));
        }
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a supervised task ended badly");
        }
    }
}

/// The settings of each instance of a service; all but the worker have one.
fn instances(service: Service, settings: &Arc<Settings>) -> Vec<Arc<Settings>> {
    if service != Service::Worker {
        return vec![settings.clone()];
    }
    WORKERS
        .iter()
        .map(|id| {
            let mut own = Settings::clone(settings);
            let shared = own.worker.get("directory").and_then(Value::as_str).unwrap_or(".millrace/worker");
            let directory = format!("{shared}/{id}");
            own.worker.insert("directory".to_owned(), Value::String(directory));
            own.worker.insert("id".to_owned(), Value::String((*id).to_owned()));
            Arc::new(own)
        })
        .collect()
}

async fn keep_running(entry: Entry, settings: Arc<Settings>, seed: Option<String>, stop: CancellationToken) {
    let mut backoff =
        Backoff::new(Duration::from_millis(200), Duration::from_secs(10), System.random() as u64);
    let name = entry.service.name();
    while !stop.is_cancelled() {
        // A token of its own: a host that fails cancels what it was given.
        let own = stop.child_token();
        let connected =
            launch::connect(entry.service, settings.clone(), seed.clone(), HealthHandle::new(), own).await;
        let ended = match connected {
            Ok(context) => launch::run_service(entry, context).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) if stop.is_cancelled() => return,
            Ok(()) => tracing::error!(service = name, "ended by itself; it is started again"),
            Err(error) => {
                tracing::error!(service = name, error = launch::chain(&error), "failed; it is started again")
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.pause()) => {}
        }
    }
}
