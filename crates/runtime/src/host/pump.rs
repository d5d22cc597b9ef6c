//! Keeps a bounded number of inputs in flight, from all consumers of a service.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use millrace_decider::Decider;
use millrace_events::{Log, Service};
use millrace_rpc::HealthHandle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Hosted;
use super::counters::{self, Counters};
use super::lanes::Lanes;
use super::log_store::LogStore;
use super::retry::{Backoff, mixed, spread};
use super::state_cache::StateCache;
use crate::broker::{Broker, Consumer, Delivery, Stored};
use crate::clock::Clock;

/// Longest pause before an input that came too early is asked again.
const LONGEST_HOLD: Duration = Duration::from_secs(10);

/// How a host runs.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Inputs of one consumer in flight at most.
    pub concurrency: usize,
    /// Keys whose state is kept.
    pub cached_keys: NonZeroUsize,
    /// Partitions of every log.
    pub partitions: u32,
    /// Whether other replicas write to the same log, so that "nothing to do" is confirmed at the leader.
    pub shared_log: bool,
    /// Pause before an input that came too early is asked again, give or take a half: two processes that
    /// hand back what only the other can do must not keep in step.
    pub hold_delay: Duration,
    /// What that give or take is drawn from.
    pub seed: u64,
    /// How often the broker is told that an input is still being worked on. Well below the consumers'
    /// acknowledgement wait.
    pub progress_every: Duration,
    /// Tries of an effect that fails for a reason that may pass.
    pub effect_attempts: u32,
    /// First pause between them.
    pub effect_backoff: Duration,
    /// What is in flight at a stop may take this long.
    pub grace: Duration,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            concurrency: 256,
            cached_keys: NonZeroUsize::MIN.saturating_add(16_383),
            partitions: 1,
            shared_log: true,
            hold_delay: Duration::from_millis(200),
            seed: 0,
            progress_every: Duration::from_secs(8),
            effect_attempts: 6,
            effect_backoff: Duration::from_millis(200),
            grace: Duration::from_secs(10),
        }
    }
}

/// Why a host ended.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The permissions of this identity do not let it write its own log: final.
    #[error(
        "NATS refuses a publish on {subject}: the permissions of this identity do not come from this version's catalogue; generate them anew with `millrace keys`"
    )]
    Forbidden {
        /// The subject.
        subject: String,
    },
    /// A consumer that the bootstrap should have made is not there.
    #[error(transparent)]
    Broker(#[from] crate::broker::BrokerError),
    /// Stopped; what was in flight is handed back.
    #[error("stopped")]
    Stopped,
    /// The handling of an input panicked: a fault of Millrace.
    #[error("the handling of an input panicked: {0}")]
    Panicked(String),
}

/// Where a delivery came from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    Log(Log),
    Deadlines(Service),
}

/// Hosts one service's decider.
pub struct Host<H: Hosted> {
    pub(super) hosted: H,
    pub(super) log: LogStore,
    pub(super) states: StateCache<<H::Decider as Decider>::State>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: HostOptions,
    pub(super) counters: Counters,
    /// No new inputs any more.
    pub(super) stop: CancellationToken,
    /// The grace period is over.
    pub(super) abandon: CancellationToken,
    pub(super) lanes: Lanes,
    /// Where it says that a consumer does not answer.
    health: Option<HealthHandle>,
}

impl<H: Hosted> Host<H> {
    /// A host for `hosted` that runs until `stop`.
    pub fn new(
        hosted: H,
        broker: Arc<dyn Broker>,
        clock: Arc<dyn Clock>,
        options: HostOptions,
        stop: CancellationToken,
    ) -> Self {
        Self {
            hosted,
            log: LogStore { broker, service: H::SERVICE.name(), partitions: options.partitions },
            states: StateCache::new(options.cached_keys),
            clock,
            options,
            counters: Counters::of(H::SERVICE),
            stop,
            abandon: CancellationToken::new(),
            lanes: Lanes::default(),
            health: None,
        }
    }

    /// Reports to `health` when one of its consumers does not answer, and when it does again.
    pub fn reporting(self, health: HealthHandle) -> Self {
        Self { health: Some(health), ..self }
    }

    /// Pulls and handles until it is stopped: then finishes what is in flight within the grace period and
    /// hands the rest back. Ends with an error only where going on makes no sense.
    pub async fn run(self) -> Result<(), HostError> {
        let host = Arc::new(self);
        let mut pumps = JoinSet::new();
        for (number, (stream, origin)) in host.sources().into_iter().enumerate() {
            let host = host.clone();
            pumps.spawn(async move { host.pump(number, &stream, origin).await });
        }
        let mut result = Ok(());
        while let Some(ended) = pumps.join_next().await {
            let ended = ended.unwrap_or_else(|error| Err(HostError::Panicked(error.to_string())));
            if let Err(error) = ended {
                host.stop.cancel();
                host.abandon.cancel();
                if result.is_ok() {
                    result = Err(error);
                }
            }
        }
        let counted = &host.counters;
        tracing::info!(
            service = H::SERVICE.name(),
            appended = counted.appended.total(),
            refused = counted.refused.total(),
            append_conflicts = counted.append_conflicts.total(),
            claim_conflicts = counted.claim_conflicts.total(),
            skipped = counted.skipped.total(),
            held = counted.held.total(),
            redelivered = counted.redelivered.total(),
            dead_lettered = counted.dead_lettered.total(),
            replayed = counted.replayed.total(),
            "stopped"
        );
        result
    }

    /// How long the next input that came too early is put off.
    /// The older it is, the longer: what has waited for minutes is not asked about five times a second.
    pub(super) fn put_off(&self, message: &Stored) -> Duration {
        let age = self.clock.now().since(message.time);
        let pause = (age / 20).clamp(self.options.hold_delay, LONGEST_HOLD.max(self.options.hold_delay));
        pause * (50 + spread(mixed(self.options.seed ^ mixed(self.counters.held.one_more())), 100)) / 100
    }

    /// Pauses that other processes do not keep in step with.
    pub(super) fn backoff(&self, first: Duration, longest: Duration) -> Backoff {
        Backoff::new(first, longest, self.options.seed ^ self.clock.now().as_micros().cast_unsigned())
    }

    /// The streams it consumes: every partition of every log that the catalogue names, and its deadlines.
    pub(super) fn sources(&self) -> Vec<(String, Origin)> {
        let service = H::SERVICE;
        let logs = service.consumes().iter().flat_map(|log| {
            (0..self.options.partitions).map(|partition| (log.stream(partition), Origin::Log(*log)))
        });
        logs.chain([(service.timer_stream(), Origin::Deadlines(service))]).collect()
    }

    async fn pump(self: Arc<Self>, number: usize, stream: &str, origin: Origin) -> Result<(), HostError> {
        let Some(consumer) = self.attach(stream).await? else { return Ok(()) };
        let consumed = counters::consumed(H::SERVICE, origin);
        let slots = Arc::new(Semaphore::new(self.options.concurrency));
        let mut backoff = self.backoff(Duration::from_millis(50), Duration::from_secs(2));
        let mut in_flight: JoinSet<Result<(), HostError>> = JoinSet::new();
        loop {
            while let Some(ended) = in_flight.try_join_next() {
                ended.unwrap_or_else(|error| Err(HostError::Panicked(error.to_string())))?;
            }
            let first = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                permit = slots.clone().acquire_owned() => permit,
            };
            let Ok(first) = first else { break };
            let mut permits = vec![first];
            while let Ok(permit) = slots.clone().try_acquire_owned() {
                permits.push(permit);
            }
            let fetched = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                fetched = consumer.fetch(permits.len(), Duration::from_secs(5)) => fetched,
            };
            let deliveries = match fetched {
                Ok(deliveries) => deliveries,
                Err(error) => {
                    tracing::warn!(stream, %error, "cannot fetch; trying again");
                    self.report(stream, Some(&error));
                    drop(permits);
                    self.clock.sleep(backoff.pause()).await;
                    continue;
                }
            };
            self.report(stream, None);
            if !deliveries.is_empty() {
                backoff = self.backoff(Duration::from_millis(50), Duration::from_secs(2));
            }
            for (delivery, permit) in deliveries.into_iter().zip(permits) {
                consumed.add_one();
                if delivery.is_redelivered() {
                    self.counters.redelivered.one_more();
                }
                let ticket = self.lanes.enter(number, &delivery.message().subject).await;
                let host = self.clone();
                in_flight.spawn(async move {
                    let handled = host.take_turn(number, ticket, delivery.as_ref(), origin).await;
                    drop(permit);
                    handled
                });
            }
        }
        self.drain(in_flight).await
    }

    /// Waits for the messages of the same key before it, then handles this one.
    async fn take_turn(
        &self,
        number: usize,
        ticket: super::lanes::Ticket,
        delivery: &dyn Delivery,
        origin: Origin,
    ) -> Result<(), HostError> {
        let turn = ticket.turn();
        tokio::pin!(turn);
        let guard = loop {
            tokio::select! {
                biased;
                guard = &mut turn => break guard,
                () = self.clock.sleep(self.options.progress_every) => self.report_progress(delivery).await,
            }
        };
        let handled = if self.stop.is_cancelled() {
            // Not begun: another process takes it.
            let _handed_back = delivery.give_back(Duration::ZERO).await;
            Ok(())
        } else {
            self.handle(delivery, origin).await
        };
        self.lanes.leave(number, &delivery.message().subject, guard);
        handled
    }

    async fn attach(&self, stream: &str) -> Result<Option<Box<dyn Consumer>>, HostError> {
        let mut backoff = self.backoff(Duration::from_millis(100), Duration::from_secs(2));
        loop {
            match self.log.broker.consumer(stream, H::SERVICE.durable()).await {
                Ok(consumer) => return Ok(Some(consumer)),
                Err(error @ crate::broker::BrokerError::Missing { .. }) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(stream, %error, "cannot attach to a consumer; trying again");
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled() => return Ok(None),
                        () = self.clock.sleep(backoff.pause()) => {}
                    }
                }
            }
        }
    }

    /// A service that hears nothing from one of its streams is not ready. Its deleted consumer may be made
    /// again while it runs.
    fn report(&self, stream: &str, error: Option<&crate::broker::BrokerError>) {
        if let Some(health) = &self.health {
            let reason = error.map_or_else(|| "answers".to_owned(), ToString::to_string);
            health.set_ready(format!("consumer of {stream}"), error.is_none(), reason);
        }
    }

    /// Lets what is in flight finish within the grace period; what does not comes back by redelivery.
    async fn drain(&self, mut in_flight: JoinSet<Result<(), HostError>>) -> Result<(), HostError> {
        let finish = async {
            let mut result = Ok(());
            while let Some(ended) = in_flight.join_next().await {
                match ended.unwrap_or_else(|error| Err(HostError::Panicked(error.to_string()))) {
                    Ok(()) | Err(HostError::Stopped) => {}
                    Err(error) => result = Err(error),
                }
            }
            result
        };
        tokio::select! {
            biased;
            finished = finish => finished,
            () = self.clock.sleep(self.options.grace) => {
                self.abandon.cancel();
                in_flight.abort_all();
                tracing::warn!(service = H::SERVICE.name(), "the grace period is over; what was in flight is handed back");
                Ok(())
            }
        }
    }
}
