//! S2-G2a, S2-G2b, S2-G2c, S4-VER5, S4-SP5: many workers reach for the same orders, and each order has one
//! claim. The loser writes nothing, is counted, and takes other work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::Timestamp;
use millrace_events::v1::{ExecutionCompleted, TaskRef, TaskScheduled, WorkOrder, WorkOrderKind};
use millrace_events::{
    CONTENT_TYPE_PROTOBUF, DispatcherEvent, Envelope, Event, Key, Log, Service, WorkerEvent,
};
use millrace_runtime::bootstrap::{Declared, Installation, OnDifference, bootstrap};
use millrace_runtime::broker::{
    Append, AppendError, Appended, Broker, BrokerError, Consumer, Delivery, Stored, StreamState,
};
use millrace_runtime::clock::{Clock, System};
use millrace_runtime::host::{EffectContext, Fault, Host, HostOptions, Hosted, Incoming, Received};
use millrace_runtime::memory::MemoryBroker;
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_testkit::NatsServer;
use millrace_worker::domain::{Effect, Input, Offer, Orders, Said, Worker};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const TASKS: u64 = 200;
const WORKERS: u64 = 50;
/// How many workers are offered one order.
const OFFERED_TO: u64 = 10;
const BOUND: Duration = Duration::from_secs(120);
/// How long an order is worked on.
const WORK: Duration = Duration::from_millis(20);

/// The worker's decider, and work that only takes time.
struct Idle {
    decider: Worker,
    clock: Arc<dyn Clock>,
    lost: Arc<AtomicU64>,
}

#[async_trait]
impl Hosted for Idle {
    type Decider = Worker;
    const SERVICE: Service = Service::Worker;

    fn decider(&self) -> &Worker {
        &self.decider
    }

    fn accept(&self, received: &Received) -> Option<Input> {
        let Incoming::Event(Event::Dispatcher(DispatcherEvent::TaskScheduled(event))) = &received.incoming
        else {
            return None;
        };
        let (task, order) = (received.key.clone(), event.order.clone()?);
        Some(Input::Offered(Box::new(Offer { task, order })))
    }

    fn key(&self, input: &Input) -> Key {
        input.task().clone()
    }

    /// As the real service answers; counted beside what the host counts for the collector.
    fn came_second(&self, orders: &Orders, input: &Input) -> bool {
        let lost = self.decider.came_second(orders, input);
        self.lost.fetch_add(u64::from(lost), Ordering::SeqCst);
        lost
    }

    async fn perform(&self, effect: &Effect, _: &EffectContext) -> Result<Option<Input>, Fault> {
        let Effect::Execute(execute) = effect else { return Ok(None) };
        self.clock.sleep(WORK).await;
        let event: WorkerEvent = ExecutionCompleted {
            task: execute.order.task.clone(),
            order: execute.order.id.clone(),
            worker: self.decider.worker.clone(),
            fencing_token: execute.token,
            ..ExecutionCompleted::default()
        }
        .into();
        Ok(Some(Input::Ended(Box::new(Said {
            task: execute.task.clone(),
            order: execute.order.id.clone(),
            token: execute.token,
            event,
        }))))
    }
}

/// A broker that offers every order to several workers at once, as a redelivery or a second stream would.
struct Crowded {
    inner: Arc<dyn Broker>,
    /// Which of the workers this one is.
    worker: u64,
    delivered: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
}

struct Offers {
    broker: Arc<dyn Broker>,
    stream: String,
    worker: u64,
    next: Mutex<u64>,
    delivered: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
}

struct Offered {
    message: Stored,
    answered: Arc<AtomicU64>,
}

/// Whether the worker is among those who are offered the order at `sequence`; spread so that any two workers
/// meet.
fn is_offered(worker: u64, sequence: u64) -> bool {
    (worker * 7 + sequence * 13) % WORKERS < OFFERED_TO
}

#[async_trait]
impl Consumer for Offers {
    async fn fetch(&self, limit: usize, wait: Duration) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        let from = *self.next.lock().unwrap();
        let batch = self.broker.read(&self.stream, None, from, 32).await?;
        let mut offers: Vec<Box<dyn Delivery>> = Vec::new();
        for message in batch {
            if offers.len() == limit {
                break;
            }
            *self.next.lock().unwrap() = message.sequence + 1;
            if is_offered(self.worker, message.sequence) {
                self.delivered.fetch_add(1, Ordering::SeqCst);
                offers.push(Box::new(Offered { message, answered: self.answered.clone() }));
            }
        }
        if offers.is_empty() {
            tokio::time::sleep(wait.min(Duration::from_millis(50))).await;
        }
        Ok(offers)
    }
}

#[async_trait]
impl Delivery for Offered {
    fn message(&self) -> &Stored {
        &self.message
    }

    async fn acknowledge(&self) -> Result<(), BrokerError> {
        self.answered.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn give_back(&self, _: Duration) -> Result<(), BrokerError> {
        panic!("nothing here comes too early")
    }

    async fn in_progress(&self) -> Result<(), BrokerError> {
        Ok(())
    }
}

#[async_trait]
impl Broker for Crowded {
    async fn append(&self, message: &Append) -> Result<Appended, AppendError> {
        self.inner.append(message).await
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<Option<Stored>, BrokerError> {
        self.inner.last(stream, subject).await
    }

    async fn get(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, BrokerError> {
        self.inner.get(stream, sequence).await
    }

    async fn read(
        &self,
        stream: &str,
        subject: Option<&str>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, BrokerError> {
        self.inner.read(stream, subject, from, limit).await
    }

    async fn stream_state(&self, stream: &str) -> Result<StreamState, BrokerError> {
        self.inner.stream_state(stream).await
    }

    async fn purge_subject(&self, stream: &str, subject: &str) -> Result<(), BrokerError> {
        self.inner.purge_subject(stream, subject).await
    }

    async fn consumer(&self, stream: &str, durable: &str) -> Result<Box<dyn Consumer>, BrokerError> {
        if stream != Log::Dispatcher.stream(0) {
            return self.inner.consumer(stream, durable).await;
        }
        Ok(Box::new(Offers {
            broker: self.inner.clone(),
            stream: stream.to_owned(),
            worker: self.worker,
            next: Mutex::new(1),
            delivered: self.delivered.clone(),
            answered: self.answered.clone(),
        }))
    }

    fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }
}

fn task(number: u64) -> String {
    format!("VTID-{number:05}")
}

async fn offer_all(broker: &dyn Broker, now: Timestamp) {
    for number in 1..=TASKS {
        let key = Key::new(task(number)).unwrap();
        let about = TaskRef { task: task(number), run: 1, attempt: 1, ..TaskRef::default() };
        let order = WorkOrder {
            id: format!("{key}/1.1/change/1"),
            kind: WorkOrderKind::Change as i32,
            task: Some(about.clone()),
            ..WorkOrder::default()
        };
        let event: Event =
            TaskScheduled { task: Some(about), order: Some(order), ..TaskScheduled::default() }.into();
        let envelope = Envelope::new(task(number), "/test", key.clone(), now, &event);
        let (stream, subject) = (Log::Dispatcher.stream(0), Log::Dispatcher.subject(&key, 1));
        let append = Append::new(stream, subject, envelope.encode()).content_type(CONTENT_TYPE_PROTOBUF);
        let _ = broker.append(&append).await.unwrap();
    }
}

/// Lets the workers race, one half on each of the two connections.
async fn race(brokers: [Arc<dyn Broker>; 2], clock: Arc<dyn Clock>) {
    offer_all(brokers[0].as_ref(), clock.now()).await;
    let offered: u64 = (0..WORKERS)
        .map(|worker| (1..=TASKS).filter(|sequence| is_offered(worker, *sequence)).count() as u64)
        .sum();
    let (delivered, answered, lost): (Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
    let stop = CancellationToken::new();
    let mut hosts = JoinSet::new();
    for worker in 0..WORKERS {
        let inner = brokers[(worker % 2) as usize].clone();
        let broker = Crowded { inner, worker, delivered: delivered.clone(), answered: answered.clone() };
        let decider = Worker { worker: format!("worker-{worker}"), instance: format!("process-{worker}") };
        let service = Idle { decider, clock: clock.clone(), lost: lost.clone() };
        let options = HostOptions { concurrency: 1, seed: worker, ..HostOptions::default() };
        hosts.spawn(Host::new(service, Arc::new(broker), clock.clone(), options, stop.clone()).run());
    }
    let all_answered = async {
        while answered.load(Ordering::SeqCst) < offered {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(BOUND, all_answered).await.expect("every offer has an answer in time");
    stop.cancel();
    while let Some(ended) = hosts.join_next().await {
        ended.unwrap().unwrap();
    }

    let log = brokers[0].read(&Log::Worker.stream(0), None, 1, 10_000).await.unwrap();
    let mut claims: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut writers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for stored in &log {
        let envelope = Envelope::decode(&stored.payload).unwrap();
        let Some(Event::Worker(event)) = envelope.event().unwrap() else { panic!("{envelope:?}") };
        let writer = match event {
            WorkerEvent::WorkOrderAcknowledged(claim) => {
                claims.entry(envelope.key.to_string()).or_default().push(claim.worker.clone());
                claim.worker
            }
            WorkerEvent::ExecutionCompleted(end) => end.worker,
            other => panic!("{other:?}"),
        };
        writers.entry(envelope.key.to_string()).or_default().insert(writer);
    }
    assert_eq!(claims.len() as u64, TASKS, "every order is claimed");
    assert!(claims.values().all(|claim| claim.len() == 1), "S2-G2a: and by one: {claims:?}");
    assert_eq!(log.len() as u64, 2 * TASKS, "one claim and one end each: no loser wrote anything");
    assert!(writers.values().all(|writers| writers.len() == 1), "{writers:?}");
    let (delivered, lost) = (delivered.load(Ordering::SeqCst), lost.load(Ordering::SeqCst));
    assert_eq!(delivered, offered);
    assert_eq!(lost, delivered - TASKS, "S2-G2b: whoever did not claim is counted");
    let busy: BTreeSet<&String> = claims.values().flatten().collect();
    assert_eq!(busy.len() as u64, WORKERS, "S4-SP5: whoever loses one order takes another");
}

#[tokio::test(start_paused = true)]
async fn s2_g2a_of_fifty_workers_one_claims_each_order() {
    let clock: Arc<dyn Clock> = Arc::new(System);
    let declared = Declared::of(&Installation::default());
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(clock.clone(), &declared));
    race([broker.clone(), broker], clock).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_g2b_of_fifty_workers_on_two_connections_one_claims_each_order() {
    let server = NatsServer::start();
    let connect = async || {
        let options = ConnectOptions::new(server.client_url(), "tester");
        NatsBroker::connect(options).await.unwrap()
    };
    let (one, other) = (connect().await, connect().await);
    bootstrap(&one, &Declared::of(&Installation::default()), OnDifference::Report).await.unwrap();
    race([Arc::new(one), Arc::new(other)], Arc::new(System)).await;
}
