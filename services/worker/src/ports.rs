//! What the worker asks of its work, and of the machine that it runs on.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use millrace_events::WorkerEvent;
use millrace_sandbox::{Finished, SandboxError, SandboxUnavailable};
use tokio_util::sync::CancellationToken;

use crate::domain::Execute;
use crate::effects::{Gathered, Step};

/// Does what an order asks for. Lease, limit and end of the order are the frame's.
#[async_trait]
pub trait Work: Send + Sync + 'static {
    /// Works until there is an end to record, or until it is told to stop: then it kills what it started and
    /// returns. It may be dropped at any moment. A failure carries what was `gathered` so far.
    ///
    /// # Errors
    /// Why nothing came of it.
    async fn run(&self, assignment: &Assignment<'_>, gathered: &mut Gathered) -> Step<WorkerEvent>;

    /// Removes what the work on an order, over by now, has left on this machine.
    ///
    /// # Errors
    /// It could not be removed.
    async fn clear(&self, order: &str) -> std::io::Result<()>;
}

/// One order to work on.
pub struct Assignment<'a> {
    /// The claimed order.
    pub execute: &'a Execute,
    /// Identity of the worker.
    pub worker: &'a str,
    /// The work may take so long.
    pub limit: Duration,
    /// Cancelled when the work is to stop.
    pub cancel: &'a CancellationToken,
}

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
