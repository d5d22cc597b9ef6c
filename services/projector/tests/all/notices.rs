//! What the projector says in its own log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::Cause;
use millrace_events::{Log, Service, v1};
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::{
    Append, AppendError, Appended, Broker, BrokerError, Consumer, Delivery, Stored, StreamState,
};
use millrace_runtime::clock::{Clock, System};
use millrace_runtime::memory::{ManualClock, MemoryBroker};
use millrace_testkit::eventually;

use super::support::{BOUND, World, acknowledged, append, scheduled};
use super::watched::Watched;

/// Says how long the worker's log is, and does not show it.
#[derive(Clone)]
struct Withholding {
    inner: MemoryBroker,
    withholds: Arc<AtomicBool>,
    /// How often somebody asked how long the dispatcher's log is.
    looks: Arc<AtomicUsize>,
}

impl Withholding {
    fn hides(&self, stream: &str) -> bool {
        self.withholds.load(Ordering::SeqCst) && stream == Log::Worker.stream(0)
    }
}

/// Its consumer: it does not ring either.
struct Silent {
    consumer: Box<dyn Consumer>,
    broker: Withholding,
    stream: String,
}

#[async_trait]
impl Consumer for Silent {
    async fn fetch(&self, limit: usize, wait: Duration) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        if self.broker.hides(&self.stream) {
            tokio::time::sleep(wait).await;
            return Ok(Vec::new());
        }
        self.consumer.fetch(limit, wait).await
    }
}

#[async_trait]
impl Broker for Withholding {
    async fn append(&self, append: &Append) -> Result<Appended, AppendError> {
        self.inner.append(append).await
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
        if self.hides(stream) { Ok(Vec::new()) } else { self.inner.read(stream, subject, from, limit).await }
    }
    async fn stream_state(&self, stream: &str) -> Result<StreamState, BrokerError> {
        if stream == Log::Dispatcher.stream(0) {
            self.looks.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.stream_state(stream).await
    }
    async fn purge_subject(&self, stream: &str, subject: &str) -> Result<(), BrokerError> {
        self.inner.purge_subject(stream, subject).await
    }
    async fn consumer(&self, stream: &str, durable: &str) -> Result<Box<dyn Consumer>, BrokerError> {
        let consumer = self.inner.consumer(stream, durable).await?;
        let (broker, stream) = (self.clone(), stream.to_owned());
        Ok(Box::new(Silent { consumer, broker, stream }))
    }
    fn is_connected(&self) -> bool {
        true
    }
}

/// Names of the projector's events, in order.
async fn said(world: &World) -> Vec<String> {
    let stream = Log::Projector.stream(0);
    let messages = world.broker.read(&stream, None, 1, 100).await.unwrap();
    let names = messages.iter().map(|message| {
        let envelope = millrace_events::Envelope::decode(&message.payload).unwrap();
        format!("{} {}", envelope.name(), envelope.key)
    });
    names.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_mon2_a_silent_active_task_is_noticed_once_after_ninety_minutes() {
    let clock = Arc::new(ManualClock::at(System.now()));
    let world = World::at(clock.clone(), Arc::new(System)).await;
    let running = world.start();
    let cause = world.append("VTID-00001", None, scheduled("VTID-00001")).await;
    world.wait_for(&cause).await;
    clock.advance(Duration::from_secs(89 * 60));
    // A waiting task is nobody's fault; it is there so that something is said about the other one only.
    let other = world.append("VTID-00002", None, scheduled("VTID-00002")).await;
    let waiting = v1::ApprovalRequired { task: super::support::about("VTID-00002"), ..Default::default() };
    let place = world.append("VTID-00002", Some(&other), waiting).await;
    world.wait_for(&place).await;
    assert!(said(&world).await.is_empty());

    clock.advance(Duration::from_secs(5 * 60));
    let notice = Cause::new(Log::Projector.stream(0), 1);
    world.wait_for(&notice).await;
    // Sweep upon sweep says nothing new, until something happens and silence falls again.
    clock.advance(Duration::from_secs(5 * 60));
    let again = world.append("VTID-00001", Some(&cause), acknowledged("VTID-00001")).await;
    world.wait_for(&again).await;
    clock.advance(Duration::from_secs(180 * 60));
    world.wait_for(&Cause::new(Log::Projector.stream(0), 2)).await;
    running.stop().await;
    assert_eq!(said(&world).await, ["OverdueNoticed VTID-00001", "OverdueNoticed VTID-00001"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_that_was_away_takes_nobody_for_silent() {
    let clock = Arc::new(ManualClock::at(System.now()));
    let world = World::at(clock.clone(), clock.clone()).await;
    let running = world.start();
    let cause = world.append("VTID-00001", None, scheduled("VTID-00001")).await;
    world.wait_for(&cause).await;
    running.stop().await;
    // It spoke meanwhile, and nobody has read that yet.
    clock.advance(Duration::from_secs(100 * 60));
    let key = millrace_events::Key::new("VTID-00001").unwrap();
    let event = acknowledged("VTID-00001").into();
    let envelope =
        millrace_events::Envelope::new("spoken", "/millrace/test", key.clone(), clock.now(), &event);
    let append = Append::new(Log::Worker.stream(0), Log::Worker.subject(&key, 1), envelope.encode());
    let append = append.content_type(millrace_events::CONTENT_TYPE_PROTOBUF);
    let spoken = Cause::new(Log::Worker.stream(0), world.broker.append(&append).await.unwrap().sequence);
    let slow = Withholding {
        inner: world.broker.clone(),
        withholds: Arc::new(AtomicBool::new(true)),
        looks: Arc::default(),
    };
    let running = world.start_on(Arc::new(slow.clone()));
    eventually!(BOUND, "several sweeps", slow.looks.load(Ordering::SeqCst) > 5);
    assert!(said(&world).await.is_empty());
    slow.withholds.store(false, Ordering::SeqCst);
    world.wait_for(&spoken).await;
    running.stop().await;
    assert!(said(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_mon2_while_an_alarm_stands_and_ninety_minutes_after_it_nobody_is_silent() {
    let clock = Arc::new(ManualClock::at(System.now()));
    let world = World::at(clock.clone(), clock.clone()).await;
    let watched = Watched::new(&world.broker);
    let running = world.start_on(Arc::new(watched.clone()));
    let cause = world.append("VTID-00001", None, scheduled("VTID-00001")).await;
    world.wait_for(&cause).await;
    world.broker.delete_consumer(&Log::Worker.stream(0), Service::Dispatcher.durable());
    eventually!(BOUND, said(&world).await == ["LogDiffers worker"]);
    // Its next order is withheld as long as that.
    clock.advance(Duration::from_secs(100 * 60));
    watched.sweeps(5).await;
    assert_eq!(said(&world).await, ["LogDiffers worker"]);
    world.broker.declare(&Declared::of(&Installation::default()));
    eventually!(BOUND, said(&world).await.len() == 2);
    clock.advance(Duration::from_secs(89 * 60));
    watched.sweeps(5).await;
    running.stop().await;
    // Another process knows it, too.
    let running = world.start_on(Arc::new(watched.clone()));
    watched.sweeps(5).await;
    assert_eq!(said(&world).await, ["LogDiffers worker", "LogRecovered worker"]);
    clock.advance(Duration::from_secs(2 * 60));
    eventually!(BOUND, said(&world).await.len() == 3);
    running.stop().await;
    assert_eq!(said(&world).await, ["LogDiffers worker", "LogRecovered worker", "OverdueNoticed VTID-00001"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_stream_that_lost_events_is_said_once_and_left_alone() {
    let mut world = World::new().await;
    let running = world.start();
    let first = world.append("VTID-00001", None, scheduled("VTID-00001")).await;
    let last = world.append("VTID-00002", None, scheduled("VTID-00002")).await;
    world.wait_for(&last).await;
    running.stop().await;

    // The broker comes back from an old copy: its last event is gone.
    let old = MemoryBroker::new(Arc::new(System), &Declared::of(&Installation::default()));
    let message = world.broker.get(&first.stream, 1).await.unwrap().unwrap();
    let append_again = millrace_runtime::broker::Append::new(first.stream, message.subject, message.payload);
    let _ = old.append(&append_again.content_type("application/cloudevents+protobuf")).await.unwrap();
    world.broker = old;
    for round in 0..2 {
        if round == 1 {
            // It grows again, past what the ledger has, with other events.
            for task in ["VTID-00003", "VTID-00004", "VTID-00005"] {
                append(&world.broker, task, None, scheduled(task)).await;
            }
        }
        let running = world.start();
        let mut status = running.projector.status();
        let lost = status.wait_for(|status| status.regressed.contains("MILLRACE_DISPATCHER_0"));
        let _ = tokio::time::timeout(BOUND, lost).await.expect("it is noticed").unwrap();
        assert!(!running.projector.status().borrow().is_healthy());
        eventually!(BOUND, said(&world).await == ["LedgerRegressed dispatcher"]);
        // The other logs go on, also where they build on what was lost.
        let built = Cause::new("MILLRACE_DISPATCHER_0", if round == 0 { 2 } else { 4 });
        let place = append(&world.broker, "VTID-00002", Some(&built), acknowledged("VTID-00002")).await;
        world.wait_for(&place).await;
        running.stop().await;
    }
    assert_eq!(said(&world).await, ["LedgerRegressed dispatcher"]);
    assert_eq!(world.ledger.applied().await.unwrap()["MILLRACE_DISPATCHER_0"], 2, "left alone");
    let failures = world.ledger.list_failures(&Default::default(), 10, None).await.unwrap().items;
    assert_eq!(failures[0].code, "LEDGER_REGRESSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_hole_inside_a_stream_is_a_loss_too() {
    let world = World::new().await;
    let running = world.start();
    let first = world.append("VTID-00001", None, scheduled("VTID-00001")).await;
    world.wait_for(&first).await;
    running.stop().await;
    let _ = world.append("VTID-00002", None, scheduled("VTID-00002")).await;
    let _ = world.append("VTID-00003", None, scheduled("VTID-00003")).await;
    world.broker.purge_subject(&first.stream, "millrace.dispatcher.0.VTID-00002").await.unwrap();
    let running = world.start();
    eventually!(BOUND, said(&world).await == ["LedgerRegressed dispatcher"]);
    eventually!(BOUND, !running.projector.status().borrow().is_healthy());
    running.stop().await;
    assert_eq!(world.ledger.applied().await.unwrap()[&first.stream], 1, "nothing is applied over the hole");
}
