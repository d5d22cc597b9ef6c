//! The decider: what a service decides, as pure functions over its own log.

use crate::{Context, Recorded, Timestamp};

/// What a service decides about one key (a task, or another aggregate of the catalogue).
///
/// All methods are pure. `&self` holds limits and tables that are fixed at start; time and ids come in
/// through the [`Context`]. One decision is at most one event.
pub trait Decider: Send + Sync + 'static {
    /// The fold of the service's own log for one key.
    type State: Default + Clone + Send + Sync + 'static;
    /// What can happen: an event of another log, a fired deadline, the outcome of an effect.
    type Input: Send + Sync + 'static;
    /// An event of the service's own log.
    type Event: Clone + Send + Sync + 'static;
    /// Work in the world that a state makes due.
    type Effect: Send + Sync + 'static;
    /// What is remembered with a deadline and handed back when it fires.
    type Alarm: Clone + Send + Sync + 'static;

    /// Decides what follows from `input`. `Ok(None)` means that it is already in effect or concerns us
    /// not. A [`Refusal`] is an answer, never a fault.
    fn decide(
        &self,
        state: &Self::State,
        input: &Self::Input,
        context: &Context,
    ) -> Result<Option<Self::Event>, Refusal>;

    /// Applies one recorded event of the service's own log. Total: every event in every state.
    fn evolve(&self, state: &mut Self::State, event: &Recorded<'_, Self::Event>);

    /// What the world is still owed because of `input`, given the state after all decisions so far. The
    /// input is acknowledged only when nothing but deadlines that have been armed is left.
    fn due(&self, state: &Self::State, input: &Self::Input) -> Vec<Due<Self::Effect, Self::Alarm>>;

    /// The event that records a refusal, where a service keeps a record of them. By default none: the
    /// runtime counts it.
    fn refused(
        &self,
        _state: &Self::State,
        _input: &Self::Input,
        _refusal: &Refusal,
        _context: &Context,
    ) -> Option<Self::Event> {
        None
    }
}

/// Why an input changes nothing although it asked for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Not allowed from this state. Answered once, never redelivered. The text says what was asked for
    /// and what stands against it.
    Mismatch(String),
    /// What it builds on has not been seen yet. The runtime holds it and asks again.
    TooEarly(String),
}

/// Something that is owed: an effect on the world, or a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due<Effect, Alarm> {
    /// Work in the world. Its outcome comes back as an input.
    Effect(Effect),
    /// A deadline that must survive a crash of everything. Arming it again replaces it.
    Deadline(Deadline<Alarm>),
}

/// A durable deadline: one per key and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadline<Alarm> {
    /// What it is for, such as `acknowledge`; letters, digits, `_` and `-`.
    pub name: String,
    /// When it fires. A time in the past fires at once.
    pub at: Timestamp,
    /// Handed back when it fires.
    pub alarm: Alarm,
}
