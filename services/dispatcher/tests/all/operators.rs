//! Cancel, pause and resume as people ask for them, with the deployer's and the worker's part played by the
//! test.

use std::time::Duration;

use millrace_events::catalogue::LEASE_BUCKET;
use millrace_events::v1::*;
use millrace_events::{Code, DispatcherEvent, LogEvent as _};
use millrace_runtime::kv::Kv as _;
use millrace_runtime::settings::Settings;

use crate::world::World;

const TASK: &str = "VTID-01213";

/// A dispatcher with one task on offer.
async fn on_offer() -> (World, WorkOrder) {
    let mut world = World::new(Settings::default());
    world.start();
    world.beat().await;
    world.register(TASK, "", Priority::Unspecified).await;
    decides(&world, &["TaskScheduled"]).await;
    let order = last_order(&world).await;
    (world, order)
}

async fn names(world: &World) -> Vec<&'static str> {
    world.decided().await.iter().map(|event| event.name()).collect()
}

async fn decides(world: &World, expected: &[&str]) {
    let began = tokio::time::Instant::now();
    loop {
        let found = names(world).await;
        if found == expected {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{expected:?} were expected, not {found:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn last_order(world: &World) -> WorkOrder {
    let decided = world.decided().await.into_iter().rev();
    let mut offered = decided.filter_map(|event| match event {
        DispatcherEvent::TaskScheduled(event) => event.order,
        DispatcherEvent::WorkOrderIssued(event) => event.order,
        _ => None,
    });
    offered.next().unwrap()
}

async fn is_held(world: &World, order: &WorkOrder) -> bool {
    world.bucket(LEASE_BUCKET).get(&order.id).await.unwrap().is_some()
}

/// A worker takes the order and its lease.
async fn taken(world: &World, order: &WorkOrder) {
    world.take(order).await;
    world.bucket(LEASE_BUCKET).create(&order.id, b"w").await.unwrap().unwrap();
}

fn cancel() -> CancelRequested {
    CancelRequested { task: TASK.into(), run: 1, actor: "ada".into(), reason: "no".into() }
}

fn pause() -> PauseRequested {
    PauseRequested { task: TASK.into(), run: 1, actor: "ada".into(), ..Default::default() }
}

fn resume() -> ResumeRequested {
    ResumeRequested { task: TASK.into(), run: 1, actor: "ada".into(), ..Default::default() }
}

fn failed(order: &WorkOrder) -> ExecutionFailed {
    let failure = Some(Failure::new(Code::CommandFailed, "it broke"));
    ExecutionFailed {
        task: order.task.clone(),
        order: order.id.clone(),
        kind: order.kind,
        failure,
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_takes_the_lease_at_once_and_is_kept_over_a_restart() {
    let (mut world, order) = on_offer().await;
    taken(&world, &order).await;
    world.pass(1).await;
    world.say(TASK, cancel()).await;
    world.pass(1).await;
    assert!(!is_held(&world, &order).await, "before the deployer has said anything");
    assert_eq!(names(&world).await, ["TaskScheduled"]);
    world.kill();
    world.start();
    let task = Some(TaskRef { attempt: 0, ..order.task.clone().unwrap() });
    world.say(TASK, StageStopped { task, ..Default::default() }).await;
    decides(&world, &["TaskScheduled", "TaskCancelled"]).await;
    let DispatcherEvent::TaskCancelled(event) = world.decided().await.remove(1) else { panic!() };
    assert_eq!((event.actor.as_str(), event.reason.as_str()), ("ada", "no"));
    // The same again, and what the dead worker still says, change nothing.
    world.say(TASK, cancel()).await;
    world.say(TASK, failed(&order)).await;
    world.pass(60).await;
    assert_eq!(names(&world).await, ["TaskScheduled", "TaskCancelled"]);
}

#[tokio::test(start_paused = true)]
async fn a_paused_task_stands_still_for_a_day_and_goes_on() {
    let (mut world, order) = on_offer().await;
    taken(&world, &order).await;
    world.say(TASK, pause()).await;
    world.say(TASK, pause()).await;
    decides(&world, &["TaskScheduled", "TaskPaused"]).await;
    world.say(TASK, failed(&order)).await;
    world.pass(12 * 3_600).await;
    world.kill();
    world.start();
    world.pass(12 * 3_600).await;
    assert_eq!(names(&world).await, ["TaskScheduled", "TaskPaused"]);
    world.say(TASK, resume()).await;
    let asked = tokio::time::Instant::now();
    decides(&world, &["TaskScheduled", "TaskPaused", "TaskResumed", "WorkOrderIssued"]).await;
    assert!(asked.elapsed() <= Duration::from_secs(20), "after {:?}", asked.elapsed());
    assert_eq!(last_order(&world).await.previous_failure.unwrap().known_code(), Some(Code::CommandFailed));
}

#[tokio::test(start_paused = true)]
async fn an_order_that_nobody_took_in_a_pause_is_offered_again_as_the_same_try() {
    let (world, first) = on_offer().await;
    world.say(TASK, pause()).await;
    decides(&world, &["TaskScheduled", "TaskPaused"]).await;
    world.pass(3_600).await;
    for _ in 0..2 {
        world.say(TASK, resume()).await;
    }
    // The second resume is another message, about a task that is not paused.
    world.pass(20).await;
    let mut decided = names(&world).await;
    decided.sort_unstable();
    let expected = ["TaskPaused", "TaskResumed", "TaskScheduled", "TransitionRefused", "WorkOrderIssued"];
    assert_eq!(decided, expected);
    let again = last_order(&world).await;
    assert_ne!(again.id, first.id);
    assert_eq!((again.tries, again.task.unwrap().attempt), (1, 1));
}
