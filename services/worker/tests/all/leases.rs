//! S4-TH3, S4-IMP-04, S2-G8b: the lease around the work, on a clock of the test's own: renewed for as long as
//! it is worked on, run out on time when the broker is away, left by a crash, taken away by force; and what
//! comes late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::{Cause, Timestamp};
use millrace_events::catalogue::LEASE_BUCKET;
use millrace_events::v1::{
    CancelRequested, ExecutionCompleted, TaskCancelled, TaskPaused, TaskRef, TaskResumed, TaskScheduled,
    TransitionRefused, WorkOrder, WorkOrderExpired, WorkOrderIssued, WorkOrderKind,
};
use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope, Event, Log, LogEvent as _, WorkerEvent};
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::{Append, Broker};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::clock::Clock;
use millrace_runtime::lease;
use millrace_runtime::log_reader::LogReader;
use millrace_runtime::memory::{GatedBroker, MemoryBroker};
use millrace_runtime::service::ServiceContext;
use millrace_worker::effects::{Gathered, Step, Stop, WorkerService};
use millrace_worker::ports::{Assignment, Work};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{TASK, World, key};

/// As the settings have it.
const LIFE: Duration = Duration::from_secs(30);
/// Of virtual time: nothing waits for it really.
const BOUND: Duration = Duration::from_secs(3_600);

struct Paused(tokio::time::Instant);

#[async_trait]
impl Clock for Paused {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000) + self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Work that only takes time.
#[derive(Default)]
struct Slow {
    takes: Duration,
    begun: AtomicUsize,
    is_told_to_stop: AtomicBool,
}

#[async_trait]
impl Work for Slow {
    async fn run(&self, assignment: &Assignment<'_>, _: &mut Gathered) -> Step<WorkerEvent> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        tokio::select! {
            biased;
            () = assignment.cancel.cancelled() => {
                self.is_told_to_stop.store(true, Ordering::SeqCst);
                Err(Stop::Cancelled)
            }
            () = tokio::time::sleep(self.takes) => {
                let completed = ExecutionCompleted {
                    task: assignment.execute.order.task.clone(),
                    order: assignment.execute.order.id.clone(),
                    worker: assignment.worker.to_owned(),
                    fencing_token: assignment.execute.token,
                    ..ExecutionCompleted::default()
                };
                Ok(completed.into())
            }
        }
    }

    async fn clear(&self, _: &str) -> std::io::Result<()> {
        Ok(())
    }
}

fn slow(seconds: u64) -> Arc<Slow> {
    Arc::new(Slow { takes: Duration::from_secs(seconds), ..Slow::default() })
}

struct Scene {
    world: World,
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    processes: Vec<AbortHandle>,
}

impl Scene {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(Paused(tokio::time::Instant::now()));
        let installation = Installation { lease: LIFE, ..Installation::default() };
        let broker = Arc::new(MemoryBroker::new(clock.clone(), &Declared::of(&installation)));
        Self { world: World::new(), broker, clock, processes: Vec::new() }
    }

    fn leases(&self) -> Bucket {
        Bucket::new(self.broker.clone(), LEASE_BUCKET)
    }

    /// A process of worker `id`, whose way to the broker is open as long as the gate says so.
    fn start(&mut self, id: &str, work: &Arc<Slow>) -> Arc<AtomicBool> {
        let is_open = Arc::new(AtomicBool::new(true));
        let gate = is_open.clone();
        let broker: Arc<dyn Broker> =
            Arc::new(GatedBroker::new(self.broker.clone(), move |_: &str| gate.load(Ordering::SeqCst)));
        let context = ServiceContext {
            broker: broker.clone(),
            clock: self.clock.clone(),
            leases: Arc::new(Bucket::new(broker, LEASE_BUCKET)),
            stop: CancellationToken::new(),
            ..self.world.context(&format!("{id}-process"))
        };
        let service = WorkerService::new(context.clone(), id.to_owned(), work.clone());
        #[expect(clippy::disallowed_methods, reason = "a process of the test's own")]
        let process = tokio::spawn(async move { context.host(service, 2).await });
        self.processes.push(process.abort_handle());
        is_open
    }

    async fn say(&self, event: impl Into<Event>) {
        let _place = self.answer(event, None).await;
    }

    /// Says it because of something. Where it stands.
    async fn answer(&self, event: impl Into<Event>, cause: Option<Cause>) -> Cause {
        let event = event.into();
        let log = event.log();
        let envelope = Envelope { cause, ..Envelope::new("id", "/test", key(), self.clock.now(), &event) };
        let append = Append::new(log.stream(0), log.subject(&key(), 1), envelope.encode());
        let appended = self.broker.append(&append.content_type(CONTENT_TYPE_PROTOBUF)).await.unwrap();
        Cause::new(log.stream(0), appended.sequence)
    }

    /// The first order.
    async fn scheduled(&self) -> WorkOrder {
        let order = order(1);
        let (task, offer) = (order.task.clone(), Some(order.clone()));
        self.say(TaskScheduled { task, order: offer, ..Default::default() }).await;
        order
    }

    /// The dispatcher gives an order up and offers the next attempt.
    async fn taken_over(&self, lost: &WorkOrder) {
        let expired =
            WorkOrderExpired { task: lost.task.clone(), order: lost.id.clone(), ..Default::default() };
        self.say(expired).await;
        let next = order(2);
        self.say(WorkOrderIssued { task: next.task.clone(), order: Some(next), ..Default::default() }).await;
    }

    async fn said(&self) -> Vec<(&'static str, u32)> {
        let logged = LogReader::new(self.broker.clone(), 1).events(Log::Worker, &key()).await.unwrap();
        let events = logged.into_iter().filter_map(|logged| WorkerEvent::from_event(logged.event));
        events.map(|event| (event.name(), event.task_ref().map_or(0, |task| task.attempt))).collect()
    }

    async fn says(&self, said: &[(&str, u32)]) {
        self.until(&format!("{said:?}"), async || self.said().await == said).await;
    }

    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let began = self.clock.now();
        while !holds().await {
            assert!(self.clock.now().since(began) < BOUND, "waiting for {what}: {:?}", self.said().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn is_held(&self, order: &WorkOrder) -> bool {
        lease::is_alive(&self.leases(), &order.id).await.unwrap()
    }

    async fn begun(&self, work: &Slow) {
        self.until("work", async || work.begun.load(Ordering::SeqCst) > 0).await;
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.processes.iter().for_each(AbortHandle::abort);
    }
}

fn order(attempt: u32) -> WorkOrder {
    let task = TaskRef { task: TASK.to_owned(), run: 1, attempt, ..TaskRef::default() };
    WorkOrder {
        id: format!("{TASK}/1.{attempt}/change/1"),
        kind: WorkOrderKind::Change as i32,
        task: Some(task),
        tries: 1,
        execution_limit_ms: 1_800_000,
        ..WorkOrder::default()
    }
}

const CLAIMED: (&str, u32) = ("WorkOrderAcknowledged", 1);
const TAKEN_OVER: (&str, u32) = ("WorkOrderAcknowledged", 2);

#[tokio::test(start_paused = true)]
async fn s4_th3_a_lease_is_renewed_for_as_long_as_the_work_takes() {
    let mut scene = Scene::new();
    let work = slow(10 * LIFE.as_secs());
    scene.start("w1", &work);
    let order = scene.scheduled().await;
    scene.begun(&work).await;
    for second in 0..10 * LIFE.as_secs() - 2 {
        assert!(scene.is_held(&order).await, "after {second} s");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    scene.says(&[CLAIMED, ("ExecutionCompleted", 1)]).await;
    scene.until("the lease given back", async || !scene.is_held(&order).await).await;
}

#[tokio::test(start_paused = true)]
async fn s4_th3_an_outage_shorter_than_what_is_left_of_the_lease_costs_nothing() {
    let mut scene = Scene::new();
    let work = slow(120);
    let gate = scene.start("w1", &work);
    scene.scheduled().await;
    scene.begun(&work).await;
    // A renewal is due every 10 s: at worst 20 s are left.
    gate.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(19)).await;
    gate.store(true, Ordering::SeqCst);
    scene.says(&[CLAIMED, ("ExecutionCompleted", 1)]).await;
    assert_eq!(work.begun.load(Ordering::SeqCst), 1);
}

/// Fail closed: who cannot reach the leases stops when its own runs out at the latest, and does the work again
/// when the order is still its own.
#[tokio::test(start_paused = true)]
async fn s4_imp_04_a_longer_one_stops_the_work_in_time_and_it_is_done_again() {
    let mut scene = Scene::new();
    let work = slow(120);
    let gate = scene.start("w1", &work);
    let order = scene.scheduled().await;
    scene.begun(&work).await;
    gate.store(false, Ordering::SeqCst);
    let shut_at = scene.clock.now();
    scene.until("a stop", async || work.is_told_to_stop.load(Ordering::SeqCst)).await;
    assert!(scene.clock.now().since(shut_at) <= LIFE);
    scene.until("the lease run out", async || !scene.is_held(&order).await).await;
    gate.store(true, Ordering::SeqCst);
    scene.says(&[CLAIMED, ("ExecutionCompleted", 1)]).await;
    assert_eq!(work.begun.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn s4_th3_what_a_crash_leaves_runs_out_and_is_taken_over_as_a_new_attempt() {
    let mut scene = Scene::new();
    let (first, second) = (slow(600), slow(5));
    scene.start("w1", &first);
    let lost = scene.scheduled().await;
    scene.begun(&first).await;
    scene.processes.drain(..).for_each(|process| process.abort());
    scene.start("w2", &second);
    scene.until("the lease run out", async || !scene.is_held(&lost).await).await;
    assert_eq!(second.begun.load(Ordering::SeqCst), 0, "a claimed order is nobody else's");
    scene.taken_over(&lost).await;
    scene.says(&[CLAIMED, TAKEN_OVER, ("ExecutionCompleted", 2)]).await;
}

#[tokio::test(start_paused = true)]
async fn s4_th3_a_lease_that_is_taken_away_stops_the_work_within_5_seconds() {
    let mut scene = Scene::new();
    let work = slow(600);
    scene.start("w1", &work);
    let order = scene.scheduled().await;
    scene.begun(&work).await;
    lease::end(&scene.leases(), &order.id).await.unwrap();
    let taken_at = scene.clock.now();
    scene.until("a stop", async || work.is_told_to_stop.load(Ordering::SeqCst)).await;
    // On the test's clock, so that no busy machine makes it longer.
    assert!(scene.clock.now().since(taken_at) <= Duration::from_secs(5));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(scene.said().await, [CLAIMED], "nothing more is said");
    assert_eq!(work.begun.load(Ordering::SeqCst), 1);
    assert!(!scene.is_held(&order).await);
}

/// The worker had finished, and was cut off before it could say so. When it can, the work is another's.
#[tokio::test(start_paused = true)]
async fn s2_g8b_the_late_end_of_what_was_taken_over_is_refused_by_the_log() {
    let mut scene = Scene::new();
    let (first, second) = (slow(25), slow(600));
    let gate = scene.start("w1", &first);
    let lost = scene.scheduled().await;
    scene.begun(&first).await;
    tokio::time::sleep(Duration::from_secs(21)).await;
    gate.store(false, Ordering::SeqCst);
    scene.until("the lease run out", async || !scene.is_held(&lost).await).await;
    assert!(!first.is_told_to_stop.load(Ordering::SeqCst), "it was done before its lease ran out");
    scene.start("w2", &second);
    scene.taken_over(&lost).await;
    scene.says(&[CLAIMED, TAKEN_OVER]).await;
    gate.store(true, Ordering::SeqCst);
    scene.says(&[CLAIMED, TAKEN_OVER, ("ExecutionCompleted", 2)]).await;
}

#[tokio::test(start_paused = true)]
async fn an_order_of_a_paused_task_is_given_back_unbegun() {
    let mut scene = Scene::new();
    let work = slow(5);
    let order = scene.scheduled().await;
    scene.say(TaskPaused { task: order.task.clone(), ..TaskPaused::default() }).await;
    scene.start("w1", &work);
    scene.says(&[CLAIMED, ("ExecutionSuspended", 1)]).await;
    scene.until("the lease given back", async || !scene.is_held(&order).await).await;
    assert_eq!(work.begun.load(Ordering::SeqCst), 0);
    // Offered again after the resume, it is done.
    scene.say(TaskResumed { task: order.task.clone(), ..TaskResumed::default() }).await;
    let again = WorkOrder { id: format!("{TASK}/1.1/change/2"), ..order };
    scene.say(WorkOrderIssued { task: again.task.clone(), order: Some(again), ..Default::default() }).await;
    let end = [CLAIMED, ("ExecutionSuspended", 1), CLAIMED, ("ExecutionCompleted", 1)];
    scene.says(&end).await;
}

/// Nobody has answered the cancel, for the deployer is away: what is offered meanwhile is left alone.
#[tokio::test(start_paused = true)]
async fn an_order_of_a_run_that_a_person_has_cancelled_is_not_begun() {
    for (run, is_refused) in [(1, false), (0, false), (1, true), (0, true)] {
        let mut scene = Scene::new();
        let work = slow(5);
        let order = scene.scheduled().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let request = CancelRequested { task: TASK.to_owned(), run, ..CancelRequested::default() };
        let place = scene.answer(request, None).await;
        if is_refused {
            let refused = TransitionRefused { task: order.task.clone(), ..TransitionRefused::default() };
            let _place = scene.answer(refused, Some(place)).await;
        }
        scene.start("w1", &work);
        if is_refused {
            scene.says(&[CLAIMED, ("ExecutionCompleted", 1)]).await;
            continue;
        }
        scene.says(&[CLAIMED]).await;
        scene.until("the lease given back", async || !scene.is_held(&order).await).await;
        tokio::time::sleep(LIFE).await;
        assert_eq!(work.begun.load(Ordering::SeqCst), 0);
        assert_eq!(scene.said().await, [CLAIMED]);
    }
}

/// What was cancelled is the run before: by its number, by the time of the request, or because it is.
#[tokio::test(start_paused = true)]
async fn a_cancel_of_the_run_before_keeps_nobody_from_the_next_one() {
    for (run, is_recorded, after) in [(1, false, false), (0, false, false), (0, true, true)] {
        let mut scene = Scene::new();
        let work = slow(5);
        let request = CancelRequested { task: TASK.to_owned(), run, ..CancelRequested::default() };
        if !after {
            scene.say(request.clone()).await;
        }
        let first = order(1);
        if is_recorded {
            scene.say(TaskCancelled { task: first.task.clone(), ..TaskCancelled::default() }).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let task = first.task.clone().map(|task| TaskRef { run: 2, ..task });
        let next = WorkOrder { id: format!("{TASK}/2.1/change/1"), task, ..first };
        let (task, offer) = (next.task.clone(), Some(next));
        scene.say(TaskScheduled { task, order: offer, ..Default::default() }).await;
        if after {
            tokio::time::sleep(Duration::from_secs(1)).await;
            scene.say(request).await;
        }
        scene.start("w1", &work);
        scene.says(&[CLAIMED, ("ExecutionCompleted", 1)]).await;
    }
}
