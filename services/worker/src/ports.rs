//! What the worker asks of its work, and of the machine that it runs on.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use millrace_events::{Code, Key, WorkerEvent};
use millrace_policy::exec::Verdict;
use millrace_runtime::host::Reports;
use millrace_sandbox::{Finished, Prepared, SandboxError, SandboxUnavailable, SetupError};
use tokio_util::sync::CancellationToken;

use crate::domain::{Execute, Input, Said};
use crate::effects::{Gathered, Step, Stop};

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
    /// Where it says what happens on the way.
    pub journal: &'a Journal,
    /// Cancelled when the work is to stop.
    pub cancel: &'a CancellationToken,
}

/// Takes down what happens during the work on one order: a phase that is over, a model that was called, a tool that
/// was refused. Each is an event of the worker's log under the order's claim, stored before the work goes on; when
/// somebody else has taken the task over, it is refused like an end that comes late.
#[derive(Debug, Clone)]
pub struct Journal {
    task: Key,
    order: String,
    token: u64,
    reports: Reports<Input>,
}

impl Journal {
    /// For the work on a claimed order.
    pub fn new(execute: &Execute, reports: Reports<Input>) -> Self {
        Self { task: execute.task.clone(), order: execute.order.id.clone(), token: execute.token, reports }
    }

    /// Writes one event.
    ///
    /// # Errors
    /// It stands in no log, and the work must not go on: the service is ending, or cannot store it.
    pub async fn note(&self, event: impl Into<WorkerEvent>) -> Step<()> {
        let said = Said {
            task: self.task.clone(),
            order: self.order.clone(),
            token: self.token,
            event: event.into(),
        };
        let recorded = self.reports.report(Input::Noted(Box::new(said))).await;
        recorded.map_err(|error| {
            Stop::caused(Code::Internal, "what the work has done could not be recorded", &error)
        })
    }
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

    /// Fetches what commands in a fresh checkout of a repository need, before anything in it is changed; every
    /// later command in it has that, offline. `None`: nothing is needed.
    ///
    /// # Errors
    /// The step failed, was cancelled or could not be run.
    async fn prepare(
        &self,
        _repository: &str,
        _workspace: &Path,
        _cancel: &CancellationToken,
    ) -> Result<Option<Prepared>, SetupError> {
        Ok(None)
    }

    /// What the rules have against a command of a change, if anything.
    fn refusal(&self, _command: &str) -> Option<Verdict> {
        None
    }

    /// A sentence about the bound that a command passed, such as `its output passed 1048576 bytes`.
    fn bound(&self, finished: &Finished) -> Option<String>;
}
