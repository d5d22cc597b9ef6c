//! Given/when/then for deciders.
//!
//! ```text
//! given(&decider).event(e1).at("2026-01-01T00:00:05Z").when(input).then(expected_event)
//! ```
//! Each event gets the next sequence of one log; each input the next sequence of another.

use std::fmt::Debug;

use crate::{Cause, Context, Decider, Due, Recorded, Refusal, Timestamp};

/// A scenario over one key: the events so far, and what a further input leads to.
pub struct Scenario<'d, D: Decider> {
    decider: &'d D,
    state: D::State,
    sequence: u64,
    inputs: u64,
    now: Timestamp,
}

/// Starts a scenario with an empty log, at 2026-01-01T00:00:00Z.
pub fn given<D: Decider>(decider: &D) -> Scenario<'_, D> {
    Scenario {
        decider,
        state: D::State::default(),
        sequence: 0,
        inputs: 0,
        now: Timestamp::from_millis(1_767_225_600_000),
    }
}

/// What a decision led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision<Event> {
    /// It was recorded.
    Event(Event),
    /// It is already in effect.
    Nothing,
    /// It was refused, with the event that records the refusal, if any.
    Refused(Refusal, Option<Event>),
}

impl<D: Decider> Scenario<'_, D> {
    /// An event that already stands in the log.
    pub fn event(mut self, event: D::Event) -> Self {
        self.record(&event, None);
        self
    }

    /// Lets time pass.
    pub fn after(mut self, duration: std::time::Duration) -> Self {
        self.now = self.now + duration;
        self
    }

    /// Gives it an input and records what it decides.
    pub fn when(&mut self, input: &D::Input) -> Decision<D::Event> {
        self.inputs += 1;
        let context = Context { now: self.now, cause: Cause::new("INPUT", self.inputs) };
        match self.decider.decide(&self.state, input, &context) {
            Ok(Some(event)) => {
                self.record(&event, Some(&context.cause));
                Decision::Event(event)
            }
            Ok(None) => Decision::Nothing,
            Err(refusal) => {
                let event = self.decider.refused(&self.state, input, &refusal, &context);
                if let Some(event) = &event {
                    self.record(event, Some(&context.cause));
                }
                Decision::Refused(refusal, event)
            }
        }
    }

    /// What is due for an input in the present state.
    pub fn due(&self, input: &D::Input) -> Vec<Due<D::Effect, D::Alarm>> {
        self.decider.due(&self.state, input)
    }

    /// The state so far.
    pub fn state(&self) -> &D::State {
        &self.state
    }

    /// The scenario's time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    fn record(&mut self, event: &D::Event, cause: Option<&Cause>) {
        self.sequence += 1;
        let recorded = Recorded { event, sequence: self.sequence, time: self.now, cause };
        self.decider.evolve(&mut self.state, &recorded);
    }
}

impl<Event: Debug> Decision<Event> {
    /// The event; fails the test when there is none.
    #[track_caller]
    #[expect(clippy::panic, reason = "a test helper: failing the test is its purpose")]
    pub fn event(self) -> Event {
        match self {
            Self::Event(event) => event,
            other => panic!("expected an event, got {other:?}"),
        }
    }

    /// Whether nothing followed.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}
