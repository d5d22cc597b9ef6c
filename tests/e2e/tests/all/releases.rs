//! Releases: verified by what the target says of itself, taken back when it says something else.

use std::time::Duration;

use millrace_e2e::{Cluster, Options, Plan, spec};
use millrace_rpc::v1::TaskStatus;

const BOUND: Duration = Duration::from_secs(90);

/// S2-B5, S2-G6b, S2-A10: a release that reports another SHA is taken back, the one before runs again, and
/// the next task of the same target is released as if nothing had been.
#[tokio::test(flavor = "multi_thread")]
async fn s2_b5_s2_g6b_a_wrong_sha_is_rolled_back_and_the_next_task_goes_on() {
    let cluster = Cluster::start().await;
    cluster.repository.add_spec("00050", spec("VTID-00050", &Plan::page("first")));
    let first = cluster.wait_for("VTID-00050", TaskStatus::Complete, BOUND).await;
    let mut lies = Plan::page("second");
    lies.writes.push(("sha.txt", format!("{}\n", "0".repeat(40))));
    cluster.repository.add_spec("00051", spec("VTID-00051", &lies));
    let failed = cluster.wait_for("VTID-00051", TaskStatus::Failed, BOUND).await;
    assert_eq!(failed.failure.unwrap().code, "RELEASE_SHA_MISMATCH");
    let rolled_back = cluster.wait_for_event("VTID-00051", "RollbackCompleted", BOUND).await;
    assert_eq!(Cluster::data(&rolled_back)["restored_commit"], first.release_commit.as_str());
    cluster.repository.add_spec("00052", spec("VTID-00052", &Plan::page("third")));
    let third = cluster.wait_for("VTID-00052", TaskStatus::Complete, BOUND).await;
    assert_eq!(third.release_commit, third.merge_commit);
    for task in ["VTID-00050", "VTID-00051", "VTID-00052"] {
        assert_eq!(cluster.terminal_events(task).await.len(), 1);
    }
}

/// S2-G6a: a release that never answers is given up at its deadline.
#[tokio::test(flavor = "multi_thread")]
async fn s2_g6a_a_release_that_never_answers_is_given_up_at_the_deadline() {
    let mut options = Options { start_command: "sleep 600".to_owned(), ..Options::default() };
    options.config.push_str("deployment = \"4s\"\n");
    let cluster = Cluster::start_with(options).await;
    cluster.repository.add_spec("00060", spec("VTID-00060", &Plan::page("silent")));
    let task = cluster.wait_for("VTID-00060", TaskStatus::Failed, BOUND).await;
    let failure = task.failure.unwrap();
    assert!(["DEPLOYMENT_TIMEOUT", "HEALTH_CHECK_FAILED"].contains(&failure.code.as_str()), "{failure:?}");
    cluster.wait_for_event("VTID-00060", "RollbackCompleted", BOUND).await;
}

/// A start command that exits is reported with its own words.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_command_that_exits_is_reported_with_its_own_words() {
    let options = Options { start_command: "echo no database >&2; exit 3".to_owned(), ..Options::default() };
    let cluster = Cluster::start_with(options).await;
    cluster.repository.add_spec("00061", spec("VTID-00061", &Plan::page("x")));
    let task = cluster.wait_for("VTID-00061", TaskStatus::Failed, BOUND).await;
    let failure = task.failure.unwrap();
    assert_eq!(failure.code, "DEPLOYMENT_FAILED");
    assert!(
        failure.message.contains("no database")
            || failure.causes.iter().any(|cause| cause.contains("no database")),
        "{failure:?}"
    );
}

/// Two tasks for one target at once: both are released, one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_tasks_for_one_target_are_released_one_after_the_other() {
    let cluster = Cluster::start().await;
    for (id, file) in [("00070", "a.txt"), ("00071", "b.txt")] {
        let plan = Plan { writes: vec![(file, "x\n".to_owned())], commands: vec![], without: vec![] };
        cluster.repository.add_spec(id, spec(&format!("VTID-{id}"), &plan));
    }
    let first = cluster.wait_for("VTID-00070", TaskStatus::Complete, BOUND).await;
    let second = cluster.wait_for("VTID-00071", TaskStatus::Complete, BOUND).await;
    assert_ne!(first.merge_commit, second.merge_commit);
    // Between a merge and its verdict there is no other merge.
    let deployer = cluster.log(millrace_events::Log::Deployer).await;
    let mut merging: Option<String> = None;
    for event in &deployer {
        let task = event.task_ref().map(|task| task.task.clone()).unwrap_or_default();
        match event.name() {
            "MergeCompleted" => assert_eq!(merging.replace(task), None, "two releases at once"),
            "DeploymentVerified" => assert_eq!(merging.take(), Some(task)),
            _ => {}
        }
    }
    assert_eq!(merging, None);
}

/// Two tasks rewrite the same line at once: whichever comes second conflicts, and is made anew from where
/// the base is now.
#[tokio::test(flavor = "multi_thread")]
async fn two_tasks_that_change_the_same_line_are_both_released() {
    let cluster = Cluster::start().await;
    for (id, text) in [("00072", "one"), ("00073", "two")] {
        cluster.repository.add_spec(id, spec(&format!("VTID-{id}"), &Plan::page(text)));
    }
    let first = cluster.wait_for("VTID-00072", TaskStatus::Complete, BOUND).await;
    let second = cluster.wait_for("VTID-00073", TaskStatus::Complete, BOUND).await;
    assert_eq!((first.run, second.run), (1, 1));
    for task in ["VTID-00072", "VTID-00073"] {
        assert_eq!(cluster.repository.commits_of(task), 1);
        assert_eq!(cluster.terminal_events(task).await.len(), 1);
    }
}
