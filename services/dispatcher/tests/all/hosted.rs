//! One scenario per question. Time passes only when everybody waits for it.

use std::sync::Arc;
use std::time::Duration;

use millrace_events::catalogue::LEASE_BUCKET;
use millrace_events::v1::*;
use millrace_events::{CONTENT_TYPE_PROTOBUF, Code, DispatcherEvent, Envelope, Event, Key, Log};
use millrace_runtime::broker::{Append, Broker};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::clock::Clock;
use millrace_runtime::kv::Kv;
use millrace_runtime::service::ServiceError;
use millrace_runtime::settings::Settings;
use tokio::task::JoinSet;

use crate::world::{memory, paused_clock, start};

const TASK: &str = "VTID-01213";
const BOUND: Duration = Duration::from_secs(3600);

struct World {
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    leases: Arc<dyn Kv>,
    _running: JoinSet<Result<(), ServiceError>>,
}

impl World {
    fn start() -> Self {
        let clock = paused_clock();
        let broker: Arc<dyn Broker> = Arc::new(memory(&clock));
        let leases: Arc<dyn Kv> = Arc::new(Bucket::new(broker.clone(), LEASE_BUCKET));
        let running = start(&broker, &clock, &Settings::default());
        Self { broker, clock, leases, _running: running }
    }

    async fn say(&self, event: impl Into<Event>) {
        let event = event.into();
        let key = Key::new(TASK).unwrap();
        let log = event.log();
        let sequence = self.broker.stream_state(&log.stream(0)).await.unwrap().last;
        let envelope = Envelope::new(
            format!("{}-{sequence}", log.name()),
            "/test",
            key.clone(),
            self.clock.now(),
            &event,
        );
        let append = Append::new(log.stream(0), log.subject(&key, 1), envelope.encode());
        let _ = self.broker.append(&append.content_type(CONTENT_TYPE_PROTOBUF)).await.unwrap();
    }

    async fn decided(&self) -> Vec<DispatcherEvent> {
        let stored = self.broker.read(&Log::Dispatcher.stream(0), None, 1, 1_000).await.unwrap();
        let events =
            stored.iter().map(|stored| Envelope::decode(&stored.payload).unwrap().event().unwrap().unwrap());
        events
            .map(|event| match event {
                Event::Dispatcher(event) => event,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// The decisions, once there are `count` of them.
    async fn decisions(&self, count: usize) -> Vec<DispatcherEvent> {
        let started = tokio::time::Instant::now();
        loop {
            let decided = self.decided().await;
            if decided.len() >= count {
                return decided;
            }
            assert!(started.elapsed() < BOUND, "{count} decisions were expected: {decided:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn registered(&self, version: u32) {
        let spec = SpecRegistered {
            task: TASK.into(),
            repository: "shop".into(),
            version,
            checksum: format!("c{version}"),
            readiness: SpecReadiness::Ready as i32,
            ..Default::default()
        };
        self.say(spec).await;
    }

    /// The order that was offered last.
    async fn order(&self) -> WorkOrder {
        let offered = self.decided().await.into_iter().rev().find_map(|event| match event {
            DispatcherEvent::TaskScheduled(event) => event.order,
            DispatcherEvent::WorkOrderIssued(event) => event.order,
            _ => None,
        });
        offered.unwrap()
    }

    async fn taken(&self, order: &WorkOrder) {
        let task = order.task.clone();
        self.say(WorkOrderAcknowledged {
            task,
            order: order.id.clone(),
            worker: "w".into(),
            ..Default::default()
        })
        .await;
    }
}

fn names(decided: &[DispatcherEvent]) -> Vec<&'static str> {
    decided.iter().map(millrace_events::LogEvent::name).collect()
}

/// S2-G1a to c: nobody acknowledges; the worker's log is asked each time, and then a person is.
#[tokio::test(start_paused = true)]
async fn s2_g1_an_order_that_nobody_takes_blocks_the_task_in_the_end() {
    let world = World::start();
    world.registered(1).await;
    let decided = world.decisions(7).await;
    let offered = [
        "TaskScheduled",
        "WorkOrderExpired",
        "WorkOrderIssued",
        "WorkOrderExpired",
        "WorkOrderIssued",
        "WorkOrderExpired",
        "TaskBlocked",
    ];
    assert_eq!(names(&decided), offered);
    let DispatcherEvent::TaskBlocked(blocked) = &decided[6] else { panic!() };
    assert_eq!(blocked.failure.as_ref().unwrap().known_code(), Some(Code::DispatchExhausted));
}

/// An order that was taken and whose lease lives is left alone for as long as it lives; then it is lost.
#[tokio::test(start_paused = true)]
async fn s2_g8b_a_lease_that_ends_is_a_new_attempt() {
    let world = World::start();
    world.registered(1).await;
    world.decisions(1).await;
    let order = world.order().await;
    let mut revision = world.leases.create(&order.id, b"w").await.unwrap().unwrap();
    world.taken(&order).await;
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        revision = world.leases.update(&order.id, b"w", revision).await.unwrap().unwrap();
    }
    assert_eq!(world.decided().await.len(), 1, "two minutes with a living lease");
    let decided = world.decisions(3).await;
    assert_eq!(names(&decided)[1..], ["WorkOrderExpired", "WorkOrderIssued"]);
    assert_eq!(world.order().await.task.unwrap().attempt, 2);
}

/// While the workers are at work on other orders, one that nobody takes is in a queue.
#[tokio::test(start_paused = true)]
async fn an_order_waits_while_workers_are_busy_with_others() {
    let world = World::start();
    let other = "VTID-09999/1.1/change/1";
    let mut revision = world.leases.create(other, b"w").await.unwrap().unwrap();
    world.registered(1).await;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        revision = world.leases.update(other, b"w", revision).await.unwrap().unwrap();
    }
    let decided = world.decided().await;
    assert!(decided.len() > 8, "{:?}", names(&decided));
    assert!(!names(&decided).contains(&"TaskBlocked"));
    assert_eq!(world.order().await.tries, 1);
}

/// S1-ops.2: a retry works on the spec as it is registered now; a cancel takes the lease away.
#[tokio::test(start_paused = true)]
async fn s1_ops_2_a_retry_finds_the_newest_spec_and_a_cancel_takes_the_lease() {
    let world = World::start();
    world.registered(1).await;
    world.decisions(1).await;
    world.registered(2).await;
    let order = world.order().await;
    world.leases.create(&order.id, b"w").await.unwrap().unwrap();
    let cancel = CancelRequested { task: TASK.into(), run: 1, actor: "ada".into(), reason: "no".into() };
    world.say(cancel).await;
    let task = Some(TaskRef { attempt: 0, ..order.task.clone().unwrap() });
    world.say(StageStopped { task, ..Default::default() }).await;
    assert_eq!(names(&world.decisions(2).await)[1], "TaskCancelled");
    let started = tokio::time::Instant::now();
    while world.leases.get(&order.id).await.unwrap().is_some() {
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "the lease is taken away, it does not just run out"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let retry = RetryRequested { task: TASK.into(), run: 1, actor: "ada".into(), ..Default::default() };
    world.say(retry.clone()).await;
    world.say(retry).await;
    world.decisions(3).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(names(&world.decided().await)[2..], ["TaskScheduled"], "asked twice, one run");
    let task = world.order().await.task.unwrap();
    assert_eq!((task.run, task.spec_version), (2, 2));
}

/// The merge is the point of no return, by the deployer's log.
#[tokio::test(start_paused = true)]
async fn a_cancel_after_the_merge_is_refused_with_the_commit() {
    let world = World::start();
    world.registered(1).await;
    world.decisions(1).await;
    let task = world.order().await.task;
    world.say(MergeCompleted { task, merge_commit: "abc".into(), ..Default::default() }).await;
    world.say(CancelRequested { task: TASK.into(), run: 1, actor: "ada".into(), ..Default::default() }).await;
    let decided = world.decisions(2).await;
    let DispatcherEvent::TransitionRefused(refused) = &decided[1] else { panic!("{decided:?}") };
    assert!(refused.failure.as_ref().unwrap().message.contains("abc"));
}

/// No pull request within its grace: the attempt is repeated, and what the deployer's log says is believed.
#[tokio::test(start_paused = true)]
async fn a_pull_request_that_is_never_seen_is_a_new_attempt() {
    let world = World::start();
    world.registered(1).await;
    world.decisions(1).await;
    let order = world.order().await;
    world.taken(&order).await;
    let done = ExecutionCompleted { task: order.task.clone(), order: order.id.clone(), ..Default::default() };
    world.say(done).await;
    let decided = world.decisions(2).await;
    let DispatcherEvent::WorkOrderIssued(again) = &decided[1] else { panic!("{decided:?}") };
    let order = again.order.clone().unwrap();
    assert_eq!(order.previous_failure.unwrap().known_code(), Some(Code::PrNotCreated));
    assert_eq!(order.task.unwrap().attempt, 2);
}
