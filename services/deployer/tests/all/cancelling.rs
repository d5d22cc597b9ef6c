//! Cancel and pause on a real repository: what a person stops leaves nothing behind, what is merged goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millrace_decider::{Cause, Timestamp};
use millrace_events::DeployerEvent;
use millrace_events::v1::{
    CancelRequested, Outcome, TaskCancelled, TaskFailed, TaskPaused, TaskRef, TaskResumed, TransitionRefused,
    WorkOrderIssued,
};
use millrace_forge::{MergeRequest, State};
use millrace_runtime::clock::System;
use millrace_runtime::memory::ManualClock;
use millrace_testkit::eventually;

use super::shy_forge::ShyForge;
use super::stage::{SOON, Stage, branch, task};

const RED: &[(&str, &str)] = &[("page.css", "red\nb\nc\n")];

async fn cancel(stage: &Stage, one: &TaskRef) {
    let _place = asked(stage, one).await;
}

/// Asks for a cancel. Where that stands.
async fn asked(stage: &Stage, one: &TaskRef) -> Cause {
    let request =
        CancelRequested { task: one.task.clone(), run: one.run, actor: "ada".into(), reason: "no".into() };
    stage.answer(one, request, None).await
}

/// The dispatcher refuses what was asked for.
async fn refused(stage: &Stage, one: &TaskRef, asked: Cause) {
    let refused = TransitionRefused { task: Some(one.clone()), ..TransitionRefused::default() };
    let _place = stage.answer(one, refused, Some(asked)).await;
}

async fn cancelled(stage: &Stage, one: &TaskRef) {
    let event = TaskCancelled {
        task: Some(one.clone()),
        outcome: Outcome::Cancelled as i32,
        actor: "ada".into(),
        reason: "no".into(),
    };
    stage.say(one, event).await;
}

async fn paused(stage: &Stage, one: &TaskRef) {
    stage.say(one, TaskPaused { task: Some(one.clone()), ..TaskPaused::default() }).await;
}

async fn resumed(stage: &Stage, one: &TaskRef) {
    stage.say(one, TaskResumed { task: Some(one.clone()), ..TaskResumed::default() }).await;
}

async fn no_branches(stage: &Stage, one: &TaskRef) {
    let pattern = format!("refs/heads/millrace/{}", one.task);
    eventually!(SOON, "no branch is left", stage.plain(&["for-each-ref", &pattern]).await.is_empty());
}

fn stop_of(said: &[DeployerEvent]) -> Option<(u32, u32, String)> {
    said.iter().find_map(|event| match event {
        DeployerEvent::StageStopped(event) => {
            event.task.as_ref().map(|task| (task.run, task.attempt, event.reason.clone()))
        }
        _ => None,
    })
}

/// What merges the pull request at the forge, without the deployer knowing.
async fn merge_behind_its_back(stage: &Stage, number: u64, head: &str) {
    let request = MergeRequest {
        number,
        expected_head: head.to_owned(),
        expected_base: None,
        message: "what a killed deployer wrote".to_owned(),
        at: None,
    };
    let _merged = stage.forge.merge(&request).await.unwrap();
}

#[tokio::test]
async fn a_run_that_is_cancelled_while_it_executes_publishes_nothing_that_comes_late() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    stage.scheduled(&one).await;
    // Twice, and once more for the run of that moment: one stop.
    for run in [1, 1, 0] {
        cancel(&stage, &TaskRef { run, ..one.clone() }).await;
    }
    stage.says(&one, &["StageStopped"]).await;
    assert_eq!(stop_of(&stage.said(&one).await), Some((1, 0, "cancelled by ada: no".to_owned())));
    let change = stage.change(&one, RED).await;
    stage.say(&one, change).await;
    cancelled(&stage, &one).await;
    let two = task("VTID-01214", 1, 1);
    stage.released(&two, &[("other.css", "y\n")]).await;
    assert_eq!(stage.names(&one).await, ["StageStopped"]);
    no_branches(&stage, &one).await;
    // The next run is not stopped.
    let next = task("VTID-01213", 2, 1);
    stage.proposed(&next, RED).await;
}

#[tokio::test]
async fn a_cancel_closes_the_pull_request_first_and_no_verdict_merges_it_any_more() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    let before = stage.base().await;
    cancel(&stage, &one).await;
    stage.says(&one, &["PullRequestOpened", "StageStopped"]).await;
    let shown = stage.forge.pull_request(opened.number).await.unwrap().unwrap();
    assert_eq!(shown.state, State::Closed);
    stage.passed(&one, &opened).await;
    cancelled(&stage, &one).await;
    no_branches(&stage, &one).await;
    let two = task("VTID-01214", 1, 1);
    stage.proposed(&two, &[("other.css", "y\n")]).await;
    assert_eq!(stage.base().await, before, "nothing was merged");
    assert_eq!(stage.names(&one).await, ["PullRequestOpened", "StageStopped"]);
}

#[tokio::test]
async fn a_merge_that_nobody_recorded_wins_over_the_cancel() {
    let mut stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    stage.kill();
    merge_behind_its_back(&stage, opened.number, &opened.head).await;
    cancel(&stage, &one).await;
    stage.start();
    stage.says(&one, &["PullRequestOpened", "MergeCompleted"]).await;
    stage.passed(&one, &opened).await;
    let all = ["PullRequestOpened", "MergeCompleted", "DeploymentVerified"];
    stage.says(&one, &all).await;
    // After the merge a cancel changes nothing here, whenever it comes.
    cancel(&stage, &one).await;
    let two = task("VTID-01214", 1, 1);
    stage.proposed(&two, &[("other.css", "y\n")]).await;
    assert_eq!(stage.names(&one).await, all);
}

#[tokio::test]
async fn a_run_that_is_over_or_not_there_is_not_stopped() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let place = asked(&stage, &one).await;
    refused(&stage, &one, place).await;
    stage.released(&task("VTID-01214", 1, 1), &[("other.css", "y\n")]).await;
    assert!(stage.said(&one).await.is_empty(), "it was never scheduled");
    stage.scheduled(&one).await;
    let place = asked(&stage, &TaskRef { run: 2, ..one.clone() }).await;
    refused(&stage, &one, place).await;
    stage.say(&one, TaskFailed { task: Some(one.clone()), ..TaskFailed::default() }).await;
    cancel(&stage, &one).await;
    stage.released(&task("VTID-01215", 1, 1), &[("other.css", "z\n")]).await;
    assert!(stage.said(&one).await.is_empty());
}

/// The dispatcher is behind: it will have the run, handle the cancel and wait for the stop.
#[tokio::test]
async fn a_cancel_that_comes_before_its_run_stops_it_once_it_is_there() {
    let stage = Stage::new().await;
    let (named, unnamed, seen) =
        (task("VTID-01213", 1, 1), task("VTID-01214", 1, 1), task("VTID-01215", 1, 1));
    cancel(&stage, &named).await;
    cancel(&stage, &TaskRef { run: 0, ..unnamed.clone() }).await;
    stage.scheduled(&seen).await;
    cancel(&stage, &seen).await;
    stage.says(&seen, &["StageStopped"]).await;
    for one in [&named, &unnamed] {
        assert!(stage.said(one).await.is_empty());
        stage.scheduled(one).await;
    }
    for one in [&named, &unnamed] {
        stage.says(one, &["StageStopped"]).await;
        assert_eq!(stop_of(&stage.said(one).await).map(|(run, attempt, _)| (run, attempt)), Some((1, 0)));
    }
}

/// A pause is looked for right before each step that the forge shows, not only at first.
#[tokio::test]
async fn a_pause_in_the_middle_of_opening_or_merging_holds_the_next_step() {
    let mut stage = Stage::silent(Arc::new(System), None).await;
    let shy = Arc::new(ShyForge::new(stage.forge.clone(), true));
    stage.use_forge(shy.clone());
    stage.start();
    let one = task("VTID-01213", 1, 1);
    let gate = stage.gate();
    stage.scheduled(&one).await;
    let change = stage.change(&one, RED).await;
    gate.close();
    stage.say(&one, change).await;
    eventually!(SOON, "the repository is wanted", gate.has_caller());
    paused(&stage, &one).await;
    gate.open();
    stage.released(&task("VTID-01214", 1, 1), &[("other.css", "2\n")]).await;
    assert_eq!(stage.forge.branch_head(&branch(&one)).await.unwrap(), None, "nothing is pushed");

    shy.pushes.close();
    resumed(&stage, &one).await;
    eventually!(SOON, "the push is begun", shy.pushes.has_caller());
    paused(&stage, &one).await;
    shy.pushes.open();
    stage.released(&task("VTID-01215", 1, 1), &[("other.css", "3\n")]).await;
    assert!(stage.forge.branch_head(&branch(&one)).await.unwrap().is_some());
    assert_eq!(stage.forge.find_pull_request(&branch(&one)).await.unwrap(), None, "nothing is proposed");

    resumed(&stage, &one).await;
    let mut opened = stage.opened(&one).await.pull_request.unwrap();
    shy.looks.close();
    stage.passed(&one, &opened).await;
    eventually!(SOON, "the pull request is looked at", shy.looks.has_caller());
    paused(&stage, &one).await;
    shy.looks.open();
    stage.released(&task("VTID-01216", 1, 1), &[("other.css", "4\n")]).await;
    assert_eq!(stage.names(&one).await, ["PullRequestOpened"], "nothing is merged, and the target is free");
    opened.base = stage.base().await;
    stage.passed(&one, &opened).await;
    resumed(&stage, &one).await;
    eventually!(SOON, "the release", { stage.names(&one).await.last() == Some(&"DeploymentVerified") });
}

#[tokio::test]
async fn a_paused_run_is_neither_proposed_nor_merged_and_keeps_no_target() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    stage.scheduled(&one).await;
    paused(&stage, &one).await;
    let change = stage.change(&one, RED).await;
    stage.say(&one, change).await;
    let two = task("VTID-01214", 1, 1);
    stage.proposed(&two, &[("other.css", "y\n")]).await;
    assert!(stage.said(&one).await.is_empty());
    assert_eq!(stage.forge.branch_head(&branch(&one)).await.unwrap(), None, "nor is anything pushed");
    resumed(&stage, &one).await;
    let mut opened = stage.opened(&one).await.pull_request.unwrap();

    paused(&stage, &one).await;
    stage.passed(&one, &opened).await;
    let three = task("VTID-01215", 1, 1);
    stage.released(&three, &[("third.css", "z\n")]).await;
    assert_eq!(stage.names(&one).await, ["PullRequestOpened"], "the other had the target meanwhile");
    // The base has moved under it; a verdict on the new one was given while it was paused.
    opened.base = stage.base().await;
    stage.passed(&one, &opened).await;
    resumed(&stage, &one).await;
    eventually!(SOON, "the release", { stage.names(&one).await.last() == Some(&"DeploymentVerified") });
    assert!(stage.file("page.css").await.starts_with("red"));
}

#[tokio::test]
async fn a_merge_that_nobody_recorded_is_finished_in_a_pause_too() {
    let mut stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    stage.kill();
    merge_behind_its_back(&stage, opened.number, &opened.head).await;
    paused(&stage, &one).await;
    stage.passed(&one, &opened).await;
    stage.start();
    stage.says(&one, &["PullRequestOpened", "MergeCompleted", "DeploymentVerified"]).await;
}

#[tokio::test]
async fn what_an_order_left_that_was_offered_again_after_a_pause_is_left_alone() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let order = |round: u32| millrace_events::v1::WorkOrder {
        id: format!("{}/1.1/change/{round}", one.task),
        task: Some(one.clone()),
        ..Default::default()
    };
    for round in [1, 2] {
        let issued =
            WorkOrderIssued { task: Some(one.clone()), order: Some(order(round)), ..Default::default() };
        stage.say(&one, issued).await;
    }
    let late = stage.change(&one, RED).await;
    stage.say(&one, late.clone()).await;
    let mut second = stage.change(&one, &[("page.css", "blue\nb\nc\n")]).await;
    second.order = order(2).id;
    stage.say(&one, second.clone()).await;
    assert_eq!(stage.opened(&one).await.pull_request.unwrap().head, second.head);
    assert_ne!(late.head, second.head);
}

/// S4-IMP-30: a deployer that dies after any step of opening the pull request of a second attempt leaves, once
/// it is back, one pull request and one comment.
#[tokio::test]
async fn s4_imp_30_killed_after_any_step_there_is_one_pull_request_and_one_comment() {
    let mut steps = 0;
    for dies_after in 1.. {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_767_225_600_000)));
        let mut stage = Stage::silent(clock.clone(), Some(clock.clone())).await;
        let shy = Arc::new(ShyForge::new(stage.forge.clone(), true));
        stage.use_forge(shy.clone());
        stage.start();
        let one = task("VTID-01213", 1, 1);
        let first = stage.proposed(&one, RED).await.pull_request.unwrap();
        let two = task("VTID-01213", 1, 2);
        stage.say(&two, WorkOrderIssued { task: Some(two.clone()), ..WorkOrderIssued::default() }).await;
        let change = stage.change(&two, &[("page.css", "blue\nb\nc\n")]).await;
        shy.steps_left.store(dies_after, Ordering::SeqCst);
        stage.say(&two, change).await;
        eventually!(SOON, "it is stuck or through", {
            clock.advance(Duration::from_millis(10));
            shy.is_stuck.load(Ordering::SeqCst) || stage.names(&two).await.len() == 2
        });
        let was_stuck = shy.is_stuck.load(Ordering::SeqCst);
        if was_stuck {
            steps = dies_after;
            assert_eq!(stage.names(&two).await.len(), 1, "nothing is recorded before it is done");
            stage.kill();
            stage.start();
        }
        stage.says(&two, &["PullRequestOpened", "PullRequestOpened"]).await;
        let second = stage.opened(&two).await.pull_request.unwrap();
        let pulls = stage.plain(&["for-each-ref", "--format=%(refname)", "refs/millrace/pulls"]).await;
        assert_eq!(pulls.lines().count(), 2, "after step {dies_after}: {pulls}");
        let old = stage.forge.pull_request(first.number).await.unwrap().unwrap();
        let new = stage.forge.pull_request(second.number).await.unwrap().unwrap();
        assert_eq!((old.state, new.state), (State::Closed, State::Open), "after step {dies_after}");
        let comments = stage.forge.comments(first.number).await.unwrap();
        let links = comments.iter().filter(|comment| comment.body.contains(&format!("#{}", second.number)));
        assert_eq!(links.count(), 1, "after step {dies_after}: {comments:?}");
        if !was_stuck {
            break;
        }
    }
    assert_eq!(steps, 7, "push, search, open, look, profile, comment, close");
}
