//! The repositories and targets of the settings. Each is opened when it is first needed, so that a
//! repository that comes later, or comes back, needs no restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use millrace_forge::{Forge, LocalForge, LocalForgeConfig};
use millrace_runtime::settings::{ForgeKind, Repository, Settings};
use tokio::sync::OnceCell;

use super::process_target::{ProcessTarget, ProcessTargetConfig};
use crate::config::Config;
use crate::ports::{Site, SiteError, Sites, Target};

/// What is configured.
pub struct ConfiguredSites {
    repositories: BTreeMap<String, (Repository, OnceCell<Arc<dyn Forge>>)>,
    targets: BTreeMap<String, ConfiguredTarget>,
}

struct ConfiguredTarget {
    config: ProcessTargetConfig,
    /// Id of the repository whose releases it runs.
    repository: String,
    opened: OnceCell<Arc<dyn Target>>,
}

impl ConfiguredSites {
    /// From settings that [`Config::from_settings`] has accepted.
    pub fn new(settings: &Settings, config: &Config) -> Self {
        let repositories = settings
            .repositories
            .iter()
            .map(|repository| (repository.id.clone(), (repository.clone(), OnceCell::new())))
            .collect();
        let targets = config
            .targets
            .iter()
            .filter_map(|target| {
                let repository = settings.repositories.iter().find(|found| found.target == target.id)?;
                let configured = ConfiguredTarget {
                    config: target.clone(),
                    repository: repository.id.clone(),
                    opened: OnceCell::new(),
                };
                Some((target.id.clone(), configured))
            })
            .collect();
        Self { repositories, targets }
    }
}

#[async_trait]
impl Sites for ConfiguredSites {
    async fn repository(&self, id: &str) -> Result<Site, SiteError> {
        let unknown = || SiteError::Unknown { kind: "repository", id: id.to_owned() };
        let (repository, opened) = self.repositories.get(id).ok_or_else(unknown)?;
        let open = || async {
            match repository.forge {
                ForgeKind::Local => {
                    let forge = LocalForge::open(LocalForgeConfig::new(&repository.url)).await;
                    forge.map(|forge| Arc::new(forge) as Arc<dyn Forge>)
                }
            }
        };
        let forge = opened
            .get_or_try_init(open)
            .await
            .map_err(|source| SiteError::Forge { repository: id.to_owned(), source })?;
        Ok(Site { forge: forge.clone(), base_branch: repository.base_branch.clone() })
    }

    async fn target(&self, id: &str) -> Result<Arc<dyn Target>, SiteError> {
        let unknown = || SiteError::Unknown { kind: "target", id: id.to_owned() };
        let target = self.targets.get(id).ok_or_else(unknown)?;
        let open = || async {
            let forge = self.repository(&target.repository).await?.forge;
            let made = ProcessTarget::new(target.config.clone(), forge)?;
            Ok::<_, SiteError>(Arc::new(made) as Arc<dyn Target>)
        };
        Ok(target.opened.get_or_try_init(open).await?.clone())
    }
}
