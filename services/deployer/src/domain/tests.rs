#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use millrace_decider::test::{Scenario, given};
use millrace_decider::{Due, Refusal};
use millrace_events::v1::{
    CancelRequested, DeploymentFailed, DeploymentVerified, ExecutionCompleted, Failure, MergeCompleted,
    MergeFailed, PullRequest, PullRequestFailed, PullRequestOpened, RollbackCompleted, StageStopped, TaskRef,
    TimerFired, ValidationPassed,
};
use millrace_events::{Code, DeployerEvent};

use super::{DEPLOYMENT, Deployer, Effect, End, Input};

const DEPLOYER: Deployer = Deployer { deployment: Duration::from_secs(600) };

fn task(run: u32, attempt: u32) -> TaskRef {
    TaskRef { task: "VTID-01213".to_owned(), run, attempt, target: "web".to_owned(), ..TaskRef::default() }
}

fn pull_request(base: &str) -> PullRequest {
    PullRequest { number: 7, head: "head".to_owned(), base: base.to_owned(), ..PullRequest::default() }
}

fn opened(task: TaskRef) -> DeployerEvent {
    PullRequestOpened {
        task: Some(task),
        pull_request: Some(pull_request("b1")),
        ..PullRequestOpened::default()
    }
    .into()
}

fn merged() -> DeployerEvent {
    MergeCompleted {
        task: Some(task(1, 1)),
        pull_request: Some(pull_request("b1")),
        merge_commit: "m1".to_owned(),
    }
    .into()
}

fn failed() -> DeployerEvent {
    DeploymentFailed {
        task: Some(task(1, 1)),
        merge_commit: "m1".to_owned(),
        failure: Some(Failure::new(Code::HealthCheckFailed, "sick")),
        ..DeploymentFailed::default()
    }
    .into()
}

fn rolled_back() -> DeployerEvent {
    RollbackCompleted {
        task: Some(task(1, 1)),
        refused_commit: "m1".to_owned(),
        ..RollbackCompleted::default()
    }
    .into()
}

fn verified() -> DeployerEvent {
    DeploymentVerified {
        task: Some(task(1, 1)),
        merge_commit: "m1".to_owned(),
        release_commit: "m1".to_owned(),
        ..DeploymentVerified::default()
    }
    .into()
}

fn base_moved(base: &str) -> DeployerEvent {
    MergeFailed {
        task: Some(task(1, 1)),
        pull_request: Some(pull_request(base)),
        failure: Some(Failure::new(Code::PrBaseMoved, "moved")),
        base: "b2".to_owned(),
    }
    .into()
}

fn stopped(task: TaskRef) -> DeployerEvent {
    StageStopped { task: Some(task), stage: "pr_opened".to_owned(), reason: "why".to_owned() }.into()
}

fn executed(task: TaskRef) -> Input {
    let event = ExecutionCompleted { task: Some(task), ..ExecutionCompleted::default() };
    Input::Executed { event: Box::new(event), position: "MILLRACE_WORKER_0:1".to_owned() }
}

fn passed(task: TaskRef, base: &str) -> Input {
    Input::Passed(Box::new(ValidationPassed {
        task: Some(task),
        pull_request: Some(pull_request(base)),
        base_checked: true,
        ..ValidationPassed::default()
    }))
}

fn cancelled(task: TaskRef) -> Input {
    Input::Ended { task, end: End::Cancelled, reason: "no longer wanted".to_owned() }
}

fn fired() -> Input {
    Input::Timer(TimerFired { name: DEPLOYMENT.to_owned(), task: Some(task(1, 1)), ..TimerFired::default() })
}

/// What is due, by name.
fn due(scenario: &Scenario<'_, Deployer>, input: &Input) -> Vec<&'static str> {
    let owed = scenario.due(input);
    owed.iter()
        .map(|owed| match owed {
            Due::Deadline(_) => "deadline",
            Due::Effect(Effect::OpenPullRequest { .. }) => "open",
            Due::Effect(Effect::Merge(_)) => "merge",
            Due::Effect(Effect::FindMerge(_)) => "find merge",
            Due::Effect(Effect::Deploy(_)) => "deploy",
            Due::Effect(Effect::RollBack { .. }) => "roll back",
            Due::Effect(Effect::FreeTarget { .. }) => "free",
            Due::Effect(Effect::CleanUp { .. }) => "clean up",
            Due::Effect(Effect::FindRun { .. }) => "find run",
            Due::Effect(Effect::ClosePullRequests { .. }) => "close",
        })
        .collect()
}

#[test]
fn a_change_makes_a_pull_request_due_until_it_is_answered() {
    let mut scenario = given(&DEPLOYER);
    assert_eq!(due(&scenario, &executed(task(1, 1))), ["open"]);
    scenario.when(&Input::found(opened(task(1, 1)))).event();
    assert!(due(&scenario, &executed(task(1, 1))).is_empty());
    assert!(scenario.when(&Input::found(opened(task(1, 1)))).is_nothing(), "the first answer stands");
    let failed = PullRequestFailed { task: Some(task(1, 1)), failure: None };
    assert!(scenario.when(&Input::found(failed)).is_nothing());
}

#[test]
fn a_later_attempt_replaces_the_earlier_one() {
    let scenario = given(&DEPLOYER).event(opened(task(1, 1)));
    let owed = scenario.due(&executed(task(1, 2)));
    let Due::Effect(Effect::OpenPullRequest { previous, .. }) = &owed[0] else { panic!("{owed:?}") };
    assert_eq!(*previous, Some(7));
    let scenario = scenario.event(opened(task(1, 2)));
    assert!(due(&scenario, &executed(task(1, 1))).is_empty());
    assert_eq!(
        due(&scenario, &passed(task(1, 1), "b1")),
        ["free", "find merge"],
        "a late verdict merges nothing"
    );
    // Another run's pull request was closed with that run.
    let owed = scenario.due(&executed(task(2, 1)));
    let Due::Effect(Effect::OpenPullRequest { previous, .. }) = &owed[0] else { panic!("{owed:?}") };
    assert_eq!(*previous, None);
}

#[test]
fn a_verdict_for_what_was_never_opened_is_refused() {
    let mut scenario = given(&DEPLOYER);
    let decision = scenario.when(&passed(task(1, 1), "b1"));
    assert!(matches!(decision, millrace_decider::test::Decision::Refused(Refusal::Mismatch(_), None)));
    assert!(scenario.due(&passed(task(1, 1), "b1")).is_empty());
}

#[test]
fn the_way_from_verdict_to_verified() {
    let mut scenario = given(&DEPLOYER).event(opened(task(1, 1)));
    let verdict = passed(task(1, 1), "b1");
    assert_eq!(due(&scenario, &verdict), ["merge"]);
    scenario.when(&Input::found(merged())).event();
    assert_eq!(due(&scenario, &verdict), ["deadline", "deploy"]);
    let owed = scenario.due(&verdict);
    let Due::Deadline(deadline) = &owed[0] else { panic!("{owed:?}") };
    assert_eq!(deadline.at, scenario.now() + Duration::from_secs(600), "from the merge on");
    assert_eq!(due(&scenario, &fired()), ["deploy"], "a dead deployer's release has its end too");
    scenario.when(&Input::found(verified())).event();
    let owed = scenario.due(&verdict);
    let Due::Effect(Effect::FreeTarget { release, .. }) = &owed[0] else { panic!("{owed:?}") };
    assert_eq!(release.as_deref(), Some("m1"));
    assert!(scenario.when(&Input::found(failed())).is_nothing(), "the first verdict stands");
}

#[test]
fn s2_g6b_a_failed_release_is_rolled_back_before_the_target_is_free() {
    let mut scenario = given(&DEPLOYER).event(opened(task(1, 1))).event(merged());
    let verdict = passed(task(1, 1), "b1");
    scenario.when(&Input::found(failed())).event();
    assert_eq!(due(&scenario, &verdict), ["roll back"]);
    assert_eq!(due(&scenario, &fired()), ["roll back"]);
    scenario.when(&Input::found(rolled_back())).event();
    assert!(scenario.when(&Input::found(rolled_back())).is_nothing());
    let owed = scenario.due(&verdict);
    let Due::Effect(Effect::FreeTarget { release, .. }) = &owed[0] else { panic!("{owed:?}") };
    assert_eq!(*release, None, "what was verified before still is");
}

#[test]
fn a_moved_base_is_merged_when_it_has_a_verdict_of_its_own() {
    let mut scenario = given(&DEPLOYER).event(opened(task(1, 1)));
    scenario.when(&Input::found(base_moved("b1"))).event();
    assert_eq!(due(&scenario, &passed(task(1, 1), "b1")), ["free"]);
    assert!(scenario.when(&Input::found(base_moved("b1"))).is_nothing());
    assert_eq!(due(&scenario, &passed(task(1, 1), "b2")), ["merge"]);
}

#[test]
fn a_busy_target_is_waited_for() {
    let mut scenario = given(&DEPLOYER).event(opened(task(1, 1)));
    let busy = Input::NotYet { task: task(1, 1), reason: "another".to_owned() };
    let decision = scenario.when(&busy);
    assert!(matches!(decision, millrace_decider::test::Decision::Refused(Refusal::TooEarly(_), None)));
}

#[test]
fn a_cancel_stops_once_and_for_the_whole_run() {
    let mut scenario = given(&DEPLOYER).event(opened(task(1, 1)));
    let DeployerEvent::StageStopped(event) = scenario.when(&cancelled(task(1, 2))).event() else {
        panic!("no stop")
    };
    assert_eq!(event.stage, "pr_opened");
    assert!(scenario.when(&cancelled(task(1, 2))).is_nothing());
    // The target is free whatever the forge says of a merge that nobody recorded.
    assert_eq!(due(&scenario, &passed(task(1, 1), "b1")), ["free", "find merge"]);
    assert_eq!(due(&scenario, &executed(task(1, 2))), ["clean up"]);
    assert!(scenario.when(&Input::found(opened(task(1, 2)))).is_nothing());
    assert_eq!(due(&scenario, &executed(task(2, 1))), ["open"], "the next run goes on");
}

fn stop(closed: &[u64]) -> Input {
    Input::Stop { task: task(1, 0), reason: "cancelled by ada".to_owned(), closed: closed.to_vec() }
}

#[test]
fn a_cancel_stops_the_whole_run_and_all_that_comes_of_it_later() {
    let mut scenario = given(&DEPLOYER);
    let request = CancelRequested { task: "VTID-01213".to_owned(), ..Default::default() };
    let asked = Input::CancelAsked { request, at: scenario.now() };
    assert!(scenario.when(&asked).is_nothing());
    assert_eq!(due(&scenario, &asked), ["find run"]);
    let DeployerEvent::StageStopped(event) = scenario.when(&stop(&[])).event() else { panic!("no stop") };
    let named = event.task.unwrap();
    assert_eq!((named.run, named.attempt, event.stage.as_str()), (1, 0, "scheduled"));
    let failed = PullRequestFailed { task: Some(task(1, 1)), failure: None };
    let mut other = given(&DEPLOYER).event(failed.into());
    let DeployerEvent::StageStopped(event) = other.when(&stop(&[])).event() else { panic!("no stop") };
    assert_eq!(event.stage, "executing", "a worker's change has come here");
    assert!(scenario.when(&stop(&[])).is_nothing(), "the same again");
    assert!(scenario.when(&cancelled(task(1, 3))).is_nothing(), "nor does its end stop it again");
    // The change of a worker that comes late, whatever its attempt.
    for attempt in [1, 9] {
        assert_eq!(due(&scenario, &executed(task(1, attempt))), ["clean up"]);
        assert!(scenario.when(&Input::found(opened(task(1, attempt)))).is_nothing());
    }
    assert_eq!(due(&scenario, &executed(task(2, 1))), ["open"], "the next run goes on");
}

#[test]
fn a_run_with_a_pull_request_is_stopped_only_when_the_forge_can_merge_it_no_more() {
    let mut scenario = given(&DEPLOYER).event(opened(task(1, 1)));
    assert!(scenario.when(&stop(&[])).is_nothing());
    assert_eq!(due(&scenario, &stop(&[])), ["close"]);
    assert!(matches!(scenario.when(&stop(&[7])).event(), DeployerEvent::StageStopped(_)));
    assert_eq!(due(&scenario, &stop(&[7])), Vec::<&str>::new());
    // It was merged first: that stands, and its release comes to an end.
    let mut scenario = given(&DEPLOYER).event(opened(task(1, 1)));
    scenario.when(&Input::found(merged())).event();
    assert!(scenario.when(&stop(&[7])).is_nothing());
    assert_eq!(due(&scenario, &stop(&[])), ["deadline"]);
}

#[test]
fn the_merge_is_the_point_of_no_return() {
    let mut scenario = given(&DEPLOYER).event(opened(task(1, 1))).event(merged());
    assert!(scenario.when(&cancelled(task(1, 1))).is_nothing());
    assert!(scenario.when(&Input::found(stopped(task(1, 1)))).is_nothing());
    let owed = scenario.due(&cancelled(task(1, 1)));
    let Due::Effect(Effect::CleanUp { frees_target, .. }) = &owed[0] else { panic!("{owed:?}") };
    assert!(!frees_target, "its release still has the target");
    assert_eq!(due(&scenario, &passed(task(1, 1), "b1")), ["deadline", "deploy"]);
}

#[test]
fn a_merge_that_is_found_after_a_stop_is_released_as_any_other() {
    let mut scenario = given(&DEPLOYER).event(opened(task(1, 1))).event(stopped(task(1, 1)));
    scenario.when(&Input::found(merged())).event();
    assert_eq!(due(&scenario, &passed(task(1, 1), "b1")), ["deadline", "deploy"]);
}

#[test]
fn a_stop_of_one_attempt_leaves_the_next() {
    let scenario = given(&DEPLOYER).event(stopped(task(1, 1)));
    assert_eq!(due(&scenario, &executed(task(1, 1))), ["clean up"]);
    assert_eq!(due(&scenario, &executed(task(1, 2))), ["open"]);
}

#[test]
fn the_end_of_a_run_cleans_up_after_every_attempt() {
    let scenario = given(&DEPLOYER).event(opened(task(1, 1))).event(opened(task(1, 3)));
    let ended = Input::Ended { task: task(1, 2), end: End::Failed, reason: "it failed".to_owned() };
    let owed = scenario.due(&ended);
    let Due::Effect(Effect::CleanUp { task: last, frees_target, .. }) = &owed[0] else { panic!("{owed:?}") };
    assert_eq!((last.attempt, *frees_target), (3, true));
    // A task that failed at the spec gate has nothing anywhere.
    let at_gate = Input::Ended { task: task(1, 0), end: End::Failed, reason: "no spec".to_owned() };
    assert!(given(&DEPLOYER).due(&at_gate).is_empty());
}

/// I3: the dispatcher took a worker for silent, and offered the next attempt while the first was merged.
#[test]
fn a_run_is_merged_once_whatever_is_offered_after_it() {
    let scenario = given(&DEPLOYER).event(opened(task(1, 1))).event(merged());
    assert!(due(&scenario, &executed(task(1, 2))).is_empty());
    assert_eq!(due(&scenario, &executed(task(2, 1))), ["open"], "the next run is another matter");
    let scenario = scenario.event(opened(task(1, 2)));
    assert_eq!(due(&scenario, &passed(task(1, 2), "b1")), ["free"]);
}
