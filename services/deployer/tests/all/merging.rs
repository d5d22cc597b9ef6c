//! The merge, and everything that stands against it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use millrace_events::DeployerEvent;
use millrace_events::v1::{
    MergeCompleted, PullRequest, TaskBlocked, TaskCancelled, TaskRef, WorkOrderIssued,
};
use millrace_forge::MergeRequest;
use millrace_runtime::clock::System;
use millrace_testkit::eventually;

use super::shy_forge::ShyForge;
use super::stage::{SOON, Stage, branch, task};

const RED: &[(&str, &str)] = &[("page.css", "red\nb\nc\n")];

async fn refused(stage: &Stage, one: &TaskRef, pull_request: &PullRequest) -> (String, String) {
    stage.passed(one, pull_request).await;
    stage.says(one, &["PullRequestOpened", "MergeFailed"]).await;
    assert_eq!(stage.entry().await.owner, None, "the target is free again");
    assert!(stage.target.calls().is_empty(), "nothing is released");
    let said = stage.said(one).await;
    let base = said.into_iter().find_map(|event| match event {
        DeployerEvent::MergeFailed(event) => Some(event.base),
        _ => None,
    });
    (stage.failure(one).await.0, base.unwrap())
}

#[tokio::test]
async fn what_was_validated_is_merged_and_released_once() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    for _ in 0..3 {
        stage.passed(&one, &opened).await;
    }
    let first = ["PullRequestOpened", "MergeCompleted", "DeploymentVerified"];
    stage.says(&one, &first).await;
    let commit = stage.merge_commit(&one).await;
    assert_eq!(stage.base().await, commit);
    let shown = stage.plain(&["log", "-1", "--format=%(trailers:key=Task-Id,valueonly)", &commit]).await;
    assert_eq!(shown, "VTID-01213");
    let said = stage.said(&one).await;
    let Some(DeployerEvent::DeploymentVerified(verified)) = said.last() else { panic!("{said:?}") };
    assert_eq!((&verified.release_commit, verified.superseded), (&commit, false));
    assert!(!verified.url.is_empty());
    // The next run is handled after the repeated verdicts: they have led to nothing.
    let two = task("VTID-01213", 2, 1);
    let opened = stage.proposed(&two, &[("page.css", "blue\nb\nc\n")]).await.pull_request.unwrap();
    stage.passed(&two, &opened).await;
    stage.says(&two, &[first, first].concat()).await;
    assert_eq!(stage.target.calls().len(), 2);
    assert_eq!(stage.entry().await.refused, Vec::<String>::new());
}

#[tokio::test]
async fn s2_g5_a_closed_pull_request_is_not_merged() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    stage.forge.close_pull_request(opened.number, "no").await.unwrap();
    assert_eq!(refused(&stage, &one, &opened).await.0, "PR_CLOSED");
}

#[tokio::test]
async fn s2_g5_a_deleted_pull_request_is_not_merged() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    stage.plain(&["update-ref", "-d", &format!("refs/millrace/pulls/{}", opened.number)]).await;
    assert_eq!(refused(&stage, &one, &opened).await.0, "PR_NOT_FOUND");
}

#[tokio::test]
async fn s2_g5_a_moved_head_is_not_merged() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    let moved = stage.change(&task("VTID-01213", 1, 9), &[("page.css", "evil\n")]).await;
    let clone = stage.scratch.path().join("clones/VTID-01213-1.9");
    let refspec = format!("+{}:refs/heads/{}", moved.head, branch(&one));
    super::stage::git(&clone).run(["push", "-q", "origin", &refspec]).await.unwrap();
    assert_eq!(refused(&stage, &one, &opened).await.0, "PR_HEAD_MOVED");
}

#[tokio::test]
async fn a_base_that_moved_since_the_checks_is_checked_again() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let mut opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    let base = stage.push_to_main(&[("other.css", "y\n")]).await;
    let (code, now) = refused(&stage, &one, &opened).await;
    assert_eq!((code.as_str(), &now), ("PR_BASE_MOVED", &base));
    // The same verdict again changes nothing; one for the new base does.
    stage.passed(&one, &opened).await;
    opened.base = now;
    stage.passed(&one, &opened).await;
    stage.says(&one, &["PullRequestOpened", "MergeFailed", "MergeCompleted", "DeploymentVerified"]).await;
}

#[tokio::test]
async fn a_conflict_ends_the_attempt_and_says_where_the_base_is() {
    let stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let mut opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    opened.base = stage.push_to_main(&[("page.css", "green\nb\nc\n")]).await;
    let (code, base) = refused(&stage, &one, &opened).await;
    assert_eq!((code.as_str(), &base), ("MERGE_CONFLICT", &opened.base));
}

#[tokio::test]
async fn a_task_without_a_target_is_not_merged() {
    let stage = Stage::new().await;
    let one = TaskRef { target: "nowhere".to_owned(), ..task("VTID-01213", 1, 1) };
    let opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    let before = stage.base().await;
    assert_eq!(refused(&stage, &one, &opened).await.0, "DEPLOYMENT_FAILED");
    assert_eq!(stage.base().await, before);
}

#[tokio::test]
async fn s2_a8_killed_between_merge_and_its_record_it_finishes_once() {
    let mut stage = Stage::new().await;
    let one = task("VTID-01213", 1, 1);
    let opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    stage.kill();
    let request = MergeRequest {
        number: opened.number,
        expected_head: opened.head.clone(),
        expected_base: None,
        message: "what the killed deployer wrote".to_owned(),
        at: None,
    };
    let merged = stage.forge.merge(&request).await.unwrap();
    stage.passed(&one, &opened).await;
    stage.start();
    stage.says(&one, &["PullRequestOpened", "MergeCompleted", "DeploymentVerified"]).await;
    assert_eq!(stage.merge_commit(&one).await, merged.commit);
    assert_eq!(stage.base().await, merged.commit, "there is no second merge");
}

#[tokio::test]
async fn killed_between_the_record_of_the_merge_and_the_release_it_is_released() {
    let mut stage = Stage::silent(Arc::new(System), None).await;
    stage.start();
    let one = task("VTID-01213", 1, 1);
    let opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    stage.kill();
    let request = MergeRequest {
        number: opened.number,
        expected_head: opened.head.clone(),
        expected_base: None,
        message: "merged".to_owned(),
        at: None,
    };
    let merge_commit = stage.forge.merge(&request).await.unwrap().commit;
    let completed =
        MergeCompleted { task: Some(one.clone()), pull_request: Some(opened.clone()), merge_commit };
    stage.say(&one, completed).await;
    stage.passed(&one, &opened).await;
    stage.start();
    stage.says(&one, &["PullRequestOpened", "MergeCompleted", "DeploymentVerified"]).await;
    assert_eq!(stage.target.calls().len(), 1);
}

#[tokio::test]
async fn the_dispatcher_is_asked_whether_the_attempt_still_counts() {
    let stage = Stage::new().await;
    let before = stage.base().await;
    // Another attempt was opened: nothing but the dispatcher's log knows it yet.
    let late = task("VTID-00001", 1, 1);
    let opened = stage.proposed(&late, RED).await.pull_request.unwrap();
    let next = task("VTID-00001", 1, 2);
    stage.say(&next, WorkOrderIssued { task: Some(next.clone()), ..WorkOrderIssued::default() }).await;
    stage.passed(&late, &opened).await;
    stage.says(&late, &["PullRequestOpened", "StageStopped"]).await;

    let blocked = task("VTID-00002", 1, 1);
    let opened = stage.proposed(&blocked, RED).await.pull_request.unwrap();
    stage.say(&blocked, TaskBlocked { task: Some(blocked.clone()), failure: None }).await;
    stage.passed(&blocked, &opened).await;
    stage.says(&blocked, &["PullRequestOpened", "StageStopped"]).await;
    assert_eq!(stage.base().await, before, "nothing is merged");
}

/// A merge that stands on the forge, by a deployer that died before it could say so.
async fn merged_in_silence(stage: &mut Stage, one: &TaskRef) -> (PullRequest, String) {
    let opened = stage.proposed(one, RED).await.pull_request.unwrap();
    stage.kill();
    let request = MergeRequest {
        number: opened.number,
        expected_head: opened.head.clone(),
        expected_base: None,
        message: "what the killed deployer wrote".to_owned(),
        at: None,
    };
    let merged = stage.forge.merge(&request).await.unwrap();
    (opened, merged.commit)
}

#[tokio::test]
async fn a_merge_that_the_end_of_the_run_overtook_is_recorded_all_the_same() {
    let mut stage = Stage::new().await;
    let one = task("VTID-00001", 1, 1);
    let (opened, commit) = merged_in_silence(&mut stage, &one).await;
    stage.say(&one, TaskBlocked { task: Some(one.clone()), failure: None }).await;
    stage.passed(&one, &opened).await;
    stage.start();
    stage.says(&one, &["PullRequestOpened", "MergeCompleted", "DeploymentVerified"]).await;
    assert_eq!(stage.merge_commit(&one).await, commit);
}

#[tokio::test]
async fn a_merge_that_a_cancel_overtook_is_recorded_all_the_same() {
    let mut stage = Stage::new().await;
    let one = task("VTID-00001", 1, 1);
    let (opened, commit) = merged_in_silence(&mut stage, &one).await;
    stage.say(&one, TaskCancelled { task: Some(one.clone()), ..TaskCancelled::default() }).await;
    stage.start();
    stage.says(&one, &["PullRequestOpened", "StageStopped"]).await;
    stage.passed(&one, &opened).await;
    stage.says(&one, &["PullRequestOpened", "StageStopped", "MergeCompleted", "DeploymentVerified"]).await;
    assert_eq!(stage.merge_commit(&one).await, commit);
    assert_eq!(stage.base().await, commit, "there is no second merge");
}

/// A merge that was made and not answered is nobody's to call failed, however often it is asked for.
#[tokio::test]
async fn a_merge_that_the_forge_does_not_answer_for_is_never_given_up() {
    let mut stage = Stage::silent(Arc::new(System), None).await;
    let shy = Arc::new(ShyForge::new(stage.forge.clone(), true));
    stage.use_forge(shy.clone());
    stage.start();
    let one = task("VTID-00001", 1, 1);
    let opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    shy.is_silent_about_merges.store(true, Ordering::SeqCst);
    stage.passed(&one, &opened).await;
    // More often than an effect is tried before it is given up.
    eventually!(SOON, "it is asked for again and again", {
        assert_eq!(stage.names(&one).await, ["PullRequestOpened"]);
        shy.merges.load(Ordering::SeqCst) > 8
    });
    shy.is_silent_about_merges.store(false, Ordering::SeqCst);
    stage.says(&one, &["PullRequestOpened", "MergeCompleted", "DeploymentVerified"]).await;
    assert_eq!(stage.merge_commit(&one).await, stage.base().await, "there is one merge");
}
