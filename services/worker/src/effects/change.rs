//! `kind: change`: the spec becomes a commit and a bundle of it. Nothing is done before an answer has
//! satisfied its contract. Where a plan that a person wrote answers for planner and implementer, the way is short
//! (`by_recipe`); where models work, it is the whole process (`by_models`).

mod agent;
mod asking;
mod by_models;
mod by_recipe;
mod counted;
mod documents;
mod phases;
mod questions;
mod toolbox;
mod verify;

use std::path::PathBuf;

use millrace_events::v1::TaskRef;
use millrace_events::{Code, WorkerEvent};
use serde::Deserialize;
use serde_json::Value;

use super::commands;
use super::evidence::Gathered;
use super::failures::{Step, Stop};
use super::job::Job;
use crate::adapters::{Checkout, Edit, EditError, apply};

/// Files of the repository that a prompt lists.
const LISTED_FILES: usize = 500;
/// Bytes of all commands' output together that are kept.
const BUILD_LOG_BYTES: usize = 4 * 1024 * 1024;

/// The parts of the planner's answer that are carried on.
#[derive(Debug, Deserialize)]
struct Plan {
    rollback_plan: String,
    risk_level: String,
    #[serde(default)]
    summary: String,
}

/// The implementer's answer.
#[derive(Debug, Clone, Deserialize)]
struct Change {
    edits: Vec<Edit>,
    commands: Vec<String>,
    dry_run: bool,
    pr_required: bool,
    #[serde(default)]
    title: String,
    #[serde(default)]
    summary: String,
}

/// What every way to a change starts from.
struct Ground<'a> {
    job: &'a Job<'a>,
    spec: String,
    recipe: Option<String>,
    checkout: Checkout,
    files: Vec<String>,
}

pub(super) async fn run(job: &Job<'_>, gathered: &mut Gathered) -> Step<WorkerEvent> {
    let spec = spec(job).await?;
    let recipe = recipe(job).await?;
    let base = &job.task.base_commit;
    if base.is_empty() {
        return Err(Stop::failed(Code::EventInvalid, "the work order names no commit to start from"));
    }
    let checkout = job.checkout().await?;
    let branch = &job.repository.base_branch;
    if !checkout.is_on(base, branch).await.map_err(|error| job.git(&error, "its history"))? {
        let message =
            format!("commit {base} is not on branch `{branch}` of repository {}", job.repository.id);
        return Err(Stop::failed(Code::RepositoryUnavailable, message));
    }
    checkout.switch_to(base).await.map_err(|error| job.git(&error, "the checkout of the base commit"))?;
    commands::prepare(job, checkout.root()).await?;
    let files = checkout.files(base, LISTED_FILES).await.map_err(|error| job.git(&error, "its files"))?;
    let ground = Ground { job, spec, recipe, checkout, files };
    if job.bench.models.is_recipe() {
        by_recipe::run(&ground, gathered).await
    } else {
        by_models::run(&ground, gathered).await
    }
}

/// The spec's text. Its bytes must be the ones that the run is locked to.
async fn spec(job: &Job<'_>) -> Step<String> {
    let blob = job.order().spec.as_ref();
    let blob = blob.ok_or_else(|| Stop::failed(Code::SpecNotFound, "the work order carries no spec"))?;
    let locked = &job.task.spec_checksum;
    if blob.sha256 != *locked {
        let message =
            format!("the run is locked to the spec {locked}, but the work order carries {}", blob.sha256);
        return Err(Stop::failed(Code::SpecChecksumMismatch, message)
            .with("expected_sha256", locked)
            .with("found_sha256", &blob.sha256));
    }
    // The store checks that the bytes have this digest.
    let bytes = job.load(blob).await?;
    String::from_utf8(bytes).map_err(|error| Stop::caused(Code::SpecInvalid, "the spec is not UTF-8", &error))
}

async fn recipe(job: &Job<'_>) -> Step<Option<String>> {
    let Some(blob) = &job.order().plan else { return Ok(None) };
    let bytes = job.load(blob).await?;
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|error| Stop::caused(Code::SpecInvalid, "the plan is not UTF-8", &error))
}

async fn edit(root: PathBuf, edits: Vec<Edit>) -> Step<()> {
    let applied = tokio::task::spawn_blocking(move || apply(&root, &edits)).await;
    match applied {
        Ok(Ok(())) => Ok(()),
        // The contract says both: paths stay inside, and what is replaced occurs exactly once.
        Ok(Err(error @ (EditError::Escapes { .. } | EditError::DoesNotFit { .. }))) => {
            Err(Stop::failed(Code::ContractViolation, error.to_string()))
        }
        Ok(Err(error @ EditError::Io { .. })) => Err(Stop::caused(Code::Internal, error.to_string(), &error)),
        Err(error) => Err(Stop::caused(Code::Internal, "an edit could not be applied", &error)),
    }
}

/// A trial is run and reported, and proposes nothing: such a run has nothing to go on with.
fn refuse_trial(change: &Change) -> Step<()> {
    let why = match (change.dry_run, change.pr_required) {
        (true, _) => {
            "the answer is a dry run (`dry_run: true`): its edits and commands worked and nothing is proposed"
        }
        (false, false) => "the answer wants no pull request (`pr_required: false`), so nothing is proposed",
        (false, true) => return Ok(()),
    };
    Err(Stop::failed(Code::EvidenceEmpty, why))
}

/// The branch of an attempt.
fn branch(task: &TaskRef) -> String {
    format!("{}{}/{}.{}", millrace_forge::names::BRANCH_PREFIX, task.task, task.run, task.attempt)
}

fn message(title: &str, summary: &str, task: &str, run: u32, attempt: u32) -> String {
    let body = summary.trim();
    let body = if body.is_empty() { String::new() } else { format!("{body}\n\n") };
    format!("{title}\n\n{body}Task-Id: {task}\nMillrace-Run: {run}.{attempt}\n")
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_with_the_trailers() {
        assert_eq!(
            message("Title", "Why\n", "VTID-01213", 1, 2),
            "Title\n\nWhy\n\nTask-Id: VTID-01213\nMillrace-Run: 1.2\n"
        );
        assert_eq!(message("T", "", "V-0001", 1, 1), "T\n\nTask-Id: V-0001\nMillrace-Run: 1.1\n");
    }
}
