//! One order under way: what both kinds of work need.

use std::path::PathBuf;

use millrace_decider::Timestamp;
use millrace_events::Code;
use millrace_events::v1::{TaskRef, WorkOrder};
use millrace_forge::GitError;
use millrace_runtime::service::ServiceContext;
use millrace_runtime::settings::Repository;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::WorkerService;
use super::failures::{Step, Stop};
use crate::adapters::{Checkout, CheckoutError};
use crate::domain::Execute;

/// An order under way.
pub(super) struct Job<'a> {
    pub(super) service: &'a WorkerService,
    pub(super) execute: &'a Execute,
    pub(super) task: &'a TaskRef,
    pub(super) repository: &'a Repository,
    /// Thrown away afterwards.
    pub(super) folder: PathBuf,
    pub(super) started: Timestamp,
    /// When its limit is over.
    pub(super) deadline: Instant,
    pub(super) cancel: &'a CancellationToken,
}

impl Job<'_> {
    pub(super) fn order(&self) -> &WorkOrder {
        &self.execute.order
    }

    pub(super) fn context(&self) -> &ServiceContext {
        &self.service.context
    }

    pub(super) fn worker(&self) -> &str {
        &self.service.decider.worker
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
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(std::io::Error::other(error)),
    }
}
