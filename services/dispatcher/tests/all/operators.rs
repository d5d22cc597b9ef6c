//! Cancel, pause and resume as people ask for them, with the deployer's and the worker's part played by the
//! test.

use std::sync::Arc;
use std::time::Duration;

use millrace_events::catalogue::LEASE_BUCKET;
use millrace_events::v1::*;
use millrace_events::{Code, DispatcherEvent, LogEvent as _};
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::kv::Kv as _;
use millrace_runtime::memory::MemoryBroker;
use millrace_runtime::settings::Settings;

use crate::world::{World, paused_clock};

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

/// More paused runs than deliveries that may be unanswered at a time: their deadlines are in nobody's way, and
/// act again after a resume.
#[tokio::test(start_paused = true)]
async fn the_deadlines_of_paused_runs_keep_no_other_deadline_waiting() {
    const UNANSWERED: u32 = 8;
    let clock = paused_clock();
    let installation = Installation { max_ack_pending: UNANSWERED, ..Installation::default() };
    let broker = Arc::new(MemoryBroker::new(clock.clone(), &Declared::of(&installation)));
    let mut world = World::on(broker, clock, Settings::default());
    world.start();
    world.beat().await;
    let ids: Vec<String> = (0..UNANSWERED + 4).map(|number| format!("VTID-{number:05}")).collect();
    for id in &ids {
        world.register(id, "", Priority::Unspecified).await;
        let told = world.until("it is on offer", |told| told.active.contains_key(id)).await;
        taken(&world, &told.active[id]).await;
        world.say(id, PauseRequested { task: id.clone(), ..pause() }).await;
    }
    let count =
        |told: &crate::world::Told, name: &str| told.names.iter().filter(|told| **told == name).count();
    world.until("all are paused", |told| count(told, "TaskPaused") == ids.len()).await;
    // Their leases, executions and acknowledgements are overdue by now, many times.
    world.pass(2 * 3_600).await;
    assert_eq!(count(&world.told().await, "WorkOrderExpired"), 0);
    world.beat().await;
    world.register(TASK, "", Priority::Unspecified).await;
    let told = world.until("another one is on offer", |told| told.active.contains_key(TASK)).await;
    let began = tokio::time::Instant::now();
    taken(&world, &told.active[TASK]).await;
    expires(&world, TASK).await;
    assert!(began.elapsed() < Duration::from_secs(90), "after {:?}", began.elapsed());
    world.say(&ids[3], ResumeRequested { task: ids[3].clone(), ..resume() }).await;
    let began = tokio::time::Instant::now();
    expires(&world, &ids[3]).await;
    assert!(began.elapsed() < Duration::from_secs(120), "after {:?}", began.elapsed());
}

/// Waits until an order of a task is given up.
async fn expires(world: &World, task: &str) {
    let began = tokio::time::Instant::now();
    let is_its_own = |event: &DispatcherEvent| {
        matches!(event, DispatcherEvent::WorkOrderExpired(_))
            && event.task_ref().is_some_and(|about| about.task == task)
    };
    while !world.decided().await.iter().any(is_its_own) {
        assert!(began.elapsed() < Duration::from_secs(3_600), "no order of {task} expires");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
