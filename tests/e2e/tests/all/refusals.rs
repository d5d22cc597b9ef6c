//! What must not go through, and what it says.

use std::time::Duration;

use millrace_e2e::{Cluster, Plan, spec};
use millrace_events::{DispatcherEvent, Event, Log, WorkerEvent};
use millrace_rpc::v1::{RequestTaskRequest, Task, TaskStatus};

const BOUND: Duration = Duration::from_secs(60);

/// Every failure that a person can see has a code of the list, a sentence, a stage and advice.
fn assert_explained(task: &Task, code: &str) {
    let failure = task.failure.as_ref().unwrap_or_else(|| panic!("{} failed without a failure", task.id));
    assert_eq!(failure.code, code, "{}", failure.message);
    assert!(
        failure.message.len() > 10 && !failure.stage.is_empty() && failure.advice.len() > 10,
        "{failure:?}"
    );
}

async fn no_work_orders(cluster: &Cluster) -> bool {
    let dispatched = cluster.log(Log::Dispatcher).await;
    !dispatched.iter().any(|event| {
        matches!(
            event,
            Event::Dispatcher(DispatcherEvent::TaskScheduled(_) | DispatcherEvent::WorkOrderIssued(_))
        )
    })
}

/// S1-Gap4, S2-B1: nowhere a spec: it fails at the gate, with zero work orders, and says so to whoever asks.
#[tokio::test(flavor = "multi_thread")]
async fn s1_gap4_a_task_without_a_spec_fails_at_the_gate() {
    let cluster = Cluster::start().await;
    let request = RequestTaskRequest {
        task: "VTID-09999".to_owned(),
        repository: "shop".to_owned(),
        ..Default::default()
    };
    cluster.operator().await.request_task(request).await.unwrap();
    let task = cluster.wait_for("VTID-09999", TaskStatus::Failed, BOUND).await;
    assert_explained(&task, "SPEC_NOT_FOUND");
    assert!(no_work_orders(&cluster).await);
    assert!(cluster.log(Log::Worker).await.is_empty(), "nothing was executed and no model called");
    // The gate's own part, between the last source's answer and the end, is under a second.
    let history = cluster.history("VTID-09999").await;
    let at = |name: &str| {
        let time = history.iter().find(|event| event.name == name).unwrap().time.unwrap();
        time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000
    };
    assert!(at("TaskFailed") - at("SpecRejected") < 1_000);
}

/// S1-Gap5.3, S1-Gap7.1, S1-Gap7.2: an invalid spec is never scheduled, and all its faults are told.
#[tokio::test(flavor = "multi_thread")]
async fn s1_gap7_2_an_invalid_spec_is_refused_with_all_its_faults() {
    let cluster = Cluster::start().await;
    cluster.repository.add_spec("00002", "# VTID-00002: x\n\n## Summary\n\nshort\n".to_owned());
    let task = cluster.wait_for("VTID-00002", TaskStatus::Failed, BOUND).await;
    assert_explained(&task, "SPEC_INVALID");
    let rejected = cluster.wait_for_event("VTID-00002", "SpecRejected", BOUND).await;
    let problems = Cluster::data(&rejected)["problems"].as_array().unwrap().clone();
    assert!(problems.len() >= 3, "{problems:?}");
    assert!(problems.iter().any(|problem| problem["line"].as_u64().unwrap_or(0) > 0), "{problems:?}");
    assert!(no_work_orders(&cluster).await);
    // The mended spec runs by itself, as the next run.
    cluster.repository.add_spec("00002", spec("VTID-00002", &Plan::page("mended")));
    let task = cluster.wait_for("VTID-00002", TaskStatus::Complete, BOUND).await;
    assert_eq!(task.run, 2);
}

/// S0-2.2b, S0-2.2d, S0-4.9b: a plan that breaks its contract is asked for again three times, changes
/// nothing, and then waits for a person.
#[tokio::test(flavor = "multi_thread")]
async fn s0_2_2d_a_plan_that_breaks_its_contract_changes_nothing() {
    let cluster = Cluster::start().await;
    let before = cluster.repository.git(&["rev-parse", "main"]);
    let mut plan = Plan::page("never");
    plan.without = vec!["rollback_commands"];
    cluster.repository.add_spec("00003", spec("VTID-00003", &plan));
    let task = cluster.wait_for("VTID-00003", TaskStatus::Blocked, BOUND).await;
    assert_explained(&task, "CONTRACT_VIOLATION");
    assert!(task.failure.unwrap().message.contains("rollback_commands"), "the failure names the field");
    let worker = cluster.log(Log::Worker).await;
    let Some(Event::Worker(WorkerEvent::ExecutionFailed(failed))) =
        worker.iter().find(|event| event.name() == "ExecutionFailed")
    else {
        panic!("{worker:?}")
    };
    let implementer = failed.calls.iter().filter(|call| call.role == "implementer").count();
    assert_eq!(implementer, 4, "one call and three re-prompts");
    assert_eq!(cluster.repository.git(&["rev-parse", "main~1"]), before, "only the spec was added");
    assert_eq!(cluster.repository.git(&["for-each-ref", "refs/heads/millrace"]), "");
}

/// S2-A6, S2-A12: a check that fails on the pull request ends the run; nothing is merged.
#[tokio::test(flavor = "multi_thread")]
async fn s2_a6_a_failing_check_stops_the_merge() {
    let cluster = Cluster::start().await;
    cluster.repository.add_spec("00004", spec("VTID-00004", &Plan::page("broken")));
    let head = cluster.repository.git(&["rev-parse", "main"]);
    let task = cluster.wait_for("VTID-00004", TaskStatus::Failed, BOUND).await;
    assert_explained(&task, "CHECKS_FAILED");
    assert!(task.failure.unwrap().message.contains("words"), "the failure names the check");
    assert_eq!(cluster.repository.git(&["rev-parse", "main"]), head);
    assert!(!cluster.event_names("VTID-00004").await.contains(&"MergeCompleted".to_owned()));
    assert_eq!(cluster.terminal_events("VTID-00004").await.len(), 1);
    let why = millrace_e2e::millrace(
        &cluster.path(""),
        &["task", "why", "VTID-00004", "--server", &cluster.address()],
    );
    let text = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(text.contains("CHECKS_FAILED") && text.contains("words"), "{text}");
}

/// A command that fails is tried again, told why, and then waits for a person: S0-4.9c.
#[tokio::test(flavor = "multi_thread")]
async fn s0_4_9c_a_command_that_keeps_failing_waits_for_a_person() {
    let cluster = Cluster::start().await;
    let plan = Plan::page("x").command("echo cannot go on >&2; exit 7");
    cluster.repository.add_spec("00005", spec("VTID-00005", &plan));
    let task = cluster.wait_for("VTID-00005", TaskStatus::Blocked, BOUND).await;
    assert_explained(&task, "COMMAND_FAILED");
    assert_eq!(task.attempt, 3);
    assert!(task.failure.unwrap().message.contains("cannot go on"));
}

/// S2-G8a, S2-A4: the execution limit really kills.
#[tokio::test(flavor = "multi_thread")]
async fn s2_g8a_an_execution_over_its_limit_is_killed() {
    let mut options = millrace_e2e::Options::default();
    options.config.push_str("execution = \"2s\"\n");
    let cluster = Cluster::start_with(options).await;
    let plan = Plan::page("x").command("sleep 3597");
    cluster.repository.add_spec("00006", spec("VTID-00006", &plan));
    let task = cluster.wait_for("VTID-00006", TaskStatus::Failed, BOUND).await;
    assert_explained(&task, "EXECUTION_TIMEOUT");
    assert!(!millrace_e2e::is_running("sleep 3597"));
}

/// S2-A4: a fork bomb is named as what it is, and harms nobody.
#[tokio::test(flavor = "multi_thread")]
async fn s2_a4_a_fork_bomb_is_a_violation_of_the_sandbox() {
    let cluster = Cluster::start().await;
    let plan = Plan::page("x").command("while :; do sleep 3598 & done");
    cluster.repository.add_spec("00007", spec("VTID-00007", &plan));
    let task = cluster.wait_for("VTID-00007", TaskStatus::Failed, BOUND).await;
    assert_explained(&task, "SANDBOX_VIOLATION");
    assert!(task.failure.unwrap().message.contains("processes"), "the failure names the limit");
    assert!(!millrace_e2e::is_running("sleep 3598"));
    cluster.repository.add_spec("00008", spec("VTID-00008", &Plan::page("well")));
    cluster.wait_for("VTID-00008", TaskStatus::Complete, BOUND).await;
}
