//! `kind: check`: the checks of the base commit on the pull request's head merged with its base. A check
//! that fails is an answer, not a failure of the work.

use millrace_events::v1::{CheckDefinition, CheckResult, ChecksCompleted, PullRequest};
use millrace_events::{Code, WorkerEvent};
use millrace_sandbox::Exit;

use super::commands::{self, exit_code};
use super::evidence::{Gathered, millis};
use super::failures::{Step, Stop, brief, last_line};
use super::job::Job;
use crate::adapters::{Checkout, CheckoutError, Merge};

pub(super) async fn run(job: &Job<'_>, gathered: &mut Gathered) -> Step<WorkerEvent> {
    let order = job.order();
    let pull_request = order.pull_request.as_ref().ok_or_else(|| {
        Stop::failed(Code::PrNotFound, "the work order to check a pull request does not name one")
    })?;
    let checkout = job.checkout().await?;
    merged(job, &checkout, pull_request).await?;
    commands::prepare(job, checkout.root()).await?;
    let mut results = Vec::new();
    for (number, check) in order.checks.iter().enumerate() {
        results.push(one(job, &checkout, check, number + 1, gathered).await?);
    }
    Ok(ChecksCompleted {
        task: Some(job.task.clone()),
        order: order.id.clone(),
        worker: job.worker.to_owned(),
        fencing_token: job.execute.token,
        pull_request: order.pull_request.clone(),
        head: pull_request.head.clone(),
        base: pull_request.base.clone(),
        passed: results.iter().all(|result| result.passed),
        results,
        evidence: order.evidence.clone(),
        implementer: order.implementer.clone(),
    }
    .into())
}

/// Fills the working copy with the head merged into the base, both exactly as the order names them. A base
/// branch that has moved on since is no fault here: the merge looks at it again.
async fn merged(job: &Job<'_>, checkout: &Checkout, pull_request: &PullRequest) -> Step<()> {
    let PullRequest { number, head_branch, head, base, base_branch, .. } = pull_request;
    let found = checkout.fetch(head_branch).await.map_err(|error| match error {
        CheckoutError::NoSuchBranch { .. } => Stop::failed(
            Code::PrNotFound,
            format!("branch `{head_branch}` of pull request {number} is no longer in the repository"),
        ),
        other => job.git(&other, "the pull request's branch could not be fetched"),
    })?;
    if found != *head {
        let message = format!("pull request {number} is at {found}, and {head} was to be checked");
        return Err(Stop::failed(Code::PrHeadMoved, message)
            .with("expected_head", head)
            .with("found_head", found));
    }
    if *base_branch != job.repository.base_branch {
        let fetched = checkout.fetch(base_branch).await;
        fetched.map_err(|error| job.git(&error, "the pull request's base could not be fetched"))?;
    }
    if !checkout.is_on(base, base_branch).await.map_err(|error| job.git(&error, "its history"))? {
        let message = format!("{base}, the base of pull request {number}, is no longer on `{base_branch}`");
        return Err(Stop::failed(Code::PrBaseMoved, message).with("expected_base", base));
    }
    checkout.switch_to(base).await.map_err(|error| job.git(&error, "the checkout of the base"))?;
    match checkout.merge(head).await.map_err(|error| job.git(&error, "the merge"))? {
        Merge::Clean => Ok(()),
        Merge::Conflicts(files) => {
            let message = format!(
                "pull request {number} does not merge into {base_branch}: {}",
                brief(&files.join(", "), 1_000)
            );
            Err(Stop::failed(Code::MergeConflict, message))
        }
    }
}

async fn one(
    job: &Job<'_>,
    checkout: &Checkout,
    check: &CheckDefinition,
    number: usize,
    gathered: &mut Gathered,
) -> Step<CheckResult> {
    let finished = commands::run(job, &check.command, checkout.root()).await?;
    let passed = finished.exit == Exit::Code(0);
    let summary = match (passed, job.bench.commands.bound(&finished)) {
        (true, _) => String::new(),
        (false, Some(bound)) => brief(&bound, 200),
        (false, None) => match (last_line(&finished.output), finished.exit) {
            (line, _) if !line.is_empty() => line,
            (_, exit) => format!("it wrote nothing and ended with {exit:?}"),
        },
    };
    tracing::info!(check = check.name, passed, summary, "checked");
    let name = format!("check-{number}.log");
    let output = gathered.keep(job, &name, &finished.output).await?;
    Ok(CheckResult {
        name: check.name.clone(),
        command: check.command.clone(),
        passed,
        exit_code: exit_code(finished.exit),
        output: Some(output),
        duration_ms: millis(finished.duration),
        summary,
    })
}
