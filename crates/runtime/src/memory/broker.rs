//! The seam [`Broker`] in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::Timestamp;
use tokio::sync::Notify;

use super::consumer::MemoryConsumer;
use super::state::{ConsumerState, State};
use super::stream::CheckOrder;
use crate::bootstrap::Declared;
use crate::broker::{
    Append, AppendError, Appended, Broker, BrokerError, Consumer, Delivery, Stored, StreamState,
};
use crate::clock::Clock;
use crate::inspect::Inspect;

/// A broker in memory. Clones share everything, as connections to one server do. Whatever happens with
/// time (redelivery, expiry, schedules) happens by its clock.
#[derive(Clone)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    order: CheckOrder,
    state: Mutex<State>,
    /// Rung at every change of a stream, for those who wait for its messages: in the order in which they
    /// began to wait, so that a run repeats exactly.
    changes: BTreeMap<String, Notify>,
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker").field("order", &self.shared.order).finish_non_exhaustive()
    }
}

impl MemoryBroker {
    /// With everything that is declared.
    pub fn new(clock: Arc<dyn Clock>, declared: &Declared) -> Self {
        Self::with_order(clock, declared, CheckOrder::default())
    }

    /// With a choice of which check comes first.
    pub fn with_order(clock: Arc<dyn Clock>, declared: &Declared, order: CheckOrder) -> Self {
        let mut state = State::default();
        state.declare(declared);
        let changes = declared.streams.iter().map(|stream| (stream.name.clone(), Notify::new())).collect();
        let shared = Shared { clock, order, state: Mutex::new(state), changes };
        Self { shared: Arc::new(shared) }
    }

    /// Changes the server itself.
    pub(super) fn administer(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.lock());
        self.shared.changes.values().for_each(Notify::notify_waiters);
    }

    /// Where every consumer stands.
    pub fn consumers(&self) -> Vec<ConsumerState> {
        let now = self.shared.clock.now();
        self.shared.lock().consumers(now)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, stream: &str) {
        if let Some(waiting) = self.changes.get(stream) {
            waiting.notify_waiters();
        }
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn append(&self, append: &Append) -> Result<Appended, AppendError> {
        let now = self.shared.clock.now();
        let appended = self.shared.lock().append(append, now, self.shared.order);
        self.shared.changed(&append.stream);
        appended
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<Option<Stored>, BrokerError> {
        let now = self.shared.clock.now();
        Ok(self.shared.lock().stream(stream, now)?.last_of(subject).cloned())
    }

    async fn get(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, BrokerError> {
        let now = self.shared.clock.now();
        Ok(self.shared.lock().stream(stream, now)?.get(sequence).cloned())
    }

    async fn read(
        &self,
        stream: &str,
        subject: Option<&str>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, BrokerError> {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        Ok(state.stream(stream, now)?.from(from, subject).take(limit).cloned().collect())
    }

    async fn stream_state(&self, stream: &str) -> Result<StreamState, BrokerError> {
        let now = self.shared.clock.now();
        Ok(self.shared.lock().stream(stream, now)?.state())
    }

    async fn purge_subject(&self, stream: &str, subject: &str) -> Result<(), BrokerError> {
        let now = self.shared.clock.now();
        self.shared.lock().stream(stream, now)?.purge(subject);
        Ok(())
    }

    async fn consumer(&self, stream: &str, durable: &str) -> Result<Box<dyn Consumer>, BrokerError> {
        let now = self.shared.clock.now();
        if !self.shared.lock().stream(stream, now)?.consumers.contains_key(durable) {
            return Err(BrokerError::Missing { what: format!("consumer {durable} of stream {stream}") });
        }
        Ok(Box::new(Attached {
            shared: Arc::clone(&self.shared),
            stream: stream.to_owned(),
            durable: durable.to_owned(),
        }))
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        Some(self)
    }
}

struct Attached {
    shared: Arc<Shared>,
    stream: String,
    durable: String,
}

#[async_trait]
impl Consumer for Attached {
    async fn fetch(&self, limit: usize, wait: Duration) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        let shared = &self.shared;
        let missing = || BrokerError::Missing { what: format!("stream {}", self.stream) };
        let changes = shared.changes.get(&self.stream).ok_or_else(missing)?;
        let deadline = shared.clock.now() + wait;
        loop {
            let changed = changes.notified();
            tokio::pin!(changed);
            // Before the look, so that no change falls in between.
            changed.as_mut().enable();
            let now = shared.clock.now();
            let (messages, again) = shared.lock().deliver(&self.stream, &self.durable, limit.max(1), now)?;
            if !messages.is_empty() || now >= deadline {
                return Ok(messages.into_iter().map(|message| self.delivery(message)).collect());
            }
            let until = again.map_or(deadline, |again| again.min(deadline));
            tokio::select! {
                biased;
                () = changed => {}
                () = shared.clock.sleep(until.since(now)) => {}
            }
        }
    }
}

impl Attached {
    fn delivery(&self, message: Stored) -> Box<dyn Delivery> {
        let durable = self.durable.clone();
        Box::new(Delivered { shared: Arc::clone(&self.shared), durable, message })
    }
}

struct Delivered {
    shared: Arc<Shared>,
    durable: String,
    message: Stored,
}

impl Delivered {
    fn answer(&self, answer: impl FnOnce(&mut MemoryConsumer, Timestamp)) -> Result<(), BrokerError> {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        if let Some(consumer) = state.stream(&self.message.stream, now)?.consumers.get_mut(&self.durable) {
            answer(consumer, now);
        }
        drop(state);
        self.shared.changed(&self.message.stream);
        Ok(())
    }
}

#[async_trait]
impl Delivery for Delivered {
    fn message(&self) -> &Stored {
        &self.message
    }

    async fn acknowledge(&self) -> Result<(), BrokerError> {
        self.answer(|consumer, _| consumer.acknowledge(self.message.sequence))
    }

    async fn give_back(&self, delay: Duration) -> Result<(), BrokerError> {
        self.answer(|consumer, now| consumer.postpone(self.message.sequence, now + delay))
    }

    async fn in_progress(&self) -> Result<(), BrokerError> {
        self.answer(|consumer, now| {
            let again = now + consumer.declared.ack_wait;
            consumer.postpone(self.message.sequence, again);
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::bootstrap::{ConsumerDeclaration, StreamDeclaration};
    use crate::memory::ManualClock;

    #[test]
    fn redelivery_happens_when_the_clock_is_moved_and_not_before() {
        let ack_wait = Duration::from_secs(30);
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000)));
        let declared = Declared {
            streams: vec![StreamDeclaration::new("S", vec!["s.>".to_owned()])],
            consumers: vec![ConsumerDeclaration {
                stream: "S".to_owned(),
                durable: "reader".to_owned(),
                filter: "s.>".to_owned(),
                ack_wait,
                max_ack_pending: 10,
            }],
        };
        let broker = MemoryBroker::new(clock.clone(), &declared);
        let _ = broker.append(&Append::new("S", "s.1", Vec::new())).now_or_never().unwrap().unwrap();
        let consumer = broker.consumer("S", "reader").now_or_never().unwrap().unwrap();
        let fetched = consumer.fetch(1, 2 * ack_wait).now_or_never().unwrap().unwrap();
        assert_eq!(fetched.len(), 1);

        let mut again = consumer.fetch(1, 2 * ack_wait);
        assert!((&mut again).now_or_never().is_none());
        clock.advance(ack_wait - Duration::from_micros(1));
        assert!((&mut again).now_or_never().is_none());
        clock.advance(Duration::from_micros(1));
        assert_eq!(again.now_or_never().unwrap().unwrap().len(), 1);
    }
}
