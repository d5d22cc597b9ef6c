//! `kind: change`: the spec becomes a commit and a bundle of it. Nothing is done before an answer has
//! satisfied its contract.

use std::path::PathBuf;
use std::time::Duration;

use millrace_events::v1::{ExecutionCompleted, Phase};
use millrace_events::{Code, WorkerEvent};
use millrace_router::{Ask, AskError, ErrorClass, Role};
use millrace_telemetry::names::{attribute, span};
use serde::Deserialize;
use serde_json::{Value, json};

use super::commands;
use super::evidence::{Gathered, millis};
use super::failures::{Step, Stop, brief};
use super::job::Job;
use super::prompts::{IMPLEMENTER, Material, PLANNER};
use crate::adapters::{Checkout, Edit, EditError, Proposal, apply};

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
#[derive(Debug, Deserialize)]
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
    let files = checkout.files(base, LISTED_FILES).await.map_err(|error| job.git(&error, "its files"))?;
    let material = Material { order: job.order(), spec: &spec, files: &files };

    let began = job.now();
    let question = Question { role: Role::Planner, system: PLANNER, prompt: material.for_planner() };
    let answer = ask(job, question, recipe.as_deref(), gathered).await?;
    let plan: Plan = understood(&answer)?;
    let kept = gathered.keep(job, "plan.json", &pretty(&answer)).await?;
    gathered.phase(Phase::Plan, vec![kept], &plan.summary, job.now().since(began))?;

    gathered.begin(Phase::Implement)?;
    let began = job.now();
    let prompt = material.for_implementer(&answer);
    let question = Question { role: Role::Implementer, system: IMPLEMENTER, prompt };
    let answer = ask(job, question, recipe.as_deref(), gathered).await?;
    let change: Change = understood(&answer)?;
    edit(checkout.root().to_owned(), change.edits.clone()).await?;
    let implemented = job.now().since(began);

    let began = job.now();
    build(job, &checkout, &change.commands, gathered).await?;
    let verified = job.now().since(began);
    refuse_trial(&change)?;
    let change = Proposed { plan, change, implemented, verified };
    propose(job, &checkout, change, gathered).await
}

struct Question {
    role: Role,
    system: &'static str,
    prompt: String,
}

struct Proposed {
    plan: Plan,
    change: Change,
    implemented: Duration,
    verified: Duration,
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

async fn ask(
    job: &Job<'_>,
    question: Question,
    recipe: Option<&str>,
    gathered: &mut Gathered,
) -> Step<Value> {
    let ask = Ask {
        role: question.role,
        system: question.system.to_owned(),
        prompt: question.prompt,
        recipe: recipe.map(str::to_owned),
        deadline: job.deadline,
    };
    let asked = job.bench.models.ask(&ask, job.cancel).await;
    let calls = asked.as_ref().map_or_else(AskError::calls, |answer| answer.calls.as_slice());
    gathered.calls(job, calls).await?;
    asked.map(|answer| answer.value).map_err(|error| unanswered(job, &error))
}

fn unanswered(job: &Job<'_>, error: &AskError) -> Stop {
    match error {
        AskError::ContractViolation { contract, attempts, .. } => {
            tracing::info_span!(
                span::PROCESS_VIOLATION,
                { attribute::TASK_ID } = job.task.task.as_str(),
                { attribute::ERROR_TYPE } = Code::ContractViolation.name(),
                millrace.contract = *contract,
            )
            .in_scope(|| tracing::warn!(contract, attempts, "every answer broke its contract"));
            Stop::failed(Code::ContractViolation, error.to_string())
                .with("contract", *contract)
                .with("answers", attempts.to_string())
        }
        AskError::Model { source, .. } => {
            let code = match source.class {
                ErrorClass::Connection | ErrorClass::Timeout | ErrorClass::Server | ErrorClass::Garbled => {
                    Code::ModelUnavailable
                }
                ErrorClass::RateLimited => Code::ModelRateLimited,
                ErrorClass::DailyQuota | ErrorClass::Billing => Code::ModelQuotaExhausted,
                ErrorClass::Authentication => Code::ModelKeyRejected,
                ErrorClass::InvalidRequest => Code::ModelRequestInvalid,
                ErrorClass::ContextWindow => Code::ModelContextExceeded,
                ErrorClass::ContentPolicy => Code::ModelRefused,
            };
            Stop::caused(code, format!("{error}: {source}"), error)
        }
        AskError::Unroutable { .. } => Stop::failed(Code::ModelUnavailable, error.to_string()),
        AskError::DeadlineExceeded { .. } => Stop::failed(Code::ExecutionTimeout, error.to_string()),
        AskError::Cancelled { .. } => Stop::Cancelled,
    }
}

/// An answer that satisfies its contract has this shape: a difference is a fault of Millrace.
fn understood<T: serde::de::DeserializeOwned>(answer: &Value) -> Step<T> {
    T::deserialize(answer).map_err(|error| {
        Stop::caused(Code::Internal, "an answer that satisfies its contract could not be read", &error)
    })
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

/// Runs the commands in order and stops at the first that fails. The log is evidence either way.
async fn build(job: &Job<'_>, checkout: &Checkout, commands: &[String], gathered: &mut Gathered) -> Step<()> {
    let mut log = Vec::new();
    let mut objection = None;
    for command in commands {
        let finished = commands::run(job, command, checkout.root()).await?;
        log.extend_from_slice(format!("$ {command}\n").as_bytes());
        log.extend_from_slice(&finished.output);
        log.extend_from_slice(format!("\n[{:?}]\n", finished.exit).as_bytes());
        log.truncate(BUILD_LOG_BYTES);
        objection = commands::objection(job, command, &finished);
        if objection.is_some() {
            break;
        }
    }
    if commands.is_empty() {
        log.extend_from_slice(b"The change has no commands.\n");
    }
    gathered.keep(job, "build_output.log", &log).await?;
    objection.map_or(Ok(()), Err)
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

/// Commits, bundles, and leaves the evidence.
async fn propose(
    job: &Job<'_>,
    checkout: &Checkout,
    proposed: Proposed,
    gathered: &mut Gathered,
) -> Step<WorkerEvent> {
    let Proposed { plan, change, implemented, verified } = proposed;
    let (task, order) = (job.task, job.order());
    let base = &task.base_commit;
    let branch = format!("{}{}/{}.{}", BRANCHES, task.task, task.run, task.attempt);
    let title = [&change.title, &order.title, &task.task].into_iter().find(|title| !title.trim().is_empty());
    let title = brief(title.unwrap_or(&task.task), 200);
    let summary = if change.summary.is_empty() { plan.summary } else { change.summary };
    let message = message(&title, &summary, &task.task, task.run, task.attempt);
    let proposal = Proposal { base, branch: &branch, message: &message, date: job.execute.claimed_at };
    let committed = checkout.commit(&proposal).await.map_err(|error| job.git(&error, "the commit"))?;
    let Some(head) = committed else {
        let message = "the edits and commands left every file as it was, so there is no change to propose";
        return Err(Stop::failed(Code::EvidenceEmpty, message));
    };
    let patch = checkout.patch(base, &head).await.map_err(|error| job.git(&error, "the patch"))?;
    let changed =
        checkout.changed(base, &head).await.map_err(|error| job.git(&error, "the changed files"))?;
    let bundle = checkout.bundle(base, &branch).await.map_err(|error| job.git(&error, "the bundle"))?;
    let said = format!("{} files changed", changed.len());
    let changed = vec![
        gathered.keep(job, "git_diff.patch", &patch).await?,
        gathered.keep(job, "modified_files.json", &pretty(&json!(changed))).await?,
    ];
    gathered.phase(Phase::Implement, changed, &said, implemented)?;
    let result = json!({
        "outcome": "succeeded", "order": order.id, "base": base, "head": head, "branch": branch,
    });
    let result = gathered.keep(job, "execution_result.json", &pretty(&result)).await?;
    let log = gathered.evidence.iter().find(|blob| blob.name == "build_output.log").cloned();
    let said = format!("{} commands succeeded", change.commands.len());
    gathered.phase(Phase::Verify, log.into_iter().chain([result]).collect(), &said, verified)?;
    let bundle = job.store("change.bundle", &bundle).await?;
    let gathered = std::mem::take(gathered);
    Ok(ExecutionCompleted {
        task: Some(task.clone()),
        order: order.id.clone(),
        worker: job.worker.to_owned(),
        fencing_token: job.execute.token,
        head,
        branch,
        bundle: Some(bundle),
        evidence: gathered.evidence,
        phases: gathered.phases,
        calls: gathered.calls,
        title,
        summary,
        rollback_plan: plan.rollback_plan,
        risk_level: plan.risk_level,
        duration_ms: millis(job.now().since(job.started)),
    }
    .into())
}

const BRANCHES: &str = millrace_forge::names::BRANCH_PREFIX;

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
