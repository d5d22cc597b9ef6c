//! A broker that counts what is asked of it, and says for a while that a stream is missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;
use millrace_events::Log;
use millrace_runtime::broker::{
    Append, AppendError, Appended, Broker, BrokerError, Consumer, Stored, StreamState,
};
use millrace_runtime::inspect::Inspect;
use millrace_runtime::memory::MemoryBroker;
use millrace_testkit::eventually;

use super::support::BOUND;

/// The dispatcher's stream is the one that goes missing and that is counted.
#[derive(Clone)]
pub(crate) struct Watched {
    inner: MemoryBroker,
    /// Sweeps that are to find the stream missing.
    pub(crate) away: Arc<AtomicUsize>,
    /// It is, from now to the end of the sweep.
    pub(crate) missing: Arc<AtomicBool>,
    /// At the end of the sweep the projector's own log loses all that it holds.
    pub(crate) empties_own: Arc<AtomicBool>,
    /// A sweep looks twice: before it judges the logs, and after that.
    inspections: Arc<AtomicUsize>,
    /// Messages that were read in this sweep, and in that with the most.
    read: Arc<AtomicUsize>,
    pub(crate) most_read: Arc<AtomicUsize>,
}

impl Watched {
    pub(crate) fn new(inner: &MemoryBroker) -> Self {
        Self {
            inner: inner.clone(),
            away: Arc::default(),
            missing: Arc::default(),
            empties_own: Arc::default(),
            inspections: Arc::default(),
            read: Arc::default(),
            most_read: Arc::default(),
        }
    }

    /// Waits for so many sweeps, all of them begun from now on.
    pub(crate) async fn sweeps(&self, count: usize) {
        let before = self.inspections.load(SeqCst);
        eventually!(BOUND, "sweeps", self.inspections.load(SeqCst) >= before + 2 * (count + 1));
    }

    fn look(&self, stream: &str) -> Result<(), BrokerError> {
        if self.missing.load(SeqCst) && stream == Log::Dispatcher.stream(0) {
            return Err(BrokerError::Missing { what: format!("stream {stream}") });
        }
        Ok(())
    }
}

#[async_trait]
impl Broker for Watched {
    async fn append(&self, append: &Append) -> Result<Appended, AppendError> {
        self.inner.append(append).await
    }
    async fn last(&self, stream: &str, subject: &str) -> Result<Option<Stored>, BrokerError> {
        self.inner.last(stream, subject).await
    }
    async fn get(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, BrokerError> {
        self.look(stream)?;
        self.inner.get(stream, sequence).await
    }
    async fn read(
        &self,
        stream: &str,
        subject: Option<&str>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, BrokerError> {
        self.look(stream)?;
        let found = self.inner.read(stream, subject, from, limit).await?;
        if stream == Log::Dispatcher.stream(0) {
            self.read.fetch_add(found.len(), SeqCst);
        }
        Ok(found)
    }
    async fn stream_state(&self, stream: &str) -> Result<StreamState, BrokerError> {
        self.look(stream)?;
        self.inner.stream_state(stream).await
    }
    async fn purge_subject(&self, stream: &str, subject: &str) -> Result<(), BrokerError> {
        self.inner.purge_subject(stream, subject).await
    }
    async fn consumer(&self, stream: &str, durable: &str) -> Result<Box<dyn Consumer>, BrokerError> {
        self.inner.consumer(stream, durable).await
    }
    fn is_connected(&self) -> bool {
        true
    }
    fn inspect(&self) -> Option<&dyn Inspect> {
        if self.inspections.fetch_add(1, SeqCst) % 2 == 1 {
            self.missing.store(false, SeqCst);
            if self.empties_own.swap(false, SeqCst) {
                self.inner.roll_back(&Log::Projector.stream(0), 0);
            }
            self.most_read.fetch_max(self.read.swap(0, SeqCst), SeqCst);
        } else if self.away.fetch_update(SeqCst, SeqCst, |away| away.checked_sub(1)).is_ok() {
            self.missing.store(true, SeqCst);
        }
        self.inner.inspect()
    }
}
