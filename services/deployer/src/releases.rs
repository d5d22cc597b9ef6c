//! The verified releases as a whole: running again after a restart of the machine, stopped with a
//! development server.

use std::sync::Arc;

use millrace_runtime::settings::{Settings, SettingsError};

use crate::adapters::sites::ConfiguredSites;
use crate::config::Config;
use crate::ports::{ReleaseRequest, Sites};
use crate::target_book::TargetBook;

/// Starts the verified release of each target that has none running. A target whose release is under way is
/// left to the input that comes back for it. What cannot be started is logged: the next release mends it.
pub(crate) async fn resume(sites: &Arc<ConfiguredSites>, book: &TargetBook, config: &Config) {
    for target in config.targets.iter().map(|target| target.id.as_str()) {
        let entry = match book.entry(target).await {
            Ok(Some(entry)) if entry.owner.is_none() && !entry.release.is_empty() => entry,
            Ok(_) => continue,
            Err(fault) => {
                tracing::warn!(target, %fault, "cannot read what is released");
                continue;
            }
        };
        let started = async {
            let place = sites.target(target).await?;
            match place.current().await? {
                Some(current) if current.commit == entry.release && current.pid.is_none() => {
                    place.roll_out(&ReleaseRequest { commit: entry.release.clone() }).await.map(Some)
                }
                _ => Ok(None),
            }
            .map_err(crate::ports::SiteError::from)
        };
        match started.await {
            Ok(Some(_)) => tracing::info!(target, commit = entry.release, "the verified release runs again"),
            Ok(None) => {}
            Err(error) => {
                let error = millrace_runtime::launch::chain(&error);
                tracing::warn!(
                    target,
                    commit = entry.release,
                    error,
                    "the verified release cannot be started"
                );
            }
        }
    }
}

/// Stops what runs on every configured target. What cannot be stopped is logged.
pub async fn stop_all(settings: &Settings) -> Result<(), SettingsError> {
    let config = Config::from_settings(settings)?;
    let sites = ConfiguredSites::new(settings, &config);
    for target in &config.targets {
        let stopped =
            async { sites.target(&target.id).await?.stop().await.map_err(crate::ports::SiteError::from) };
        if let Err(error) = stopped.await {
            let error = millrace_runtime::launch::chain(&error);
            tracing::warn!(target = target.id, error, "the release cannot be stopped");
        }
    }
    Ok(())
}
