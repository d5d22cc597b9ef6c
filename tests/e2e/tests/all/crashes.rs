//! Things die; tasks end all the same, once.

use std::time::Duration;

use millrace_e2e::{Cluster, Options, Plan, spec};
use millrace_rpc::v1::TaskStatus;
use millrace_runtime::permissions::Identity;

const BOUND: Duration = Duration::from_secs(90);

/// S2-G8b: a worker killed in the middle is replaced by a new attempt, and the change happens once.
#[tokio::test(flavor = "multi_thread")]
async fn s2_g8b_a_worker_killed_in_the_middle_is_replaced() {
    let mut cluster = Cluster::start().await;
    let plan = Plan::page("survived").command("sleep 4");
    cluster.repository.add_spec("00010", spec("VTID-00010", &plan));
    let claimed = cluster.wait_for_event("VTID-00010", "WorkOrderAcknowledged", BOUND).await;
    let worker = Cluster::data(&claimed)["worker"].as_str().unwrap().to_owned();
    cluster.kill(&worker);
    cluster.start_process(&worker);
    let task = cluster.wait_for("VTID-00010", TaskStatus::Complete, BOUND).await;
    assert_eq!((task.run, task.attempt), (1, 2), "a takeover is a new attempt");
    assert!(cluster.event_names("VTID-00010").await.contains(&"WorkOrderExpired".to_owned()));
    assert_eq!(cluster.repository.commits_of("VTID-00010"), 1);
    assert_eq!(cluster.terminal_events("VTID-00010").await.len(), 1);
}

/// The deployer is killed between the merge and the verdict on the release: there is one merge, one release,
/// one end.
#[tokio::test(flavor = "multi_thread")]
async fn a_deployer_killed_between_merge_and_release_goes_on_where_it_was() {
    // The window stays open for as long as the release does not answer.
    let options =
        Options { start_command: "sleep 5; exec python3 -I -S app.py".to_owned(), ..Options::default() };
    let mut cluster = Cluster::start_with(options).await;
    cluster.repository.add_spec("00012", spec("VTID-00012", &Plan::page("released")));
    cluster.wait_for_event("VTID-00012", "MergeCompleted", BOUND).await;
    cluster.kill("deployer");
    let verified = |events: &[millrace_events::Event]| {
        events.iter().filter(|event| event.name() == "DeploymentVerified").count()
    };
    assert_eq!(verified(&cluster.log(millrace_events::Log::Deployer).await), 0, "it was killed too late");
    cluster.start_process("deployer");
    let task = cluster.wait_for("VTID-00012", TaskStatus::Complete, BOUND).await;
    assert_eq!((task.run, task.release_commit), (1, task.merge_commit));
    assert_eq!(verified(&cluster.log(millrace_events::Log::Deployer).await), 1);
    assert_eq!(cluster.repository.commits_of("VTID-00012"), 1);
    assert_eq!(cluster.terminal_events("VTID-00012").await.len(), 1);
    assert_eq!(millrace_e2e::leftovers::releases(&cluster.path("target")), 1);
}

/// Each service is killed in the middle of a run and started again; S4-FUND-03: nothing that it left behind
/// keeps it from starting.
#[tokio::test(flavor = "multi_thread")]
async fn s4_fund_03_every_service_may_be_killed_in_the_middle_of_a_run() {
    let mut cluster = Cluster::start().await;
    let services = Cluster::names();
    for (number, victim) in services.iter().filter(|name| !name.starts_with("worker")).enumerate() {
        let id = format!("{:05}", 20 + number);
        let task = format!("VTID-{id}");
        let text = format!("after {victim}");
        cluster.repository.add_spec(&id, spec(&task, &Plan::page(&text)));
        // In the middle: the spec is known, the release is not there yet.
        if victim != "query" && victim != "projector" && victim != "spec-registry" {
            cluster.wait_for_event(&task, "SpecRegistered", BOUND).await;
        }
        cluster.kill(victim);
        cluster.start_process(victim);
        let done = cluster.wait_for(&task, TaskStatus::Complete, BOUND).await;
        assert_eq!(done.run, 1, "{victim}");
        assert_eq!(cluster.repository.commits_of(&task), 1, "{victim}");
        assert_eq!(cluster.terminal_events(&task).await.len(), 1, "{victim}");
    }
}

/// The nats-server is killed in the middle of a run; nothing acknowledged is lost, nothing happens twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_nats_server_loses_nothing() {
    let cluster = Cluster::start().await;
    cluster.repository.add_spec("00030", spec("VTID-00030", &Plan::page("one").command("sleep 1")));
    for event in ["WorkOrderAcknowledged", "PullRequestOpened", "MergeCompleted"] {
        cluster.wait_for_event("VTID-00030", event, BOUND).await;
        cluster.nats.kill();
        cluster.nats.restart();
    }
    let task = cluster.wait_for("VTID-00030", TaskStatus::Complete, BOUND).await;
    assert_eq!(cluster.repository.commits_of("VTID-00030"), 1);
    assert_eq!(cluster.terminal_events("VTID-00030").await.len(), 1);
    assert_eq!(task.run, 1);
}

/// S2-G1a to c, S1-Gap3.A to C: with no worker the order is offered three times, and then a person is asked.
#[tokio::test(flavor = "multi_thread")]
async fn s2_g1_without_a_worker_the_task_is_blocked_after_three_offers() {
    let config = "[limits]\nacknowledge = \"1s\"\ndispatch_backoff = \"200ms\"\nlease = \"3s\"\nlease_renewal = \"1s\"\n";
    let options = Options { config: config.to_owned(), ..Options::default() };
    let mut cluster = Cluster::start_with(options).await;
    for worker in ["worker-1", "worker-2"] {
        assert_eq!(cluster.stop(worker), Some(0), "a stop in order ends with exit code 0");
    }
    cluster.repository.add_spec("00040", spec("VTID-00040", &Plan::page("late")));
    let task = cluster.wait_for("VTID-00040", TaskStatus::Blocked, BOUND).await;
    assert_eq!(task.failure.unwrap().code, "DISPATCH_EXHAUSTED");
    let names = cluster.event_names("VTID-00040").await;
    assert_eq!(names.iter().filter(|name| *name == "WorkOrderExpired").count(), 3);
    // S1-ops.2: a retry, once there are workers, is run 2; asking twice is one run.
    for worker in ["worker-1", "worker-2"] {
        cluster.start_process(worker);
    }
    let mut operator = cluster.operator().await;
    for _ in 0..2 {
        let request =
            millrace_rpc::v1::OperatorRequest { task: "VTID-00040".to_owned(), run: 1, ..Default::default() };
        operator.retry(request).await.unwrap();
    }
    let task = cluster.wait_for("VTID-00040", TaskStatus::Complete, BOUND).await;
    assert_eq!(task.run, 2);
}

/// S0-1.b: every process says that it is ready, that it is not while NATS is away, and that it is again.
#[tokio::test(flavor = "multi_thread")]
async fn s0_1_b_no_process_is_ready_while_nats_is_away() {
    let cluster = Cluster::start().await;
    let all = async |status: u16| {
        millrace_testkit::eventually(&format!("all answer {status}"), BOUND, async || {
            Cluster::names().iter().all(|name| cluster.readiness(name) == Some(status))
        })
        .await;
    };
    all(200).await;
    cluster.nats.kill();
    all(503).await;
    cluster.nats.restart();
    all(200).await;
}

/// What a service is not given by the catalogue it cannot do, in the deployment that the tests run.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_cannot_write_the_log_of_another() {
    use millrace_runtime::broker::{Append, AppendError, Broker as _};
    let cluster = Cluster::start().await;
    let worker = cluster.connect(Identity::Service(millrace_events::Service::Worker)).await;
    let key = millrace_events::Key::new("VTID-1").unwrap();
    let log = millrace_events::Log::Dispatcher;
    let append = Append::new(log.stream(0), log.subject(&key, 1), b"x".to_vec());
    assert!(matches!(worker.append(&append).await, Err(AppendError::Forbidden { .. })));
}
