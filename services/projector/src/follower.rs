//! Follows one stream: reads what is there, then waits for its consumer to ring.

use std::time::Duration;

use millrace_events::Service;
use millrace_ledger::{Entry, StoredEvent};
use millrace_runtime::broker::{BrokerError, Consumer, Delivery};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::adapters::stored_event;
use crate::effects::ReadFailure;
use crate::projection::{Projector, backoff};
use crate::status::{trouble, well};

/// Events that are read or fetched at a time.
const WINDOW: usize = 256;
/// Events that may be read ahead of the ledger.
const AHEAD: u64 = 2_000;
/// How often the broker hears that deliveries are still worked on.
const STILL_WORKING: Duration = Duration::from_secs(10);

pub(crate) struct Follower {
    projector: Projector,
    stream: String,
    /// The next sequence to hand on.
    next: u64,
    entries: mpsc::Sender<Vec<Entry>>,
}

impl Follower {
    pub(crate) fn new(
        projector: Projector,
        stream: String,
        next: u64,
        entries: mpsc::Sender<Vec<Entry>>,
    ) -> Self {
        Self { projector, stream, next, entries }
    }

    /// Follows until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let _stopped = stop.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&mut self) {
        let mut backoff = backoff();
        loop {
            let started = self.next;
            let Err(error) = self.attempt().await;
            trouble(&self.projector.status, &self.stream, &error);
            if self.next > started {
                backoff = crate::projection::backoff();
            }
            sleep(backoff.pause()).await;
        }
    }

    async fn attempt(&mut self) -> Result<std::convert::Infallible, ReadFailure> {
        // A stream that is missing is an error here: it is tried again, and whether it is lost the watchdog says.
        if self.projector.look_at_end(&self.stream).await?.is_some() {
            self.projector.leave_alone(&self.stream);
        }
        self.wait_while_lost().await;
        self.catch_up().await?;
        let mut consumer = self.attach().await?;
        loop {
            well(&self.projector.status, &self.stream);
            match &consumer {
                Some(consumer) => self.listen(consumer.as_ref()).await?,
                // Without its consumer the stream is looked at now and then, until there is one again.
                None => {
                    sleep(self.projector.options.poll).await;
                    self.catch_up().await?;
                    consumer = self.attach().await?;
                }
            }
            self.wait_while_lost().await;
        }
    }

    async fn attach(&self) -> Result<Option<Box<dyn Consumer>>, ReadFailure> {
        match self.projector.broker.consumer(&self.stream, Service::Projector.durable()).await {
            Ok(consumer) => Ok(Some(consumer)),
            Err(BrokerError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for messages, hands them on and acknowledges them when they are in the ledger.
    async fn listen(&mut self, consumer: &dyn Consumer) -> Result<(), ReadFailure> {
        let deliveries = consumer.fetch(WINDOW, self.projector.options.poll).await?;
        let mut messages: Vec<&dyn Delivery> = deliveries.iter().map(AsRef::as_ref).collect();
        messages.sort_by_key(|delivery| delivery.message().sequence);
        let mut contiguous = Vec::new();
        let mut next = self.next;
        for delivery in &messages {
            let message = delivery.message();
            if message.sequence == next {
                next += 1;
                contiguous.push(stored_event(message.clone()));
            } else if message.sequence < next
                && !self.projector.is_known(&stored_event(message.clone())).await?
            {
                // A stream that has lost its end grows again, with other events.
                self.projector.leave_alone(&self.stream);
                return Ok(());
            }
        }
        let last = messages.last().map_or(0, |delivery| delivery.message().sequence);
        self.hand_on(contiguous).await?;
        // Silence, or others were delivered elsewhere: the stream itself is the source.
        if messages.is_empty() || last >= self.next {
            self.catch_up().await?;
        }
        self.acknowledge(&messages, last).await
    }

    /// Reads on until there is nothing more.
    async fn catch_up(&mut self) -> Result<(), ReadFailure> {
        loop {
            let found = self.projector.broker.read(&self.stream, None, self.next, WINDOW).await?;
            if found.is_empty() {
                return Ok(());
            }
            self.hand_on(found.into_iter().map(stored_event).collect()).await?;
        }
    }

    async fn hand_on(&mut self, events: Vec<StoredEvent>) -> Result<(), ReadFailure> {
        let Some(last) = events.last().map(|event| event.sequence) else { return Ok(()) };
        let mut expected = self.next;
        for event in &events {
            // A ledger that has nothing of the stream yet may begin behind an archived prefix.
            if event.sequence != expected && expected > 1 {
                self.projector.leave_alone(&self.stream);
                self.wait_while_lost().await;
                // It is another stream now: what was read is read again.
                return Ok(());
            }
            expected = event.sequence + 1;
        }
        self.wait_for(self.next.saturating_sub(AHEAD)).await;
        let entries = events.into_iter().map(Entry::read).collect();
        if self.entries.send(entries).await.is_ok() {
            self.next = last + 1;
        }
        Ok(())
    }

    async fn acknowledge(&self, deliveries: &[&dyn Delivery], last: u64) -> Result<(), ReadFailure> {
        while timeout(STILL_WORKING, self.wait_for(last)).await.is_err() {
            for delivery in deliveries {
                delivery.in_progress().await?;
            }
        }
        for delivery in deliveries {
            delivery.acknowledge().await?;
        }
        Ok(())
    }

    /// Until the ledger has the stream up to `sequence`.
    async fn wait_for(&self, sequence: u64) {
        let mut status = self.projector.status();
        let reached =
            status.wait_for(|status| status.applied.get(&self.stream).copied().unwrap_or(0) >= sequence);
        // Fails only when the projector is gone, and with it this follower.
        let _status = reached.await;
    }

    /// A stream that has lost events is left alone until it is mended.
    async fn wait_while_lost(&self) {
        let mut status = self.projector.status();
        let _status = status.wait_for(|status| !status.regressed.contains(&self.stream)).await;
    }
}
