//! More tasks than may be under way.

use std::time::Duration;

use millrace_e2e::{Cluster, Options, Plan, spec};
use millrace_events::{DispatcherEvent, Event, Log};
use millrace_rpc::v1::TaskStatus;

const BOUND: Duration = Duration::from_secs(90);

/// S4-SP5: a repository with a limit of one has one task under way at a time; those that wait say for
/// what, and an urgent one overtakes them.
#[tokio::test(flavor = "multi_thread")]
async fn s4_sp5_a_repository_limit_holds_and_the_urgent_overtake() {
    let mut options = Options::default();
    options.config.push_str("\n[dispatch.repositories]\nshop = 1\n");
    let cluster = Cluster::start_with(options).await;
    let add = |task: &str, text: String| cluster.repository.add_spec(&task[5..], text);
    // The first keeps the others waiting for as long as it takes them to come.
    add("VTID-00101", spec("VTID-00101", &Plan::page("first").command("sleep 5")));
    cluster.wait_for_event("VTID-00101", "WorkOrderAcknowledged", BOUND).await;
    for task in ["VTID-00102", "VTID-00103"] {
        add(task, spec(task, &Plan::page(task)));
        cluster.wait_for(task, TaskStatus::Pending, BOUND).await;
        cluster.wait_for_event(task, "TaskScheduled", BOUND).await;
    }
    let urgent =
        spec("VTID-00104", &Plan::page("urgent")).replacen("\n\n##", "\n\n**Priority:** P0\n\n##", 1);
    add("VTID-00104", urgent);
    cluster.wait_for_event("VTID-00104", "TaskScheduled", BOUND).await;
    let why = millrace_e2e::millrace(
        &cluster.path(""),
        &["task", "why", "VTID-00103", "--server", &cluster.address()],
    );
    let text = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(text.contains("waits to be dispatched"), "{text}");
    assert!(text.contains("repository shop has 1 of 1 runs under way"), "{text}");

    for task in ["VTID-00101", "VTID-00102", "VTID-00103", "VTID-00104"] {
        cluster.wait_for(task, TaskStatus::Complete, BOUND).await;
        assert_eq!(cluster.terminal_events(task).await.len(), 1);
    }
    let mut under_way = Vec::new();
    let mut let_in = Vec::new();
    for event in cluster.log(Log::Dispatcher).await {
        let Event::Dispatcher(event) = event else { continue };
        let task = event.task_ref().map(|task| task.task.clone()).unwrap_or_default();
        let is_offer = match &event {
            DispatcherEvent::TaskScheduled(event) => event.order.is_some(),
            DispatcherEvent::WorkOrderIssued(_) => true,
            DispatcherEvent::TaskCompleted(_) => {
                under_way.retain(|other| *other != task);
                false
            }
            _ => false,
        };
        if is_offer && !under_way.contains(&task) {
            let_in.push(task.clone());
            under_way.push(task);
            assert_eq!(under_way.len(), 1, "{under_way:?}");
        }
    }
    assert_eq!(let_in, ["VTID-00101", "VTID-00104", "VTID-00102", "VTID-00103"]);
}
