//! Where specs are read from: files by script, commits of the simulated forge.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_spec_registry::adapters::ScriptedSource;
use millrace_spec_registry::ports::{Found, Scan, ScanCursor, SourceError, SpecSource};

use crate::forge::ForgeWorld;
use crate::gate::Gate;

/// One repository's specs as one life of the registry reads them.
pub struct SimulatedSpecs {
    /// The files.
    pub files: Arc<ScriptedSource>,
    /// The repositories, for their commits.
    pub forges: Arc<ForgeWorld>,
    /// Id of the repository.
    pub repository: String,
    /// Who reads.
    pub gate: Gate,
}

impl SimulatedSpecs {
    async fn ask(&self) -> Result<String, SourceError> {
        self.gate.step("before a source").await;
        let rate = self.gate.weather().profile.source_fails;
        if self.gate.fault("source failed", rate, || self.repository.clone()) {
            return Err(SourceError::Unreachable {
                repository: self.repository.clone(),
                location: "sim".to_owned(),
                reason: "it did not answer".to_owned(),
            });
        }
        Ok(self.forges.base(&self.repository))
    }
}

#[async_trait]
impl SpecSource for SimulatedSpecs {
    async fn scan(&self, since: Option<&ScanCursor>) -> Result<Scan, SourceError> {
        let commit = self.ask().await?;
        Ok(Scan { commit, ..self.files.scan(since).await? })
    }

    async fn find(&self, task_id: &str) -> Result<Option<Found>, SourceError> {
        let commit = self.ask().await?;
        Ok(self.files.find(task_id).await?.map(|found| Found { commit, ..found }))
    }

    async fn head(&self) -> Result<String, SourceError> {
        self.ask().await
    }
}
