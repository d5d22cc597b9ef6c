//! A broker with a few streams, and the clock that it lives by.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::Timestamp;
use millrace_events::catalogue::{BLOB_STREAM, BLOB_SUBJECTS};
use millrace_runtime::blobs::Blobs;
use millrace_runtime::bootstrap::{
    ConsumerDeclaration, Declared, OnDifference, StreamDeclaration, bootstrap,
};
use millrace_runtime::broker::{Append, Appended, Broker, Consumer, Delivery, Stored};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::clock::{Clock, System};
use millrace_runtime::memory::{CheckOrder, MemoryBroker};
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_testkit::NatsServer;

/// How long a test waits for what must happen.
pub(super) const BOUND: Duration = Duration::from_secs(20);
/// Acknowledgement time of the consumer `hasty`.
pub(super) const ACK_WAIT: Duration = Duration::from_millis(800);
/// Life of an entry in the bucket.
pub(super) const ENTRY_LIFE: Duration = Duration::from_secs(1);
/// Largest message of the log, in bytes.
pub(super) const MAX_MESSAGE: usize = 2_048;
/// Largest blob, in bytes.
pub(super) const MAX_BLOB: usize = 3 * 1024 * 1024;

pub(super) const LOG: &str = "TEST_LOG";
pub(super) const TIMERS: &str = "TEST_TIMERS";

pub(super) struct World {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) clock: Arc<dyn Clock>,
    _server: Option<NatsServer>,
}

impl World {
    pub(super) fn in_memory(order: CheckOrder) -> Self {
        let clock = Arc::new(TestClock { start: tokio::time::Instant::now() });
        let broker = MemoryBroker::with_order(clock.clone(), &declared(), order);
        Self { broker: Arc::new(broker), clock, _server: None }
    }

    pub(super) async fn on_a_server() -> Self {
        let server = NatsServer::start();
        let options = ConnectOptions::new(server.client_url(), "tester");
        let broker = NatsBroker::connect(options).await.unwrap();
        bootstrap(&broker, &declared(), OnDifference::Report).await.unwrap();
        Self { broker: Arc::new(broker), clock: Arc::new(System), _server: Some(server) }
    }

    /// Appends to the log without any check.
    pub(super) async fn log(&self, subject: &str, payload: &str) -> Appended {
        self.broker.append(&entry(subject, payload)).await.unwrap()
    }

    pub(super) async fn consumer(&self, durable: &str) -> Box<dyn Consumer> {
        self.broker.consumer(LOG, durable).await.unwrap()
    }

    pub(super) fn bucket(&self) -> Bucket {
        Bucket::new(self.broker.clone(), "TEST")
    }

    /// A bucket whose entries stay.
    pub(super) fn lasting_bucket(&self) -> Bucket {
        Bucket::new(self.broker.clone(), "LASTING")
    }

    pub(super) fn blobs(&self) -> Blobs {
        Blobs::new(self.broker.clone(), MAX_BLOB)
    }
}

/// A message for the log.
pub(super) fn entry(subject: &str, payload: &str) -> Append {
    Append::new(LOG, subject, payload.as_bytes().to_vec())
}

/// Fetches until something comes.
pub(super) async fn fetch_some(consumer: &dyn Consumer, limit: usize) -> Vec<Box<dyn Delivery>> {
    let deliveries = consumer.fetch(limit, BOUND).await.unwrap();
    assert!(!deliveries.is_empty(), "nothing came within {BOUND:?}");
    deliveries
}

/// Fetches one message, which must come.
pub(super) async fn fetch_one(consumer: &dyn Consumer) -> Box<dyn Delivery> {
    fetch_some(consumer, 1).await.remove(0)
}

/// Fetches for a while, in which nothing may come.
pub(super) async fn fetch_nothing(consumer: &dyn Consumer, wait: Duration) {
    let deliveries = consumer.fetch(10, wait).await.unwrap();
    assert!(deliveries.is_empty(), "came although it should not: {:?}", deliveries[0].message());
}

pub(super) fn texts(messages: &[Stored]) -> Vec<String> {
    messages.iter().map(|stored| String::from_utf8(stored.payload.clone()).unwrap()).collect()
}

fn declared() -> Declared {
    let consumer = |stream: &str, durable: &str, filter: &str, ack_wait, max_ack_pending| {
        let (stream, durable, filter) = (stream.to_owned(), durable.to_owned(), filter.to_owned());
        ConsumerDeclaration { stream, durable, filter, ack_wait, max_ack_pending }
    };
    let stream = |name: &str, subjects: &[&str]| {
        StreamDeclaration::new(name, subjects.iter().map(|subject| (*subject).to_owned()).collect())
    };
    let patient = Duration::from_secs(60);
    Declared {
        streams: vec![
            StreamDeclaration {
                max_message_bytes: Some(MAX_MESSAGE),
                duplicate_window: Duration::from_millis(500),
                ..stream(LOG, &["test.log.>"])
            },
            StreamDeclaration {
                keep_per_subject: Some(1),
                schedules: true,
                ..stream(TIMERS, &["test.timers.>", "test.due.>"])
            },
            StreamDeclaration {
                keep_per_subject: Some(1),
                max_age: Some(ENTRY_LIFE),
                duplicate_window: Duration::from_millis(100),
                rollups: true,
                ..stream("KV_TEST", &["$KV.TEST.>"])
            },
            StreamDeclaration {
                keep_per_subject: Some(1),
                lives: true,
                rollups: true,
                ..stream("KV_LASTING", &["$KV.LASTING.>"])
            },
            StreamDeclaration { keep_per_subject: Some(1), ..stream(BLOB_STREAM, &[BLOB_SUBJECTS]) },
        ],
        consumers: vec![
            consumer(LOG, "patient", "test.log.>", patient, 1_000),
            consumer(LOG, "narrow", "test.log.>", patient, 4),
            consumer(LOG, "hasty", "test.log.>", ACK_WAIT, 1_000),
            consumer(LOG, "picky", "test.log.picked.>", patient, 1_000),
            consumer(TIMERS, "patient", "test.due.>", patient, 1_000),
        ],
    }
}

/// Follows tokio's time, which passes at once when the test is paused and everybody waits.
struct TestClock {
    start: tokio::time::Instant,
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_250) + self.start.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
