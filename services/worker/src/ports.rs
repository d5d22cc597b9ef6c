//! What the worker asks of the machine that it runs on.

use std::path::Path;

use async_trait::async_trait;
use millrace_sandbox::{Finished, SandboxError, SandboxUnavailable};
use tokio_util::sync::CancellationToken;

/// Runs untrusted commands, or refuses; never bare.
#[async_trait]
pub trait Commands: Send + Sync + 'static {
    /// Whether commands can be run at all.
    ///
    /// # Errors
    /// Why not, and what an operator does about it.
    fn ready(&self) -> Result<(), SandboxUnavailable>;

    /// Runs one command to its end in `workspace`, whose `.git` it cannot write. When this returns, no
    /// process of it is left; `cancel` kills it.
    ///
    /// # Errors
    /// The command was not run.
    async fn run(
        &self,
        command: &str,
        workspace: &Path,
        cancel: &CancellationToken,
    ) -> Result<Finished, SandboxError>;

    /// A sentence about the bound that a command passed, such as `its output passed 1048576 bytes`.
    fn bound(&self, finished: &Finished) -> Option<String>;
}
