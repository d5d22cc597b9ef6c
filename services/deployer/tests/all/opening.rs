//! From a change to a pull request, and its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use millrace_deployer::ports::Target;
use millrace_events::DeployerEvent;
use millrace_events::v1::{
    ExecutionCompleted, Failure, Outcome, TaskCancelled, TaskCompleted, TaskFailed, WorkOrder,
    WorkOrderExpired, WorkOrderIssued,
};
use millrace_events::{Code, v1::TaskRef};
use millrace_forge::State;
use millrace_runtime::clock::System;
use millrace_testkit::eventually;

use super::shy_forge::ShyForge;
use super::stage::{SOON, Stage, branch, task};

const RED: &[(&str, &str)] = &[("page.css", "red\nb\nc\n")];

#[tokio::test]
async fn a_change_becomes_a_pull_request_that_says_everything() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let opened = stage.proposed(&one, RED).await;
    let pull_request = opened.pull_request.clone().unwrap();
    let names: Vec<&str> = opened.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["unit", "lint"], "in the order of .millrace.toml");
    assert_eq!(opened.implementer, "worker-a");
    assert_eq!(opened.execution, "MILLRACE_WORKER_0:1");
    assert_eq!(pull_request.base, stage.base().await);
    assert_eq!(pull_request.head_branch, branch(&one));
    let shown = stage.forge.pull_request(pull_request.number).await.unwrap().unwrap();
    assert_eq!((shown.state, &shown.head_sha), (State::Open, &pull_request.head));
    assert_eq!(shown.title, "VTID-01213: Change the colour");
    for part in ["The page is red now.", "low", "Revert it.", "plan.json", &opened.evidence[0].sha256] {
        assert!(shown.body.contains(part), "{part} is not in {}", shown.body);
    }
}

#[tokio::test]
async fn the_same_change_again_opens_nothing_more() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    stage.scheduled(&one).await;
    let change = stage.change(&one, RED).await;
    for _ in 0..3 {
        stage.say(&one, change.clone()).await;
    }
    // The next attempt is handled after them, for they share a lane.
    let two = task("VTID-01213", 1, 2);
    stage.say(&two, WorkOrderIssued { task: Some(two.clone()), ..WorkOrderIssued::default() }).await;
    let change = stage.change(&two, &[("page.css", "blue\nb\nc\n")]).await;
    stage.say(&two, change).await;
    let opened = stage.opened(&two).await;
    // Of attempt 1 there is one answer, or none where attempt 2 had taken its place by then.
    let names = stage.names(&one).await;
    assert!(names.len() <= 2, "{names:?}");
    assert_eq!(opened.pull_request.unwrap().head_branch, branch(&two));
}

#[tokio::test]
async fn s2_g3a_a_pull_request_is_opened_only_when_the_forge_shows_it() {
    let mut stage = Stage::silent(Arc::new(System), None).await;
    let shy = Arc::new(ShyForge::new(stage.forge.clone(), false));
    stage.use_forge(shy.clone());
    stage.start();
    let one = task("VTID-01213", 1, 1);
    stage.scheduled(&one).await;
    let change = stage.change(&one, RED).await;
    stage.say(&one, change).await;
    eventually!(SOON, "a pull request that is not shown", {
        stage.forge.find_pull_request(&branch(&one)).await.unwrap().is_some()
    });
    assert!(stage.said(&one).await.is_empty(), "nothing is said before it is seen");
    shy.shows.store(true, Ordering::SeqCst);
    stage.opened(&one).await;

    // Never shown: the task ends, with the reason.
    shy.shows.store(false, Ordering::SeqCst);
    let two = task("VTID-01214", 1, 1);
    stage.scheduled(&two).await;
    let change = stage.change(&two, &[("other.css", "y\n")]).await;
    stage.say(&two, change).await;
    stage.says(&two, &["PullRequestFailed"]).await;
    assert_eq!(stage.failure(&two).await.0, "PR_NOT_CREATED");
}

#[tokio::test]
async fn a_new_attempt_closes_and_links_the_one_before() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let first = stage.proposed(&one, RED).await.pull_request.unwrap();
    let two = task("VTID-01213", 1, 2);
    stage.say(&two, WorkOrderIssued { task: Some(two.clone()), ..WorkOrderIssued::default() }).await;
    let change = stage.change(&two, &[("page.css", "blue\nb\nc\n")]).await;
    stage.say(&two, change).await;
    let second = stage.opened(&two).await.pull_request.unwrap();
    let old = stage.forge.pull_request(first.number).await.unwrap().unwrap();
    assert_eq!(old.state, State::Closed);
    let comments = stage.forge.comments(first.number).await.unwrap();
    assert!(comments[0].body.contains(&format!("#{}", second.number)));
    let new = stage.forge.pull_request(second.number).await.unwrap().unwrap();
    assert!(new.body.contains(&format!("Replaces #{}", first.number)));

    // A verdict on the old attempt merges nothing.
    stage.passed(&one, &first).await;
    stage.passed(&two, &second).await;
    stage
        .says(&two, &["PullRequestOpened", "PullRequestOpened", "MergeCompleted", "DeploymentVerified"])
        .await;
    assert!(stage.file("page.css").await.starts_with("blue"));
}

#[tokio::test]
async fn work_that_is_not_wanted_any_more_opens_nothing() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    stage.scheduled(&one).await;
    let change = stage.change(&one, RED).await;
    let expired = WorkOrderExpired {
        task: Some(one.clone()),
        order: change.order.clone(),
        ..WorkOrderExpired::default()
    };
    stage.say(&one, expired).await;
    stage.say(&one, change.clone()).await;
    // The same attempt has another order, which is not stopped with the first: its change is the one.
    let again = WorkOrder { task: Some(one.clone()), ..WorkOrder::default() };
    let issued =
        WorkOrderIssued { task: Some(one.clone()), order: Some(again), ..WorkOrderIssued::default() };
    stage.say(&one, issued).await;
    let mut second = stage.change(&one, &[("page.css", "blue\nb\nc\n")]).await;
    second.order = format!("{}/1.1/change/2", one.task);
    stage.say(&one, second.clone()).await;
    let opened = stage.opened(&one).await.pull_request.unwrap();
    assert_eq!(opened.head, second.head);
    assert_ne!(second.head, change.head);
    assert_eq!(stage.names(&one).await, ["PullRequestOpened"]);

    // Nor does work that was never asked for.
    let unknown = task("VTID-09999", 1, 1);
    let change = ExecutionCompleted { task: Some(unknown.clone()), ..ExecutionCompleted::default() };
    stage.say(&unknown, change).await;
    stage.says(&unknown, &["StageStopped"]).await;
}

#[tokio::test]
async fn what_cannot_be_proposed_ends_with_a_code() {
    let stage = Stage::new().await;
    let elsewhere = task("VTID-00001", 1, 1);
    stage.scheduled(&elsewhere).await;
    let mut change = stage.change(&elsewhere, RED).await;
    change.branch = "millrace/VTID-00002/1.1".to_owned();
    stage.say(&elsewhere, change).await;
    stage.says(&elsewhere, &["PullRequestFailed"]).await;
    assert_eq!(stage.failure(&elsewhere).await.0, "EVIDENCE_INVALID");

    let lost = task("VTID-00003", 1, 1);
    stage.scheduled(&lost).await;
    let mut change = stage.change(&lost, RED).await;
    change.bundle.as_mut().unwrap().sha256 = "0".repeat(64);
    stage.say(&lost, change).await;
    stage.says(&lost, &["PullRequestFailed"]).await;
    assert_eq!(stage.failure(&lost).await.0, "EVIDENCE_MISSING");

    let homeless = TaskRef { repository: "nowhere".to_owned(), ..task("VTID-00004", 1, 1) };
    stage.scheduled(&homeless).await;
    let change = stage.change(&homeless, RED).await;
    stage.say(&homeless, change).await;
    stage.says(&homeless, &["PullRequestFailed"]).await;
    assert_eq!(stage.failure(&homeless).await.0, "REPOSITORY_UNAVAILABLE");
}

#[tokio::test]
async fn a_broken_profile_is_named_with_its_line() {
    let stage = Stage::new().await;
    stage.push_to_main(&[(".millrace.toml", "[checks]\nunit = \n")]).await;
    let one = task("VTID-01213", 1, 1);
    stage.scheduled(&one).await;
    let change = stage.change(&one, RED).await;
    stage.say(&one, change).await;
    stage.says(&one, &["PullRequestFailed"]).await;
    let (code, message) = stage.failure(&one).await;
    assert_eq!(code, "CHECKS_FAILED");
    assert!(message.contains(".millrace.toml") && message.contains("line 2"), "{message}");
}

#[tokio::test]
async fn a_cancelled_run_is_stopped_once_and_leaves_nothing() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    let cancelled = TaskCancelled {
        task: Some(one.clone()),
        outcome: Outcome::Cancelled as i32,
        actor: "someone".to_owned(),
        reason: "no longer wanted".to_owned(),
    };
    for _ in 0..2 {
        stage.say(&one, cancelled.clone()).await;
    }
    stage.passed(&one, &opened).await;
    eventually!(SOON, "the branch is deleted", {
        stage.forge.branch_head(&branch(&one)).await.unwrap().is_none()
    });
    stage.says(&one, &["PullRequestOpened", "StageStopped"]).await;
    let shown = stage.forge.pull_request(opened.number).await.unwrap().unwrap();
    assert_eq!(shown.state, State::Closed);
    // The next run goes its way; had the late verdict counted, it would have been merged before this.
    let two = task("VTID-01213", 2, 1);
    let opened = stage.proposed(&two, &[("page.css", "blue\nb\nc\n")]).await.pull_request.unwrap();
    stage.passed(&two, &opened).await;
    let expected =
        ["PullRequestOpened", "StageStopped", "PullRequestOpened", "MergeCompleted", "DeploymentVerified"];
    stage.says(&two, &expected).await;
}

#[tokio::test]
async fn the_end_of_a_run_closes_what_is_open_and_deletes_its_branches() {
    let stage = Stage::new().await;
    let failed = task("VTID-00001", 1, 1);
    let opened = stage.proposed(&failed, RED).await.pull_request.unwrap();
    let failure = Failure::new(Code::ChecksFailed, "unit failed");
    let event =
        TaskFailed { task: Some(failed.clone()), outcome: Outcome::Failed as i32, failure: Some(failure) };
    stage.say(&failed, event).await;
    eventually!(SOON, "the failed run's branch is gone", {
        stage.forge.branch_head(&branch(&failed)).await.unwrap().is_none()
    });
    let shown = stage.forge.pull_request(opened.number).await.unwrap().unwrap();
    assert_eq!(shown.state, State::Closed);
    assert_eq!(stage.names(&failed).await, ["PullRequestOpened"]);

    let done = task("VTID-00002", 1, 1);
    stage.released(&done, &[("other.css", "y\n")]).await;
    stage.say(&done, TaskCompleted { task: Some(done.clone()), ..TaskCompleted::default() }).await;
    eventually!(SOON, "the complete run's branch is gone", {
        stage.forge.branch_head(&branch(&done)).await.unwrap().is_none()
    });
    let said = stage.said(&done).await;
    let number = said.iter().find_map(|event| match event {
        DeployerEvent::PullRequestOpened(event) => event.pull_request.as_ref().map(|found| found.number),
        _ => None,
    });
    let shown = stage.forge.pull_request(number.unwrap()).await.unwrap().unwrap();
    assert_eq!(shown.state, State::Merged);
    assert!(stage.target.current().await.unwrap().is_some(), "the release goes on");
}

#[tokio::test]
async fn a_forge_that_breaks_at_the_end_of_a_run_keeps_no_target() {
    let mut stage = Stage::silent(Arc::new(System), None).await;
    let shy = Arc::new(ShyForge::new(stage.forge.clone(), true));
    stage.use_forge(shy.clone());
    stage.start();
    let one = task("VTID-00001", 1, 1);
    stage.proposed(&one, RED).await;
    let taken = stage.book().take("web", &(&one).into(), "").await.unwrap();
    assert!(taken.is_ok());
    shy.broken.store(true, Ordering::SeqCst);
    let failed = TaskFailed { task: Some(one.clone()), outcome: Outcome::Failed as i32, failure: None };
    stage.say(&one, failed).await;
    eventually!(SOON, "the target is free", stage.entry().await.owner.is_none());
}
