//! The real work, and one order under way: what both kinds of work need.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use millrace_decider::Timestamp;
use millrace_events::v1::{TaskRef, WorkOrder, WorkOrderKind};
use millrace_events::{Code, WorkerEvent};
use millrace_forge::GitError;
use millrace_runtime::service::ServiceContext;
use millrace_runtime::settings::Repository;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::evidence::Gathered;
use super::failures::{Step, Stop};
use super::prompts::Prompts;
use super::{change, check};
use crate::adapters::{Checkout, CheckoutError, Models, Workplace, prepare, remove};
use crate::domain::Execute;
use crate::ports::{Assignment, Commands, Journal, Work};

/// The real work: models, git and a sandbox, each order in a folder of its own.
pub struct Workbench {
    /// Settings, blobs and time.
    pub context: ServiceContext,
    /// The way to the models.
    pub models: Models,
    /// The way to run a command.
    pub commands: Arc<dyn Commands>,
    /// Where it works.
    pub workplace: Workplace,
    /// What models are asked with.
    pub prompts: Prompts,
}

#[async_trait]
impl Work for Workbench {
    async fn run(&self, assignment: &Assignment<'_>, gathered: &mut Gathered) -> Step<WorkerEvent> {
        if let Err(unavailable) = self.commands.ready() {
            return Err(
                Stop::failed(Code::SandboxUnavailable, unavailable.to_string()).with("fix", unavailable.fix)
            );
        }
        let execute = assignment.execute;
        let order = &execute.order;
        let task: &TaskRef = order
            .task
            .as_ref()
            .ok_or_else(|| Stop::failed(Code::EventInvalid, "the work order names no task"))?;
        let repository = self.context.settings.repository(&task.repository).ok_or_else(|| {
            let message = format!("repository `{}` is not configured at this worker", task.repository);
            Stop::failed(Code::RepositoryUnavailable, message)
        })?;
        let folder = self.workplace.folder(&order.id);
        let made = folder.clone();
        blocking(move || prepare(&made)).await.map_err(|error| {
            Stop::caused(Code::Internal, "the worker's folder for the order could not be made", &error)
        })?;
        let job = Job {
            bench: self,
            worker: assignment.worker,
            execute,
            task,
            repository,
            folder,
            started: self.context.clock.now(),
            deadline: Instant::now() + assignment.limit,
            journal: assignment.journal,
            cancel: assignment.cancel,
        };
        match order.kind() {
            WorkOrderKind::Check => check::run(&job, gathered).await,
            WorkOrderKind::Change | WorkOrderKind::Unspecified => change::run(&job, gathered).await,
        }
    }

    async fn clear(&self, order: &str) -> std::io::Result<()> {
        let folder = self.workplace.folder(order);
        blocking(move || remove(&folder)).await
    }
}

/// An order under way.
pub(super) struct Job<'a> {
    pub(super) bench: &'a Workbench,
    /// Identity of the worker.
    pub(super) worker: &'a str,
    pub(super) execute: &'a Execute,
    pub(super) task: &'a TaskRef,
    pub(super) repository: &'a Repository,
    /// Thrown away afterwards.
    pub(super) folder: PathBuf,
    pub(super) started: Timestamp,
    /// When its limit is over.
    pub(super) deadline: Instant,
    /// Where it says what happens on the way.
    pub(super) journal: &'a Journal,
    pub(super) cancel: &'a CancellationToken,
}

impl Job<'_> {
    pub(super) fn order(&self) -> &WorkOrder {
        &self.execute.order
    }

    pub(super) fn context(&self) -> &ServiceContext {
        &self.bench.context
    }

    pub(super) fn now(&self) -> Timestamp {
        self.context().clock.now()
    }

    /// A fresh checkout with the base branch fetched, and nothing in the working copy yet.
    pub(super) async fn checkout(&self) -> Step<Checkout> {
        let root = self.folder.join("checkout");
        let made = Checkout::create(root, &self.repository.url, self.cancel.clone()).await;
        let checkout = made.map_err(|error| self.git(&error, "the checkout could not be made"))?;
        let fetched = checkout.fetch(&self.repository.base_branch).await;
        fetched.map_err(|error| self.git(&error, "the base branch could not be fetched"))?;
        Ok(checkout)
    }

    /// What a failure of git means for the work.
    pub(super) fn git(&self, error: &CheckoutError, what: &str) -> Stop {
        let repository = &self.repository.id;
        let message = format!("repository {repository}: {what}: {error}");
        match error {
            CheckoutError::Cancelled => Stop::Cancelled,
            CheckoutError::Nested { .. } => Stop::failed(
                Code::SandboxViolation,
                format!("{message}; a change may not bring a repository of its own"),
            ),
            CheckoutError::Git(GitError::TooMuchOutput { .. }) => {
                Stop::caused(Code::EvidenceInvalid, message, error)
            }
            CheckoutError::NoSuchBranch { .. } | CheckoutError::Git(_) => {
                Stop::caused(Code::RepositoryUnavailable, message, error)
            }
        }
    }
}

/// Runs blocking work on files off the runtime's own threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(std::io::Error::other(error)),
    }
}
