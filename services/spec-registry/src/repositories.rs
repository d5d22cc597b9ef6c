//! The configured repositories, each with the source that its specifications are read from.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_forge::Git;
use millrace_runtime::settings::{self, Settings, SettingsError};

use crate::adapters::{GitScan, SplitSource};
use crate::config::Config;
use crate::domain::format::ParseSettings;
use crate::ports::{Repository, ScanLimits, SpecSource};

/// A repository with its source.
#[derive(Clone)]
pub struct Source {
    /// Its settings.
    pub repository: settings::Repository,
    /// How its specifications are read.
    pub parse: ParseSettings,
    /// Where they are read from.
    pub files: Arc<dyn SpecSource>,
}

/// All of them, in the order of the configuration.
#[derive(Clone, Default)]
pub struct Repositories {
    sources: Vec<Source>,
}

impl Source {
    /// `repository`, read from `files`.
    pub fn new(repository: settings::Repository, files: Arc<dyn SpecSource>) -> Self {
        Self { parse: parse_settings(&repository), repository, files }
    }
}

impl Repositories {
    /// These.
    pub fn new(sources: Vec<Source>) -> Self {
        Self { sources }
    }

    /// A git source for each configured repository. Nothing is read yet.
    ///
    /// # Errors
    /// A branch, path or URL that cannot be meant.
    pub fn of(settings: &Settings, config: &Config) -> Result<Self, SettingsError> {
        let limits = ScanLimits { find_deadline: settings.limits.spec_sync, ..ScanLimits::default() };
        let sources = settings.repositories.iter().map(|repository| {
            let scan = |id: String, location: &str| {
                let place = Repository {
                    id,
                    location: location.to_owned(),
                    base_branch: repository.base_branch.clone(),
                    specs_path: repository.specs_path.clone(),
                };
                GitScan::new(place, &config.directory, Git::new(), parse_settings(repository), limits)
                    .map_err(|error| SettingsError::invalid(error.to_string()))
            };
            let base = scan(repository.id.clone(), &repository.url)?;
            let files: Arc<dyn SpecSource> = match &repository.specs_url {
                Some(specs) => {
                    // Each has a mirror of its own.
                    let specs = scan(format!("{}-specs", repository.id), specs)?;
                    Arc::new(SplitSource { specs, base })
                }
                None => Arc::new(base),
            };
            Ok(Source::new(repository.clone(), files))
        });
        Ok(Self { sources: sources.collect::<Result<_, SettingsError>>()? })
    }

    /// The one with that id.
    pub fn get(&self, id: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.repository.id == id)
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter()
    }

    /// Their ids.
    pub fn ids(&self) -> BTreeSet<String> {
        self.sources.iter().map(|source| source.repository.id.clone()).collect()
    }
}

fn parse_settings(repository: &settings::Repository) -> ParseSettings {
    ParseSettings { default_prefix: repository.task_prefix.clone(), ..ParseSettings::default() }
}
