//! From one input to nothing due: decide, append, perform, decide again on what came of it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use millrace_decider::{Cause, Context, Deadline, Decider, Due, Refusal, Timestamp};
use millrace_events::{Key, LogEvent as _, Service, v1::TimerFired};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::fault::Fault;
use super::log_store::Writing;
use super::pump::{Host, HostError};
use super::reports::Report;
use super::{Arming, EffectContext, Hosted, Reports, spans};
use crate::broker::AppendError;
use crate::crash_point;

/// Effects that one input may lead to, one after the other. More is a decider that never comes to rest.
const MAX_EFFECTS: usize = 64;
/// How deep outcomes of effects may make effects due.
const MAX_DEPTH: usize = 16;

/// How handling an input ended.
#[derive(Debug)]
pub(super) enum Settled {
    /// Nothing is due.
    Done,
    /// It comes too early; ask again.
    Hold,
    /// It cannot be handled; to the dead letters.
    Poison { fault: Fault, attempts: u32 },
}

/// What is carried along while one input is handled.
pub(super) struct Chain {
    pub(super) cause: Cause,
    /// Events appended so far.
    pub(super) index: u32,
    pub(super) depth: usize,
    /// The last event of the service's own log for the key at hand: what a deadline that is armed now was
    /// armed by.
    pub(super) newest: Option<Cause>,
    /// The last event here was appended after the last effect was done: the leader has just confirmed the state.
    pub(super) is_fresh: bool,
    /// When the server stored the input.
    pub(super) stored: Timestamp,
    /// Deadlines armed so far.
    pub(super) armed: BTreeMap<(Key, String), Timestamp>,
    /// Trace context that came with the input, passed on where nothing is traced here.
    pub(super) traceparent: String,
    pub(super) tracestate: String,
}

type Effect<H> = <<H as Hosted>::Decider as Decider>::Effect;
type Input<H> = <<H as Hosted>::Decider as Decider>::Input;
type DueList<H> = Vec<Due<Effect<H>, TimerFired>>;

type Performed<H> = Result<Option<Input<H>>, (Fault, u32)>;

enum Step<H: Hosted> {
    Decided(DueList<H>),
    Hold,
    Poison(Fault),
}

impl<H: Hosted> Host<H> {
    /// Handles an input until nothing is due. Recurses into the outcomes of effects.
    pub(super) fn settle<'a>(
        &'a self,
        input: &'a Input<H>,
        chain: &'a mut Chain,
    ) -> Pin<Box<dyn Future<Output = Result<Settled, HostError>> + Send + 'a>> {
        Box::pin(async move {
            let key = self.hosted.key(input);
            let mut performed: Vec<Effect<H>> = Vec::new();
            loop {
                let due = match self.decide(&key, input, chain).await? {
                    Step::Decided(due) => due,
                    Step::Hold => return Ok(Settled::Hold),
                    Step::Poison(fault) => return Ok(Settled::Poison { fault, attempts: 1 }),
                };
                let mut next = None;
                for owed in due {
                    match owed {
                        Due::Deadline(deadline) => self.arm(&key, deadline, chain).await?,
                        Due::Effect(effect) if next.is_none() && !performed.contains(&effect) => {
                            next = Some(effect)
                        }
                        Due::Effect(_) => {}
                    }
                }
                let Some(effect) = next else { return Ok(Settled::Done) };
                if performed.len() >= MAX_EFFECTS || chain.depth >= MAX_DEPTH {
                    let message =
                        format!("{} on {key} makes effects due without end: {effect:?}", H::SERVICE.name());
                    let fault = Fault::lasting(millrace_events::Code::Internal, message);
                    return Ok(Settled::Poison { fault, attempts: 1 });
                }
                let performing = self.perform(&key, &effect, chain).await?;
                chain.is_fresh = false;
                let outcome = match performing {
                    Ok(outcome) => outcome,
                    Err((fault, attempts)) => match self.hosted.gave_up(&effect, &fault) {
                        Some(input) => Some(input),
                        // What may still come right is asked again later, and later, but never given up.
                        None if fault.retry => return Ok(Settled::Hold),
                        None => return Ok(Settled::Poison { fault, attempts }),
                    },
                };
                performed.push(effect);
                if let Some(outcome) = outcome {
                    chain.depth += 1;
                    let settled = self.settle(&outcome, chain).await?;
                    chain.depth -= 1;
                    if !matches!(settled, Settled::Done) {
                        return Ok(settled);
                    }
                }
            }
        })
    }

    /// One decision under the key's lock; repeated while others write to the same key.
    async fn decide(&self, key: &Key, input: &Input<H>, chain: &mut Chain) -> Result<Step<H>, HostError> {
        let decider = self.hosted.decider();
        let slot = self.states.slot(key);
        let mut backoff = self.backoff(Duration::from_millis(5), Duration::from_secs(2));
        // Waiting never happens under the lock, so that others of this key are not held up by it.
        loop {
            let mut guard = slot.lock().await;
            let loaded_now = guard.is_none();
            let mut cached = match guard.take() {
                Some(cached) => cached,
                None => match self.log.load(decider, key).await {
                    Ok(cached) => cached,
                    Err(error) => {
                        tracing::warn!(%key, %error, "cannot load the state; trying again");
                        drop(guard);
                        self.pause(backoff.pause()).await?;
                        continue;
                    }
                },
            };
            let context = Context { now: self.clock.now(), cause: chain.cause.clone() };
            let event = match decider.decide(&cached.state, input, &context) {
                Ok(event) => event,
                Err(Refusal::TooEarly(reason)) => {
                    // Another replica may write what this one waits for: the next look begins with the log.
                    if !self.options.shared_log {
                        *guard = Some(cached);
                    }
                    tracing::debug!(%key, reason, "held");
                    return Ok(Step::Hold);
                }
                Err(refusal) => {
                    self.counters.refused.one_more();
                    tracing::info!(%key, ?refusal, cause = %chain.cause, "refused");
                    decider.refused(&cached.state, input, &refusal, &context)
                }
            };
            let Some(event) = event else {
                let due = decider.due(&cached.state, input);
                if !loaded_now && !chain.is_fresh && self.options.shared_log {
                    // Another replica may have written since we loaded: only the leader knows.
                    let confirmed = self.log.last_sequence::<<H::Decider as Decider>::Event>(key).await;
                    if !matches!(confirmed, Ok(last) if last == cached.last) {
                        drop(guard);
                        if confirmed.is_err() {
                            self.pause(backoff.pause()).await?;
                        }
                        continue;
                    }
                }
                if self.hosted.came_second(&cached.state, input) {
                    self.counters.claim_conflicts.one_more();
                    tracing::info!(%key, cause = %chain.cause, "another process claimed it first");
                }
                chain.newest = self.log.position::<<H::Decider as Decider>::Event>(key, cached.last);
                *guard = Some(cached);
                return Ok(Step::Decided(due));
            };
            if let Some(reason) = self.hosted.withholds(&event) {
                *guard = Some(cached);
                tracing::debug!(%key, reason, "withheld");
                return Ok(Step::Hold);
            }
            let writing = Writing {
                key,
                context: &context,
                index: chain.index,
                traceparent: &chain.traceparent,
                tracestate: &chain.tracestate,
            };
            let name = event.name();
            match self.log.append(decider, &mut cached, event, writing).await {
                Ok(sequence) => {
                    crash_point::reached_in(H::SERVICE.name(), "appended", || name.to_owned());
                    chain.index += 1;
                    chain.is_fresh = true;
                    self.counters.appended.one_more();
                    tracing::debug!(%key, sequence, "appended");
                    let due = decider.due(&cached.state, input);
                    chain.newest = self.log.position::<<H::Decider as Decider>::Event>(key, cached.last);
                    *guard = Some(cached);
                    return Ok(Step::Decided(due));
                }
                Err(AppendError::Forbidden { subject }) => return Err(HostError::Forbidden { subject }),
                Err(error @ AppendError::TooLarge { .. }) => {
                    let fault =
                        Fault::lasting(millrace_events::Code::Internal, "an event is too large to be stored");
                    return Ok(Step::Poison(fault.caused_by(error)));
                }
                // The state is dropped: load, fold and decide again. A time-out may have been stored.
                Err(AppendError::Conflict { .. }) => {
                    self.counters.append_conflicts.one_more();
                    drop(guard);
                }
                Err(error) => {
                    tracing::warn!(%key, %error, "cannot append; trying again");
                    drop(guard);
                    self.pause(backoff.pause()).await?;
                }
            }
        }
    }

    /// Performs an effect, with back-off while it fails for a reason that may pass. The inner error: given
    /// up after so many tries.
    async fn perform(
        &self,
        key: &Key,
        effect: &Effect<H>,
        chain: &mut Chain,
    ) -> Result<Performed<H>, HostError> {
        let mut backoff = self.backoff(self.options.effect_backoff, self.options.effect_backoff * 32);
        let mut attempt = 1;
        loop {
            let context = EffectContext {
                key: key.clone(),
                cause: chain.cause.clone(),
                now: self.clock.now(),
                attempt,
                stop: self.stop.clone(),
            };
            let span = match H::SERVICE {
                Service::Validator => spans::verify(key),
                _ => tracing::debug_span!("effect", %key, ?effect, attempt),
            };
            let (reports, reported) = Reports::channel();
            let performing = self.hosted.perform_reporting(effect, &context, reports).instrument(span);
            // Both at once: an effect keeps its lease while a report waits for NATS.
            let (performed, noted) = tokio::join!(performing, self.note(reported, chain));
            noted?;
            match performed {
                Ok(outcome) => {
                    crash_point::reached_in(H::SERVICE.name(), "performed", || format!("{effect:?}"));
                    return Ok(Ok(outcome));
                }
                Err(fault) if fault.waits => {
                    tracing::warn!(%key, fault = %chain_of(&fault), "an effect waits for NATS");
                    self.pause(backoff.pause()).await?;
                }
                Err(fault) if fault.retry && attempt < self.options.effect_attempts => {
                    tracing::warn!(%key, fault = %chain_of(&fault), attempt, "an effect failed; trying again");
                    attempt += 1;
                    self.pause(backoff.pause()).await?;
                }
                Err(fault) => {
                    tracing::warn!(%key, fault = %chain_of(&fault), attempt, "an effect failed for good");
                    return Ok(Err((fault, attempt)));
                }
            }
        }
    }

    /// Decides what an effect reports, until it is done. Effects that a report makes due are not performed: there
    /// is one under way.
    async fn note(
        &self,
        mut reported: mpsc::Receiver<Report<Input<H>>>,
        chain: &mut Chain,
    ) -> Result<(), HostError> {
        while let Some(Report { input, done }) = reported.recv().await {
            let key = self.hosted.key(&input);
            match self.decide(&key, &input, chain).await? {
                Step::Decided(due) => {
                    for owed in due {
                        if let Due::Deadline(deadline) = owed {
                            self.arm(&key, deadline, chain).await?;
                        }
                    }
                }
                // Not acknowledged: whoever reports must know that it does not stand in the log.
                Step::Hold => {
                    tracing::error!(%key, "a report comes too early; it is not recorded");
                    continue;
                }
                Step::Poison(fault) => {
                    tracing::error!(%key, fault = %chain_of(&fault), "a report is not recorded");
                    continue;
                }
            }
            // Whoever reported may be gone.
            let _gone = done.send(());
        }
        Ok(())
    }

    /// Makes a deadline durable, once per handling. Arming it again replaces it: the subject holds one.
    async fn arm(
        &self,
        key: &Key,
        deadline: Deadline<TimerFired>,
        chain: &mut Chain,
    ) -> Result<(), HostError> {
        let name = (key.clone(), deadline.name.clone());
        if chain.armed.get(&name) == Some(&deadline.at) {
            return Ok(());
        }
        let now = self.clock.now();
        let arming = Arming {
            service: H::SERVICE,
            key,
            name: &deadline.name,
            timer: &deadline.alarm,
            // The server's clock counts it. Where ours is behind that one, a deadline that lies ahead of us has
            // passed there: it would fire at once, and be armed again without end.
            at: deadline.at.max(chain.stored + deadline.at.since(now)),
            by: chain.newest.as_ref().unwrap_or(&chain.cause),
            now,
            traceparent: &chain.traceparent,
            tracestate: &chain.tracestate,
        };
        let append = arming.message();
        let mut backoff = self.backoff(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            match self.log.broker.append(&append).await {
                Ok(_) => break,
                Err(AppendError::Forbidden { subject }) => return Err(HostError::Forbidden { subject }),
                Err(error) => {
                    tracing::warn!(%key, deadline = deadline.name, %error, "cannot arm a deadline; trying again");
                    self.pause(backoff.pause()).await?;
                    // It may be there: written again it would only lengthen the queue that its answer waits in.
                    let last = self.log.broker.last(&append.stream, &append.subject).await;
                    if matches!(last, Ok(Some(stored)) if stored.payload == append.payload) {
                        break;
                    }
                }
            }
        }
        chain.armed.insert(name, deadline.at);
        Ok(())
    }

    /// Waits, or ends with [`HostError::Stopped`] when the grace period is over.
    async fn pause(&self, duration: Duration) -> Result<(), HostError> {
        tokio::select! {
            biased;
            () = self.abandon.cancelled() => Err(HostError::Stopped),
            () = self.clock.sleep(duration) => Ok(()),
        }
    }
}

/// An error and its causes on one line.
pub(super) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
