//! Releases, verdicts, rollbacks: one at a time per target.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millrace_deployer::ports::{ReleaseRequest, Target as _};
use millrace_events::DeployerEvent;
use millrace_events::v1::{Failure, MergeCompleted, PullRequest, RollbackCompleted, TaskRef};
use millrace_forge::MergeRequest;
use millrace_runtime::clock::{Clock as _, System};
use millrace_testkit::eventually;

use super::app::Bench;
use super::scripted_target::Behaviour;
use super::shy_forge::ShyForge;
use super::stage::{SOON, Stage, task};

const RED: &[(&str, &str)] = &[("page.css", "red\nb\nc\n")];
const ROLLED_BACK: [&str; 4] =
    ["PullRequestOpened", "MergeCompleted", "DeploymentFailed", "RollbackCompleted"];

async fn rollback(stage: &Stage, one: &TaskRef) -> (RollbackCompleted, Failure) {
    let said = stage.said(one).await;
    let found = said.into_iter().find_map(|event| match event {
        DeployerEvent::RollbackCompleted(event) => Some(event),
        _ => None,
    });
    let found = found.unwrap();
    let failure = found.failure.clone().unwrap();
    (found, failure)
}

#[tokio::test]
async fn s2_b5_s2_g6b_a_wrong_sha_is_rolled_back_and_the_next_task_is_released_without_it() {
    let stage = Stage::new().await;
    let one = task("VTID-00001", 1, 1);
    let first = stage.released(&one, &[("other.css", "one\n")]).await;

    // Healthy, and reporting what ran before: that is no release.
    stage.target.next_releases(Some(Behaviour::Reports(first.clone())));
    let two = task("VTID-00002", 1, 1);
    let opened = stage.proposed(&two, RED).await.pull_request.unwrap();
    stage.passed(&two, &opened).await;
    stage.says(&two, &ROLLED_BACK).await;
    let bad = stage.merge_commit(&two).await;
    let (rolled_back, failure) = rollback(&stage, &two).await;
    assert_eq!((&rolled_back.refused_commit, &rolled_back.restored_commit), (&bad, &first));
    assert_eq!(failure.code_name(), "RELEASE_SHA_MISMATCH");
    assert_eq!(failure.context["reported_sha"], first);
    assert_eq!(stage.target.running(), Some(first.clone()));
    let calls = stage.target.calls();
    assert_eq!(calls[1..], [format!("roll out {bad}"), format!("roll out {first}")]);
    eventually!(SOON, "the target is free", stage.entry().await.owner.is_none());
    let entry = stage.entry().await;
    assert_eq!((entry.refused, &entry.release), (vec![bad.clone()], &first));
    // The base branch does not contain the change any more, and says why.
    assert!(stage.file("page.css").await.starts_with("a\n"));
    assert_eq!(stage.file("other.css").await, "one\n");
    let base = stage.base().await;
    assert!(stage.forge.reverted_by(&bad, &base).await.unwrap().is_some());

    stage.target.next_releases(None);
    let three = task("VTID-00003", 1, 1);
    let third = stage.released(&three, &[("other.css", "three\n")]).await;
    assert_eq!(stage.target.running(), Some(third.clone()));
    assert!(stage.file("page.css").await.starts_with("a\n"), "what was rolled back stays out");
    eventually!(SOON, "the third release is noted", stage.entry().await.release == third);
}

#[tokio::test]
async fn two_tasks_for_one_target_go_one_after_the_other() {
    let stage = Stage::on_manual_clock().await;
    stage.target.next_releases(Some(Behaviour::Sick));
    let one = task("VTID-00001", 1, 1);
    let two = task("VTID-00002", 1, 1);
    let first = stage.proposed(&one, RED).await.pull_request.unwrap();
    let mut second = stage.proposed(&two, &[("other.css", "two\n")]).await.pull_request.unwrap();
    stage.passed(&one, &first).await;
    stage.says(&one, &["PullRequestOpened", "MergeCompleted"]).await;
    stage.passed(&two, &second).await;
    // While the first has no verdict the second waits: all of it happens after all of the first.
    stage.target.next_releases(None);
    stage.says(&one, &ROLLED_BACK).await;
    stage.says(&two, &["PullRequestOpened", "MergeFailed"]).await;
    let code = stage.failure(&two).await.0;
    assert_eq!(code, "PR_BASE_MOVED", "it was checked on a base that has moved on and back");
    second.base = stage.base().await;
    stage.passed(&two, &second).await;
    stage.says(&two, &["PullRequestOpened", "MergeFailed", "MergeCompleted", "DeploymentVerified"]).await;
    let calls = stage.target.calls();
    let order = [
        format!("roll out {}", stage.merge_commit(&one).await),
        "stop".to_owned(),
        format!("roll out {}", stage.merge_commit(&two).await),
    ];
    assert_eq!(calls, order);
}

#[tokio::test]
async fn s2_g6a_a_release_that_does_not_answer_fails_at_the_deadline() {
    let stage = Stage::on_manual_clock().await;
    for (id, behaviour, code) in [
        ("VTID-00001", Behaviour::Silent, "DEPLOYMENT_TIMEOUT"),
        ("VTID-00002", Behaviour::Sick, "HEALTH_CHECK_FAILED"),
    ] {
        stage.target.next_releases(Some(behaviour));
        let one = task(id, 1, 1);
        let opened = stage.proposed(&one, &[("page.css", id)]).await.pull_request.unwrap();
        stage.passed(&one, &opened).await;
        stage.says(&one, &["PullRequestOpened", "MergeCompleted"]).await;
        let merged =
            stage.manual.as_ref().map(|clock| millrace_runtime::clock::Clock::now(&**clock)).unwrap();
        stage.says(&one, &ROLLED_BACK).await;
        let now = stage.manual.as_ref().map(|clock| millrace_runtime::clock::Clock::now(&**clock)).unwrap();
        assert!(now.since(merged) >= Duration::from_secs(590), "not before its time");
        let (rolled_back, failure) = rollback(&stage, &one).await;
        assert_eq!(failure.code_name(), code);
        assert_eq!(rolled_back.restored_commit, "", "nothing ran before");
        assert_eq!(stage.target.running(), None, "so the target is stopped");
    }
}

#[tokio::test]
async fn a_start_command_that_exits_fails_at_once() {
    let stage = Stage::new().await;
    let before = stage.released(&task("VTID-00001", 1, 1), &[("other.css", "one\n")]).await;
    stage.target.next_releases(Some(Behaviour::Exits));
    let one = task("VTID-00002", 1, 1);
    let opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    stage.passed(&one, &opened).await;
    stage.says(&one, &ROLLED_BACK).await;
    let (rolled_back, failure) = rollback(&stage, &one).await;
    assert_eq!(failure.code_name(), "DEPLOYMENT_FAILED");
    assert!(failure.message.contains("boom"), "{}", failure.message);
    assert_eq!(rolled_back.restored_commit, before);
}

#[tokio::test]
async fn a_rollback_that_fails_says_so() {
    let stage = Stage::new().await;
    let one = task("VTID-00001", 1, 1);
    let before = stage.released(&one, &[("other.css", "one\n")]).await;
    stage.target.next_releases(Some(Behaviour::Exits));
    // What was verified before does not start any more either.
    stage.target.forget(&before);
    let two = task("VTID-00002", 1, 1);
    let opened = stage.proposed(&two, RED).await.pull_request.unwrap();
    stage.passed(&two, &opened).await;
    let expected = ["PullRequestOpened", "MergeCompleted", "DeploymentFailed", "RollbackFailed"];
    stage.says(&two, &expected).await;
    let (code, message) = stage.failure(&two).await;
    assert_eq!(code, "ROLLBACK_FAILED");
    assert!(message.contains("DEPLOYMENT_FAILED"), "{message}");
    assert!(stage.file("page.css").await.starts_with("a\n"), "the base is without it all the same");
}

#[tokio::test]
async fn after_a_rollback_that_could_not_be_reverted_the_target_is_held_until_somebody_does() {
    let mut stage = Stage::on_manual_clock().await;
    stage.kill();
    let forge = Arc::new(ShyForge::new(stage.forge.clone(), true));
    stage.use_forge(forge.clone());
    stage.start();
    stage.target.next_releases(Some(Behaviour::Sick));
    let one = task("VTID-00001", 1, 1);
    let opened = stage.proposed(&one, RED).await.pull_request.unwrap();
    stage.passed(&one, &opened).await;
    stage.says(&one, &["PullRequestOpened", "MergeCompleted"]).await;
    let bad = stage.merge_commit(&one).await;
    // Somebody builds on the bad change before it is known to be bad: it cannot be taken out by itself.
    stage.push_to_main(&[("page.css", "darkred\nb\nc\n")]).await;
    stage.says(&one, &ROLLED_BACK).await;
    let (_, failure) = rollback(&stage, &one).await;
    assert!(failure.context["not_reverted"].contains(&bad), "{:?}", failure.context);

    stage.target.next_releases(None);
    let two = task("VTID-00002", 1, 1);
    let mut second = stage.proposed(&two, &[("other.css", "two\n")]).await.pull_request.unwrap();
    let (asked, searched) = (forge.heads.load(Ordering::SeqCst), forge.searches.load(Ordering::SeqCst));
    stage.passed(&two, &second).await;
    eventually!(SOON, "the second task asks again and again", {
        stage.manual.as_ref().unwrap().advance(Duration::from_secs(1));
        let owner = stage.entry().await.owner;
        assert_eq!(owner, None, "who is held owns no target");
        forge.heads.load(Ordering::SeqCst) > asked + 3
    });
    assert_eq!(forge.searches.load(Ordering::SeqCst), searched + 1, "the same history is searched once");
    assert_eq!(stage.names(&two).await, ["PullRequestOpened"]);
    // By hand, with git's own words.
    let clone = stage.scratch.path().join("clones/person");
    let git = super::stage::git(&clone);
    std::fs::write(clone.join("page.css"), "a\nb\nc\n").unwrap();
    let message = format!("This reverts commit {bad}.");
    git.run(["commit", "-q", "-a", "-m", &message]).await.unwrap();
    git.run(["push", "-q", "origin", "HEAD:refs/heads/main"]).await.unwrap();
    stage.says(&two, &["PullRequestOpened", "MergeFailed"]).await;
    second.base = stage.base().await;
    stage.passed(&two, &second).await;
    stage.says(&two, &["PullRequestOpened", "MergeFailed", "MergeCompleted", "DeploymentVerified"]).await;
}

#[tokio::test]
async fn killed_in_the_middle_of_a_rollback_it_is_finished() {
    let mut stage = Stage::new().await;
    let before = stage.released(&task("VTID-00001", 1, 1), &[("other.css", "one\n")]).await;
    stage.target.next_releases(Some(Behaviour::Silent));
    let two = task("VTID-00002", 1, 1);
    let opened = stage.proposed(&two, RED).await.pull_request.unwrap();
    stage.passed(&two, &opened).await;
    stage.says(&two, &["PullRequestOpened", "MergeCompleted"]).await;
    stage.kill();
    let failure = Failure::new(millrace_events::Code::HealthCheckFailed, "it was sick");
    let failed = millrace_events::v1::DeploymentFailed {
        task: Some(two.clone()),
        pull_request: Some(opened.clone()),
        merge_commit: stage.merge_commit(&two).await,
        failure: Some(failure),
    };
    stage.say(&two, failed).await;
    stage.passed(&two, &opened).await;
    stage.start();
    stage.says(&two, &ROLLED_BACK).await;
    assert_eq!(rollback(&stage, &two).await.0.restored_commit, before);
    eventually!(SOON, "the target is free", stage.entry().await.owner.is_none());
}

/// A merge that stands on the forge and in the log, by a deployer that died right after.
async fn merged_and_dead(stage: &mut Stage, one: &TaskRef) -> (PullRequest, String) {
    let opened = stage.proposed(one, RED).await.pull_request.unwrap();
    stage.kill();
    let request = MergeRequest {
        number: opened.number,
        expected_head: opened.head.clone(),
        expected_base: None,
        message: "merged".to_owned(),
        at: None,
    };
    let merge_commit = stage.forge.merge(&request).await.unwrap().commit;
    let completed = MergeCompleted {
        task: Some(one.clone()),
        pull_request: Some(opened.clone()),
        merge_commit: merge_commit.clone(),
    };
    stage.say(one, completed).await;
    (opened, merge_commit)
}

#[tokio::test]
async fn s2_g6a_a_dead_deployers_release_ends_at_its_deadline() {
    let mut stage = Stage::on_manual_clock().await;
    let one = task("VTID-00001", 1, 1);
    let (_, commit) = merged_and_dead(&mut stage, &one).await;
    stage.target.next_releases(Some(Behaviour::Silent));
    // It was started before the deployer died, so its time is over.
    let _ = stage.target.roll_out(&ReleaseRequest { commit: commit.clone() }).await.unwrap();
    stage.manual.as_ref().unwrap().advance(Duration::from_secs(601));
    let back = stage.manual.as_ref().unwrap().now();
    stage.deadline_fires(&one, &commit).await;
    stage.start();
    stage.says(&one, &ROLLED_BACK).await;
    assert_eq!(rollback(&stage, &one).await.1.code_name(), "DEPLOYMENT_TIMEOUT");
    assert!(stage.manual.as_ref().unwrap().now().since(back) < Duration::from_secs(600));
    assert_eq!(stage.target.calls(), [format!("roll out {commit}"), "stop".to_owned()]);
}

#[tokio::test]
async fn a_release_that_nobody_was_there_to_start_is_started_late_and_has_its_whole_time() {
    let mut stage = Stage::on_manual_clock().await;
    let one = task("VTID-00001", 1, 1);
    let (_, commit) = merged_and_dead(&mut stage, &one).await;
    stage.manual.as_ref().unwrap().advance(Duration::from_secs(3_600));
    stage.deadline_fires(&one, &commit).await;
    // It needs a while until it is healthy.
    stage.target.next_releases(Some(Behaviour::Sick));
    stage.start();
    eventually!(SOON, "it is started", stage.target.running() == Some(commit.clone()));
    for _ in 0..60 {
        stage.manual.as_ref().unwrap().advance(Duration::from_secs(5));
        tokio::task::yield_now().await;
    }
    stage.target.forget(&commit);
    stage.says(&one, &["PullRequestOpened", "MergeCompleted", "DeploymentVerified"]).await;
    assert_eq!(stage.target.calls(), [format!("roll out {commit}")]);
}

#[tokio::test]
async fn a_deadline_finds_a_release_that_is_there_all_the_same() {
    let mut stage = Stage::on_manual_clock().await;
    let one = task("VTID-00001", 1, 1);
    let (_, commit) = merged_and_dead(&mut stage, &one).await;
    let _ = stage.target.roll_out(&ReleaseRequest { commit: commit.clone() }).await.unwrap();
    stage.manual.as_ref().unwrap().advance(Duration::from_secs(601));
    stage.deadline_fires(&one, &commit).await;
    stage.start();
    stage.says(&one, &["PullRequestOpened", "MergeCompleted", "DeploymentVerified"]).await;
}

#[tokio::test]
async fn a_refused_commit_is_never_released_again() {
    let mut stage = Stage::new().await;
    let one = task("VTID-00001", 1, 1);
    let (opened, commit) = merged_and_dead(&mut stage, &one).await;
    stage.book().refuse("web", &commit).await.unwrap();
    stage.passed(&one, &opened).await;
    stage.start();
    stage.says(&one, &ROLLED_BACK).await;
    assert_eq!(stage.target.calls(), ["stop"], "it is not even started");
}

#[tokio::test]
async fn a_real_process_is_released_and_rolled_back() {
    let bench = Bench::new().await;
    let mut stage = Stage::silent(Arc::new(System), None).await;
    let app = include_str!("app.py");
    stage.push_to_main(&[("app.py", app)]).await;
    let repository = stage.scratch.path().join("origin.git");
    let target = Arc::new(super::app::target(bench.config(), &repository).await);
    stage.use_target(target.clone());
    stage.start();
    let one = task("VTID-00001", 1, 1);
    let first = stage.released(&one, &[("other.css", "one\n")]).await;
    assert_eq!(target.current().await.unwrap().unwrap().commit, first);

    // The second release says that it is another commit.
    let wrong = app.replace("SHA = os.environ[\"MILLRACE_COMMIT\"]", "SHA = \"0\" * 40");
    assert_ne!(wrong, app);
    let two = task("VTID-00002", 1, 1);
    let opened = stage.proposed(&two, &[("app.py", &wrong)]).await.pull_request.unwrap();
    stage.passed(&two, &opened).await;
    stage.says(&two, &ROLLED_BACK).await;
    assert_eq!(rollback(&stage, &two).await.1.code_name(), "RELEASE_SHA_MISMATCH");
    let observed = target.observe().await.unwrap();
    assert!(super::app::is_verified(&observed, &first), "{}", observed.detail);
    target.stop().await.unwrap();
}
