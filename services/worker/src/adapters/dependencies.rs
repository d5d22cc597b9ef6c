//! The dependencies of the checkouts that are worked on: fetched once per lockfile, before anything is changed.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use millrace_sandbox::{CommandSpec, Prepared, Sandbox, Setup, SetupError};
use tokio_util::sync::CancellationToken;

/// The steps of all repositories, and what they came to for the checkouts of this worker.
#[derive(Debug, Default)]
pub struct Dependencies {
    steps: BTreeMap<String, Setup>,
    cache: PathBuf,
    ready: Mutex<HashMap<PathBuf, Prepared>>,
}

impl Dependencies {
    /// With the step of each repository, and the folder that results are kept in.
    pub fn new(steps: BTreeMap<String, Setup>, cache: PathBuf) -> Self {
        Self { steps, cache, ready: Mutex::default() }
    }

    /// Fetches what a fresh checkout of a repository needs, or finds it. Every later command in that checkout
    /// gets it. `None`: the repository has no step.
    ///
    /// # Errors
    /// The step failed.
    pub async fn ensure(
        &self,
        sandbox: &Sandbox,
        repository: &str,
        checkout: &Path,
        cancel: &CancellationToken,
    ) -> Result<Option<Prepared>, SetupError> {
        let Some(step) = self.steps.get(repository) else { return Ok(None) };
        // Folders are used again for the next order.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).remove(checkout);
        let prepared = step.ensure(sandbox, &self.cache, checkout, cancel).await?;
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.retain(|checkout, _| checkout.exists());
        ready.insert(checkout.to_owned(), prepared.clone());
        Ok(Some(prepared))
    }

    /// Adds what was fetched for the command's checkout.
    pub(super) fn add_to(&self, spec: &mut CommandSpec) {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prepared) = ready.get(&spec.workspace) {
            spec.mounts.push(prepared.mount());
            spec.env.extend(prepared.env.clone());
        }
    }
}
