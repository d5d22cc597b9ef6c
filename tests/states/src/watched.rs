//! A hosted decider whose effects are scripted and whose decisions are written down.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use millrace_decider::{Context, Decider, Due, Recorded, Refusal};
use millrace_events::{Key, LogEvent, Service};
use millrace_runtime::host::{EffectContext, Fault, Hosted, Received, Reports};

/// One decision: what it was made on, and what was recorded.
#[derive(Debug, Clone)]
pub struct Decided<Input, Event> {
    /// The input.
    pub input: Input,
    /// Time and cause.
    pub context: Context,
    /// What it came to.
    pub event: Event,
}

type Decisions<D> = Arc<Mutex<Vec<Decided<<D as Decider>::Input, <D as Decider>::Event>>>>;

/// The decider, with a pen.
pub struct WatchedDecider<D: Decider> {
    inner: D,
    decisions: Decisions<D>,
}

/// What an effect comes to instead of being performed; `None`: it is performed.
pub type Script<H> = fn(
    &<<H as Hosted>::Decider as Decider>::Effect,
) -> Option<Option<<<H as Hosted>::Decider as Decider>::Input>>;

/// The service, with a pen and a script.
pub struct Watched<H: Hosted> {
    inner: H,
    decider: WatchedDecider<H::Decider>,
    script: Script<H>,
}

impl<H: Hosted<Decider: Clone>> Watched<H> {
    /// The service, watched; and what will have been decided.
    pub fn new(inner: H, script: Script<H>) -> (Self, Decisions<H::Decider>) {
        let decisions = Decisions::<H::Decider>::default();
        let decider = WatchedDecider { inner: inner.decider().clone(), decisions: decisions.clone() };
        (Self { inner, decider, script }, decisions)
    }
}

impl<D> Decider for WatchedDecider<D>
where
    D: Decider<Input: Clone>,
{
    type State = D::State;
    type Input = D::Input;
    type Event = D::Event;
    type Effect = D::Effect;
    type Alarm = D::Alarm;

    fn decide(
        &self,
        state: &D::State,
        input: &D::Input,
        context: &Context,
    ) -> Result<Option<D::Event>, Refusal> {
        let decided = self.inner.decide(state, input, context);
        if let Ok(Some(event)) = &decided {
            self.write(input, context, event);
        }
        decided
    }

    fn evolve(&self, state: &mut D::State, event: &Recorded<'_, D::Event>) {
        self.inner.evolve(state, event);
    }

    fn due(&self, state: &D::State, input: &D::Input) -> Vec<Due<D::Effect, D::Alarm>> {
        self.inner.due(state, input)
    }

    fn refused(
        &self,
        state: &D::State,
        input: &D::Input,
        refusal: &Refusal,
        context: &Context,
    ) -> Option<D::Event> {
        let event = self.inner.refused(state, input, refusal, context)?;
        self.write(input, context, &event);
        Some(event)
    }
}

impl<D: Decider<Input: Clone>> WatchedDecider<D> {
    fn write(&self, input: &D::Input, context: &Context, event: &D::Event) {
        let decided = Decided { input: input.clone(), context: context.clone(), event: event.clone() };
        self.decisions.lock().unwrap().push(decided);
    }
}

#[async_trait]
impl<H> Hosted for Watched<H>
where
    H: Hosted,
    H::Decider: Decider<Input: Clone, Event: LogEvent>,
{
    type Decider = WatchedDecider<H::Decider>;
    const SERVICE: Service = H::SERVICE;

    fn decider(&self) -> &Self::Decider {
        &self.decider
    }

    fn accept(&self, received: &Received) -> Option<<H::Decider as Decider>::Input> {
        self.inner.accept(received)
    }

    fn key(&self, input: &<H::Decider as Decider>::Input) -> Key {
        self.inner.key(input)
    }

    async fn perform(
        &self,
        effect: &<H::Decider as Decider>::Effect,
        context: &EffectContext,
    ) -> Result<Option<<H::Decider as Decider>::Input>, Fault> {
        match (self.script)(effect) {
            Some(outcome) => Ok(outcome),
            None => self.inner.perform(effect, context).await,
        }
    }

    async fn perform_reporting(
        &self,
        effect: &<H::Decider as Decider>::Effect,
        context: &EffectContext,
        reports: Reports<<H::Decider as Decider>::Input>,
    ) -> Result<Option<<H::Decider as Decider>::Input>, Fault> {
        match (self.script)(effect) {
            Some(outcome) => Ok(outcome),
            None => self.inner.perform_reporting(effect, context, reports).await,
        }
    }

    fn gave_up(
        &self,
        effect: &<H::Decider as Decider>::Effect,
        fault: &Fault,
    ) -> Option<<H::Decider as Decider>::Input> {
        self.inner.gave_up(effect, fault)
    }
}
