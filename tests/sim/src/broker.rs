//! A process's connection to the broker, with everything that a network does to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_events::Envelope;
use millrace_runtime::broker::{
    Append, AppendError, Appended, Broker, BrokerError, Consumer, Delivery, Stored, StreamState,
};
use millrace_runtime::memory::MemoryBroker;

use crate::gate::Gate;

/// How long the server keeps an empty fetch waiting. Longer than was asked for: that nobody looks every few
/// seconds changes nothing but the time that a run takes.
const IDLE: Duration = Duration::from_secs(600);

/// The broker as one life of one process sees it.
pub struct FaultyBroker {
    inner: MemoryBroker,
    gate: Gate,
}

impl FaultyBroker {
    /// For the process behind `gate`.
    pub fn new(inner: MemoryBroker, gate: Gate) -> Self {
        Self { inner, gate }
    }

    /// Before a read; it may fail.
    async fn ask(&self, operation: &str) -> Result<(), BrokerError> {
        self.gate.step("before a read").await;
        let rate = self.gate.weather().profile.read_fails;
        if self.gate.fault("read failed", rate, || operation.to_owned()) {
            return Err(failure(&self.gate, operation));
        }
        Ok(())
    }
}

fn failure(gate: &Gate, operation: &str) -> BrokerError {
    let operation = operation.to_owned();
    if gate.dice().chance(5_000) {
        BrokerError::Timeout { operation, after: Duration::from_secs(5) }
    } else {
        BrokerError::Failed { operation, message: "the connection was reset".to_owned() }
    }
}

/// What a message is, for people.
fn shown(append: &Append) -> String {
    let name = Envelope::decode(&append.payload).map(|envelope| envelope.name().to_owned());
    let expected = append.expected_last.map(|last| format!(" after {last}")).unwrap_or_default();
    format!("{} {}{expected}", append.subject, name.unwrap_or_default())
}

#[async_trait]
impl Broker for FaultyBroker {
    async fn append(&self, append: &Append) -> Result<Appended, AppendError> {
        let (gate, profile) = (&self.gate, &self.gate.weather().profile);
        gate.step("before an append").await;
        let unstored = || AppendError::Timeout { subject: append.subject.clone() };
        if gate.fault("append lost", profile.append_lost, || shown(append)) {
            return Err(if gate.dice().chance(5_000) {
                unstored()
            } else {
                failure(gate, &append.subject).into()
            });
        }
        let appended = self.inner.append(append).await;
        gate.weather().history.tell(gate.name(), || match &appended {
            Ok(appended) if appended.duplicate => {
                format!("appends {} = {} (duplicate)", shown(append), appended.sequence)
            }
            Ok(appended) => format!("appends {} = {}", shown(append), appended.sequence),
            Err(error) => format!("appends {}: {error}", shown(append)),
        });
        gate.step("after an append").await;
        let appended = appended?;
        if gate.fault("append unanswered", profile.append_unanswered, || shown(append)) {
            return Err(unstored());
        }
        gate.weather().history.acknowledged(gate.name(), append, appended.sequence);
        Ok(appended)
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<Option<Stored>, BrokerError> {
        self.ask("last").await?;
        let found = self.inner.last(stream, subject).await;
        self.gate.step("after a read").await;
        found
    }

    async fn get(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, BrokerError> {
        self.ask("get").await?;
        let found = self.inner.get(stream, sequence).await;
        self.gate.step("after a read").await;
        found
    }

    async fn read(
        &self,
        stream: &str,
        subject: Option<&str>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, BrokerError> {
        self.ask("read").await?;
        let mut found = self.inner.read(stream, subject, from, limit).await?;
        let rate = self.gate.weather().profile.lag;
        if !found.is_empty() && self.gate.fault("follower lags", rate, || stream.to_owned()) {
            let last = self.inner.stream_state(stream).await?.last;
            let lacks = 1 + self.gate.dice().below(4);
            found.retain(|stored| stored.sequence + lacks <= last);
        }
        self.gate.step("after a read").await;
        Ok(found)
    }

    async fn stream_state(&self, stream: &str) -> Result<StreamState, BrokerError> {
        self.ask("stream state").await?;
        self.inner.stream_state(stream).await
    }

    async fn purge_subject(&self, stream: &str, subject: &str) -> Result<(), BrokerError> {
        self.ask("purge").await?;
        self.inner.purge_subject(stream, subject).await
    }

    async fn consumer(&self, stream: &str, durable: &str) -> Result<Box<dyn Consumer>, BrokerError> {
        self.ask("consumer").await?;
        let inner = self.inner.consumer(stream, durable).await?;
        Ok(Box::new(FaultyConsumer { inner, gate: self.gate.clone() }))
    }

    fn is_connected(&self) -> bool {
        true
    }
}

struct FaultyConsumer {
    inner: Box<dyn Consumer>,
    gate: Gate,
}

#[async_trait]
impl Consumer for FaultyConsumer {
    async fn fetch(&self, limit: usize, _wait: Duration) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        let (gate, profile) = (&self.gate, &self.gate.weather().profile);
        gate.step("before a fetch").await;
        if gate.fault("read failed", profile.read_fails, || "fetch".to_owned()) {
            return Err(failure(gate, "fetch"));
        }
        let fetched = self.inner.fetch(limit, IDLE).await?;
        gate.pass().await;
        if !fetched.is_empty() && gate.fault("deliveries late", profile.delivery_late, String::new) {
            tokio::time::sleep(gate.dice().between(Duration::from_millis(100), Duration::from_secs(15)))
                .await;
        }
        let mut arrived: Vec<Box<dyn Delivery>> = Vec::new();
        for delivery in fetched {
            let place = || {
                let message = delivery.message();
                format!("{} {}", message.subject, message.sequence)
            };
            if gate.fault("delivery lost", profile.delivery_lost, place) {
                continue;
            }
            let garbled = garbled(gate, delivery.message());
            let delivery = Arc::new(FaultyDelivery { inner: delivery, garbled, gate: gate.clone() });
            let place = || format!("{} {}", delivery.message().subject, delivery.message().sequence);
            if arrived.len() + 1 < limit && gate.fault("delivery doubled", profile.delivery_twice, place) {
                arrived.push(Box::new(Shared(delivery.clone())));
            }
            arrived.push(Box::new(Shared(delivery)));
        }
        Ok(reordered(gate, arrived))
    }
}

/// Another order across subjects; of one subject as they came.
fn reordered(gate: &Gate, arrived: Vec<Box<dyn Delivery>>) -> Vec<Box<dyn Delivery>> {
    if arrived.len() < 2 || !gate.weather().is_faulty() {
        return arrived;
    }
    let mut subjects: Vec<String> =
        arrived.iter().map(|delivery| delivery.message().subject.clone()).collect();
    let mut queues: BTreeMap<String, std::collections::VecDeque<Box<dyn Delivery>>> = BTreeMap::new();
    for delivery in arrived {
        queues.entry(delivery.message().subject.clone()).or_default().push_back(delivery);
    }
    gate.dice().shuffle(&mut subjects);
    subjects.iter().filter_map(|subject| queues.get_mut(subject)?.pop_front()).collect()
}

/// What arrives instead of a message where it cannot be read. A request to read a dead letter again can: who asks
/// for that has mended what was wrong.
fn garbled(gate: &Gate, message: &Stored) -> Option<Stored> {
    let rate = gate.weather().profile.delivery_garbled;
    let is_request = || {
        let envelope = Envelope::decode(&message.payload);
        envelope.is_ok_and(|envelope| envelope.name() == "DeadLetterReplayRequested")
    };
    if rate == 0 || is_request() {
        return None;
    }
    let place = || format!("{} {}", message.subject, message.sequence);
    gate.fault("delivery garbled", rate, place).then(|| Stored { payload: vec![0xff], ..message.clone() })
}

struct FaultyDelivery {
    inner: Box<dyn Delivery>,
    garbled: Option<Stored>,
    gate: Gate,
}

impl FaultyDelivery {
    fn message(&self) -> &Stored {
        self.garbled.as_ref().unwrap_or_else(|| self.inner.message())
    }

    /// Whether an answer gets lost on its way; who sent it need not notice.
    async fn is_lost(&self) -> bool {
        self.gate.step("before an answer").await;
        let place = || format!("{} {}", self.message().subject, self.message().sequence);
        self.gate.fault("answer lost", self.gate.weather().profile.answer_lost, place)
    }
}

struct Shared(Arc<FaultyDelivery>);

#[async_trait]
impl Delivery for Shared {
    fn message(&self) -> &Stored {
        self.0.message()
    }

    async fn acknowledge(&self) -> Result<(), BrokerError> {
        if self.0.is_lost().await { Ok(()) } else { self.0.inner.acknowledge().await }
    }

    async fn give_back(&self, delay: Duration) -> Result<(), BrokerError> {
        if self.0.is_lost().await { Ok(()) } else { self.0.inner.give_back(delay).await }
    }

    async fn in_progress(&self) -> Result<(), BrokerError> {
        if self.0.is_lost().await { Ok(()) } else { self.0.inner.in_progress().await }
    }
}
