//! Dispatchers on the broker's twin in memory. Time passes only when everybody waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::Timestamp;
use millrace_events::catalogue::{HEALTH_BUCKET, LEASE_BUCKET, QUEUE_BUCKET, SLOT_BUCKET, TARGET_BUCKET};
use millrace_events::v1::*;
use millrace_events::{CONTENT_TYPE_PROTOBUF, DispatcherEvent, Envelope, Event, Key, Log};
use millrace_rpc::HealthHandle;
use millrace_runtime::blobs::Blobs;
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::{
    Append, AppendError, Appended, Broker, BrokerError, Consumer, Stored, StreamState,
};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::clock::Clock;
use millrace_runtime::kv::Kv;
use millrace_runtime::memory::{MemoryBroker, SeededIds};
use millrace_runtime::service::{ServiceContext, ServiceError};
use millrace_runtime::settings::Settings;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Longest wait for something to happen, in the time of the test.
const BOUND: Duration = Duration::from_secs(24 * 3600);

struct PausedClock(tokio::time::Instant);

#[async_trait]
impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000) + self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

pub(crate) fn paused_clock() -> Arc<dyn Clock> {
    Arc::new(PausedClock(tokio::time::Instant::now()))
}

pub(crate) fn memory(clock: &Arc<dyn Clock>) -> MemoryBroker {
    MemoryBroker::new(clock.clone(), &Declared::of(&Installation::default()))
}

/// Everything that a dispatcher lives in.
pub(crate) struct World {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    processes: Vec<JoinSet<Result<(), ServiceError>>>,
}

/// A dispatcher as it is run in production.
pub(crate) fn start(
    broker: &Arc<dyn Broker>,
    clock: &Arc<dyn Clock>,
    settings: &Settings,
) -> JoinSet<Result<(), ServiceError>> {
    let bucket = |name: &str| -> Arc<dyn Kv> { Arc::new(Bucket::new(broker.clone(), name)) };
    let context = ServiceContext {
        settings: Arc::new(settings.clone()),
        instance: "dispatcher-1".to_owned(),
        broker: broker.clone(),
        clock: clock.clone(),
        ids: Arc::new(SeededIds::new(1)),
        leases: bucket(LEASE_BUCKET),
        targets: bucket(TARGET_BUCKET),
        queue: bucket(QUEUE_BUCKET),
        slots: bucket(SLOT_BUCKET),
        heartbeats: bucket(HEALTH_BUCKET),
        blobs: Blobs::new(broker.clone(), 1_000),
        health: HealthHandle::new(),
        stop: CancellationToken::new(),
    };
    let mut running = JoinSet::new();
    running.spawn(millrace_dispatcher::run(context));
    running
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        let clock = paused_clock();
        let broker = memory(&clock);
        Self::on(Arc::new(broker), clock, settings)
    }

    pub(crate) fn on(broker: Arc<dyn Broker>, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        Self { broker, clock, settings, processes: Vec::new() }
    }

    /// Starts one more dispatcher.
    pub(crate) fn start(&mut self) {
        self.processes.push(start(&self.broker, &self.clock, &self.settings));
    }

    /// Kills all dispatchers.
    pub(crate) fn kill(&mut self) {
        self.processes.clear();
    }

    pub(crate) fn bucket(&self, name: &str) -> Bucket {
        Bucket::new(self.broker.clone(), name)
    }

    pub(crate) async fn say(&self, key: &str, event: impl Into<Event>) {
        let event = event.into();
        let key = Key::new(key).unwrap();
        let log = event.log();
        let sequence = self.broker.stream_state(&log.stream(0)).await.unwrap().last;
        let id = format!("{}-{sequence}", log.name());
        let envelope = Envelope::new(id, "/test", key.clone(), self.clock.now(), &event);
        let append = Append::new(log.stream(0), log.subject(&key, 1), envelope.encode());
        let _ = self.broker.append(&append.content_type(CONTENT_TYPE_PROTOBUF)).await.unwrap();
    }

    pub(crate) async fn register(&self, task: &str, domain: &str, priority: Priority) {
        let spec = SpecRegistered {
            task: task.into(),
            repository: "shop".into(),
            version: 1,
            domain: domain.into(),
            priority: priority as i32,
            readiness: SpecReadiness::Ready as i32,
            ..Default::default()
        };
        self.say(task, spec).await;
    }

    /// A sign of life of a worker.
    pub(crate) async fn beat(&self) {
        self.bucket(HEALTH_BUCKET).put("worker.1", b"{}").await.unwrap();
    }

    /// A worker takes the order of a task.
    pub(crate) async fn take(&self, order: &WorkOrder) {
        let taken = WorkOrderAcknowledged {
            task: order.task.clone(),
            order: order.id.clone(),
            worker: "w".into(),
            ..Default::default()
        };
        self.say(&order.task.as_ref().unwrap().task, taken).await;
    }

    /// The run of an order is released.
    pub(crate) async fn release(&self, order: &WorkOrder) {
        let verified = DeploymentVerified { task: order.task.clone(), ..Default::default() };
        self.say(&order.task.as_ref().unwrap().task, verified).await;
    }

    pub(crate) async fn decided(&self) -> Vec<DispatcherEvent> {
        let stored = self.broker.read(&Log::Dispatcher.stream(0), None, 1, usize::MAX).await.unwrap();
        let events = stored.iter().map(|stored| Envelope::decode(&stored.payload).unwrap().event().unwrap());
        events
            .map(|event| match event {
                Some(Event::Dispatcher(event)) => event,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// What the log says by now.
    pub(crate) async fn told(&self) -> Told {
        let mut told = Told::default();
        for event in self.decided().await {
            told.hear(event);
        }
        told
    }

    /// What the log says, once it says this.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Told) -> bool) -> Told {
        let started = tokio::time::Instant::now();
        loop {
            let told = self.told().await;
            if holds(&told) {
                return told;
            }
            assert!(started.elapsed() < BOUND, "{what}: {told:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Lets time pass.
    pub(crate) async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

/// What became of all tasks.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// On offer or under way, with the last order.
    pub(crate) active: BTreeMap<String, WorkOrder>,
    /// Waiting, with the reason.
    pub(crate) pending: BTreeMap<String, String>,
    /// Over, with the terminal event.
    pub(crate) ended: BTreeMap<String, DispatcherEvent>,
    /// In the order in which they came on offer.
    pub(crate) let_in: Vec<String>,
    /// Most that were active at a time.
    pub(crate) most: usize,
    /// Every event's name.
    pub(crate) names: Vec<&'static str>,
}

impl Told {
    fn hear(&mut self, event: DispatcherEvent) {
        self.names.push(millrace_events::LogEvent::name(&event));
        let task = event.task_ref().map(|task| task.task.clone()).unwrap_or_default();
        let order = match &event {
            DispatcherEvent::TaskScheduled(event) if event.order.is_none() => {
                self.pending.insert(task, event.waits_for.clone());
                return;
            }
            DispatcherEvent::TaskScheduled(event) => event.order.clone(),
            DispatcherEvent::WorkOrderIssued(event) => event.order.clone(),
            DispatcherEvent::TaskCompleted(_)
            | DispatcherEvent::TaskFailed(_)
            | DispatcherEvent::TaskBlocked(_)
            | DispatcherEvent::TaskCancelled(_) => {
                self.active.remove(&task);
                self.pending.remove(&task);
                let before = self.ended.insert(task, event);
                assert!(before.is_none(), "two terminal events: {before:?}");
                return;
            }
            _ => return,
        };
        self.pending.remove(&task);
        if self.active.insert(task.clone(), order.unwrap()).is_none() {
            self.let_in.push(task);
        }
        self.most = self.most.max(self.active.len());
    }

    pub(crate) fn active(&self) -> Vec<&str> {
        self.active.keys().map(String::as_str).collect()
    }
}

/// Counts what is asked about single tasks, and takes its time before and after everything it does.
pub(crate) struct Watched {
    broker: MemoryBroker,
    pause: Duration,
    /// Asked about single tasks so far.
    pub(crate) about_tasks: AtomicUsize,
}

impl Watched {
    pub(crate) fn new(broker: MemoryBroker, pause: Duration) -> Self {
        Self { broker, pause, about_tasks: AtomicUsize::new(0) }
    }

    async fn slowly<T>(&self, work: impl Future<Output = T>) -> T {
        if self.pause.is_zero() {
            return work.await;
        }
        tokio::time::sleep(self.pause).await;
        let done = work.await;
        tokio::time::sleep(self.pause).await;
        done
    }

    fn count(&self, subject: &str) {
        self.about_tasks.fetch_add(usize::from(subject.contains("VTID")), Ordering::SeqCst);
    }
}

#[async_trait]
impl Broker for Watched {
    async fn append(&self, message: &Append) -> Result<Appended, AppendError> {
        self.count(&message.subject);
        self.slowly(self.broker.append(message)).await
    }
    async fn last(&self, stream: &str, subject: &str) -> Result<Option<Stored>, BrokerError> {
        self.count(subject);
        self.slowly(self.broker.last(stream, subject)).await
    }
    async fn get(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, BrokerError> {
        self.slowly(self.broker.get(stream, sequence)).await
    }
    async fn read(
        &self,
        stream: &str,
        subject: Option<&str>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, BrokerError> {
        self.count(subject.unwrap_or_default());
        self.slowly(self.broker.read(stream, subject, from, limit)).await
    }
    async fn stream_state(&self, stream: &str) -> Result<StreamState, BrokerError> {
        self.broker.stream_state(stream).await
    }
    async fn purge_subject(&self, stream: &str, subject: &str) -> Result<(), BrokerError> {
        self.broker.purge_subject(stream, subject).await
    }
    async fn consumer(&self, stream: &str, durable: &str) -> Result<Box<dyn Consumer>, BrokerError> {
        self.broker.consumer(stream, durable).await
    }
    fn is_connected(&self) -> bool {
        self.broker.is_connected()
    }
}
