//! What the validator asks of a forge: to look, never to touch.

use async_trait::async_trait;

/// Pull requests of the configured repositories, for reading.
#[async_trait]
pub trait PullRequests: Send + Sync {
    /// The pull request as it stands now; `None` when it was deleted or never existed. `base_commit`: what
    /// the change was made from.
    async fn pull_request(
        &self,
        repository: &str,
        number: u64,
        base_commit: &str,
    ) -> Result<Option<Shown>, LookError>;
}

/// A pull request as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Whether it still can be merged.
    pub open: bool,
    /// Whether its change is in the base branch.
    pub merged: bool,
    /// Full SHA of its head.
    pub head: String,
    /// Its head defines other checks than the commit that the change was made from.
    pub redefines_checks: bool,
}

/// A look that gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct LookError {
    /// What was looked for.
    pub message: String,
    /// Whether the same look may succeed later with nothing changed.
    pub is_transient: bool,
    /// Why.
    #[source]
    pub source: Option<millrace_forge::ForgeError>,
}
