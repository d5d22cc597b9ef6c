//! Which rule answers which input.

use millrace_decider::{Context, Decider, Due, Recorded, Refusal};
use millrace_events::v1::{Failure, TaskRef, TimerFired, TransitionRefused};
use millrace_events::{Code, DispatcherEvent};

use super::{Effect, Input, Limits, Task, admit, contradictions, due, operator, results, spec_gate, timers};

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
        let decided = self.follows(state, input, context)?;
        // No order is issued while a person holds the task: what asks for one waits for the resume.
        if state.paused && matches!(decided, Some(DispatcherEvent::WorkOrderIssued(_))) {
            return Err(is_paused());
        }
        Ok(decided)
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
        let asked_by = match input {
            Input::Admitted { .. } if admit::is_asked_for(context) => "RetryRequested",
            _ => input.name(),
        };
        let task = TaskRef { task: input.task().to_owned(), ..state.reference.clone() };
        let failure = Failure::new(Code::StateMismatch, reason).from_source("dispatcher");
        let event = TransitionRefused {
            task: Some(task),
            status: state.status_name().to_owned(),
            asked_by: asked_by.to_owned(),
            failure: Some(contradictions::marked(state, input, failure)),
        };
        Some(event.into())
    }
}

impl Dispatcher {
    fn follows(
        &self,
        state: &Task,
        input: &Input,
        context: &Context,
    ) -> Result<Option<DispatcherEvent>, Refusal> {
        let limits = &self.limits;
        match input {
            // Whether there is room for it is asked first.
            Input::SpecRegistered(_) => Ok(None),
            Input::Admitted { candidate, spec, room } => {
                admit::admitted(limits, state, candidate, spec.as_deref(), room, context)
            }
            Input::SpecRejected(rejected) => Ok(spec_gate::rejected(state, rejected)),
            Input::Worker { event, .. } => results::worker(limits, state, event, context),
            Input::Validator(event) => results::validator(limits, state, event, context),
            Input::Deployer(event) => results::deployer(limits, state, event, context),
            Input::Operator { event, id, at, .. } => operator::asked(state, (event, id), *at, context),
            Input::Overdue(noticed) => Ok(timers::overdue(state, noticed)),
            // Waiting for a person counts for no deadline. It is due again: held, the deadlines of paused runs
            // would be in the way of all others.
            Input::Timer { timer, .. } if timers::waits(state, timer) => Ok(None),
            // Paused while somebody was asked: the deadline comes again at once, and then waits.
            Input::Inquired { timer, .. } if timers::waits(state, timer) => Err(is_paused()),
            // A deadline only says that it is time to look.
            Input::Timer { timer, .. } => timers::fired(limits, state, timer, context),
            Input::Inquired { timer, report, .. } => {
                Ok(timers::inquired(limits, state, timer, *report, context))
            }
            Input::Retry { request, spec } => operator::retry(state, request, spec.as_ref(), context),
            Input::Cancel { request, release } => operator::cancel(state, request, release),
            Input::Pause { request, id, release } => operator::pause(state, (request, id), release, context),
            Input::FollowUp { .. } => Ok(timers::follow_up(limits, state, context)),
        }
    }
}

fn is_paused() -> Refusal {
    Refusal::TooEarly("the task is paused".to_owned())
}
