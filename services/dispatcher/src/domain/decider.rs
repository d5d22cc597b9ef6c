//! Which rule answers which input.

use millrace_decider::{Context, Decider, Due, Recorded, Refusal};
use millrace_events::v1::{Failure, TaskRef, TimerFired, TransitionRefused};
use millrace_events::{Code, DispatcherEvent};

use super::{Effect, Input, Limits, Task, due, operator, results, spec_gate, timers};

/// The life cycle, with its limits.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    /// The limits.
    pub limits: Limits,
}

impl Decider for Dispatcher {
    type State = Task;
    type Input = Input;
    type Event = DispatcherEvent;
    type Effect = Effect;
    type Alarm = TimerFired;

    fn decide(
        &self,
        state: &Task,
        input: &Input,
        context: &Context,
    ) -> Result<Option<DispatcherEvent>, Refusal> {
        let limits = &self.limits;
        match input {
            Input::SpecRegistered(spec) => Ok(spec_gate::registered(limits, state, spec, context)),
            Input::SpecRejected(rejected) => Ok(spec_gate::rejected(state, rejected)),
            Input::Worker { event, .. } => results::worker(limits, state, event, context),
            Input::Validator(event) => results::validator(limits, state, event, context),
            Input::Deployer(event) => results::deployer(limits, state, event, context),
            Input::Operator(event) => operator::asked(state, event),
            Input::Overdue(noticed) => Ok(timers::overdue(state, noticed)),
            // A deadline only says that it is time to look.
            Input::Timer(timer) => timers::fired(limits, state, timer, context),
            Input::Inquired { timer, report, .. } => {
                Ok(timers::inquired(limits, state, timer, *report, context))
            }
            Input::Retry { request, spec } => operator::retry(limits, state, request, spec.as_ref(), context),
            Input::Cancel { request, merged } => operator::cancel(state, request, merged.as_deref()),
            Input::FollowUp { .. } => Ok(timers::follow_up(limits, state, context)),
        }
    }

    fn evolve(&self, state: &mut Task, event: &Recorded<'_, DispatcherEvent>) {
        state.apply(event);
    }

    fn due(&self, state: &Task, input: &Input) -> Vec<Due<Effect, TimerFired>> {
        due::due(&self.limits, state, input)
    }

    /// A refusal is recorded, once per input.
    fn refused(
        &self,
        state: &Task,
        input: &Input,
        refusal: &Refusal,
        context: &Context,
    ) -> Option<DispatcherEvent> {
        let Refusal::Mismatch(reason) = refusal else { return None };
        if state.refused.contains(&context.cause) {
            return None;
        }
        let task = TaskRef { task: input.task().to_owned(), ..state.reference.clone() };
        let event = TransitionRefused {
            task: Some(task),
            status: state.status_name().to_owned(),
            asked_by: input.name().to_owned(),
            failure: Some(Failure::new(Code::StateMismatch, reason).from_source("dispatcher")),
        };
        Some(event.into())
    }
}
