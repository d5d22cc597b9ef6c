//! A stage that is stuck goes to a person. S4-EX1.

use millrace_events::v1::{OverdueNoticed, TaskBlocked};
use millrace_events::{Code, DispatcherEvent, Event, Key, Log};
use millrace_runtime::lease;
use millrace_states::facts::TASK;
use millrace_states::world;

use super::newer::Stage;

/// A worker holds its order, its lease is alive, and nothing comes of it: the sweep notices, the run is blocked
/// with the place where it stands, and the lease is taken away, so that the work stops.
#[tokio::test(start_paused = true)]
async fn s4_ex1_a_stuck_stage_is_blocked_for_a_person_and_loses_its_lease() {
    let mut stage = Stage::host(world::dispatcher);
    let key = Key::new(TASK).unwrap();
    let order = format!("{TASK}/1.1/change/1");
    stage.say(Log::SpecRegistry, &key, "SpecRegistered").await;
    stage.says(&["TaskScheduled"]).await;
    let leases = stage.context.leases.clone();
    leases.create(&order, b"worker-a").await.unwrap().unwrap();
    stage.say(Log::Worker, &key, "WorkOrderAcknowledged").await;
    let notice = OverdueNoticed {
        task: TASK.to_owned(),
        run: 1,
        last_event: "WorkOrderAcknowledged".to_owned(),
        idle_ms: 90 * 60 * 1000,
    };
    stage.write_event(&key, &notice.into()).await;
    stage.says(&["TaskScheduled", "TaskBlocked"]).await;
    let stored = stage.context.broker.read(&Log::Dispatcher.stream(0), None, 2, 1).await.unwrap();
    let blocked = millrace_events::Envelope::decode(&stored[0].payload).unwrap().event().unwrap();
    let Some(Event::Dispatcher(DispatcherEvent::TaskBlocked(TaskBlocked { failure, .. }))) = blocked else {
        panic!("{blocked:?}")
    };
    let failure = failure.unwrap();
    assert_eq!(failure.known_code(), Some(Code::ExecutionTimeout));
    assert_eq!(failure.message, "nothing has happened for 90 minutes since WorkOrderAcknowledged");
    let started = tokio::time::Instant::now();
    while lease::is_alive(leases.as_ref(), &order).await.unwrap() {
        assert!(started.elapsed() < std::time::Duration::from_secs(10), "it is taken away");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
