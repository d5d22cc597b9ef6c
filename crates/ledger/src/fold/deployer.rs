//! The deployer's log: pull requests, merges, releases.

use millrace_events::DeployerEvent;
use millrace_events::v1::{PullRequest, TaskRef};

use super::change::{Change, Fact, RowChange, Table};
use super::failure;
use super::stage::Stage;

pub(super) fn fold(fact: &Fact<'_>, event: &DeployerEvent) -> Vec<Change> {
    match event {
        DeployerEvent::PullRequestOpened(event) => {
            advanced(fact, event.task.as_ref(), Stage::PrOpened, |row| {
                proposed(row, event.pull_request.as_ref()).set("pull_request_at", fact.time)
            })
        }
        DeployerEvent::MergeCompleted(event) => {
            advanced(fact, event.task.as_ref(), Stage::Deploying, |row| {
                row.set("merge_commit", &event.merge_commit).set("merged_at", fact.time)
            })
        }
        DeployerEvent::DeploymentVerified(event) => {
            advanced(fact, event.task.as_ref(), Stage::Verifying, |row| {
                row.set("merge_commit", &event.merge_commit)
                    .set("release_commit", &event.release_commit)
                    .set("release_url", &event.url)
                    .set("deployed_at", fact.time)
            })
        }
        DeployerEvent::RollbackCompleted(event) => {
            let row =
                event.task.as_ref().map(|task| run(task).set("restored_commit", &event.restored_commit));
            let failure = failure::row(fact, event.task.as_ref(), event.failure.as_ref());
            row.map(RowChange::done).into_iter().chain(failure).collect()
        }
        DeployerEvent::PullRequestFailed(event) => {
            failure::row(fact, event.task.as_ref(), event.failure.as_ref()).into_iter().collect()
        }
        DeployerEvent::MergeFailed(event) => {
            failure::row(fact, event.task.as_ref(), event.failure.as_ref()).into_iter().collect()
        }
        DeployerEvent::DeploymentFailed(event) => {
            failure::row(fact, event.task.as_ref(), event.failure.as_ref()).into_iter().collect()
        }
        DeployerEvent::RollbackFailed(event) => {
            failure::row(fact, event.task.as_ref(), event.failure.as_ref()).into_iter().collect()
        }
        DeployerEvent::StageStopped(_) => Vec::new(),
    }
}

fn advanced(
    fact: &Fact<'_>,
    task: Option<&TaskRef>,
    stage: Stage,
    columns: impl FnOnce(RowChange) -> RowChange,
) -> Vec<Change> {
    let Some(task) = task else { return Vec::new() };
    vec![columns(run(task)).done(), stage.reached(fact, task)]
}

fn proposed(row: RowChange, pull_request: Option<&PullRequest>) -> RowChange {
    let Some(pull_request) = pull_request else { return row };
    row.set("pull_request", pull_request.number)
        .set("pull_request_url", &pull_request.url)
        .set("head", &pull_request.head)
        .set("head_branch", &pull_request.head_branch)
        .set("base_branch", &pull_request.base_branch)
}

fn run(task: &TaskRef) -> RowChange {
    Table::Runs.row(vec![(&task.task).into(), task.run.max(1).into()])
}
