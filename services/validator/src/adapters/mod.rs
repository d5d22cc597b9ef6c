//! The forges of the configured repositories, for reading. Each is opened when it is first needed.

use std::collections::BTreeMap;

use async_trait::async_trait;
use millrace_forge::{Forge as _, LocalForge, LocalForgeConfig, State};
use millrace_runtime::settings::{ForgeKind, Settings};
use tokio::sync::OnceCell;

use crate::ports::{LookError, PullRequests, Shown};

/// Where a repository defines its checks.
const CHECKS_FILE: &str = ".millrace.toml";

/// The forges of the settings.
pub struct ConfiguredForges {
    repositories: BTreeMap<String, (ForgeKind, String, OnceCell<LocalForge>)>,
}

impl ConfiguredForges {
    /// Opens nothing yet.
    pub fn new(settings: &Settings) -> Self {
        let repositories = settings
            .repositories
            .iter()
            .map(|found| (found.id.clone(), (found.forge, found.url.clone(), OnceCell::new())))
            .collect();
        Self { repositories }
    }
}

#[async_trait]
impl PullRequests for ConfiguredForges {
    async fn pull_request(
        &self,
        repository: &str,
        number: u64,
        base_commit: &str,
    ) -> Result<Option<Shown>, LookError> {
        let Some((kind, url, opened)) = self.repositories.get(repository) else {
            let message = format!("no repository `{repository}` is configured here");
            return Err(LookError { message, is_transient: false, source: None });
        };
        let failed = |source: millrace_forge::ForgeError| LookError {
            message: format!("pull request {number} of {repository} cannot be looked at: {source}"),
            is_transient: source.is_transient(),
            source: Some(source),
        };
        let forge = match kind {
            ForgeKind::Local => opened
                .get_or_try_init(|| LocalForge::open(LocalForgeConfig::new(url)))
                .await
                .map_err(failed)?,
        };
        let Some(found) = forge.pull_request(number).await.map_err(failed)? else { return Ok(None) };
        let at_head = forge.read_file(&found.head_sha, CHECKS_FILE).await.map_err(failed)?;
        let at_base = forge.read_file(base_commit, CHECKS_FILE).await.map_err(failed)?;
        Ok(Some(Shown {
            open: found.state == State::Open,
            merged: found.state == State::Merged,
            head: found.head_sha,
            redefines_checks: at_head != at_base,
        }))
    }
}
