//! Which rule answers which input.

use std::collections::BTreeSet;

use millrace_decider::{Context, Decider, Due, Recorded, Refusal};
use millrace_events::SpecRegistryEvent;
use millrace_events::v1::{TaskAllocated, TimerFired};

use super::{Effect, Input, Record, requests, versions};

/// The registry, with the repositories that it keeps.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    /// Ids of the configured repositories.
    pub repositories: BTreeSet<String>,
}

impl Decider for Registry {
    type State = Record;
    type Input = Input;
    type Event = SpecRegistryEvent;
    type Effect = Effect;
    type Alarm = TimerFired;

    fn decide(
        &self,
        state: &Record,
        input: &Input,
        context: &Context,
    ) -> Result<Option<SpecRegistryEvent>, Refusal> {
        // What has led to an event here does not lead to another one when it is delivered again.
        if state.has_answered(&context.cause) {
            return Ok(None);
        }
        Ok(match input {
            Input::Submitted(submission) => requests::submitted(self, submission),
            Input::Requested(request) => requests::requested(self, state, request),
            Input::Unnamed { submission, task, .. } => allocate(state, submission, task),
            Input::Accepted { spec, .. } => versions::accepted(state, spec, context),
            Input::Refused { rejection, .. } => versions::refused(state, rejection),
        })
    }

    fn evolve(&self, state: &mut Record, event: &Recorded<'_, SpecRegistryEvent>) {
        state.apply(event);
    }

    fn due(&self, state: &Record, input: &Input) -> Vec<Due<Effect, TimerFired>> {
        let effect = match input {
            Input::Submitted(submission) => requests::to_read(self, state, submission),
            Input::Requested(request) => requests::to_find(self, state, request),
            Input::Unnamed { .. } | Input::Accepted { .. } | Input::Refused { .. } => None,
        };
        effect.into_iter().map(Due::Effect).collect()
    }
}

/// Gives an id once for ever: ten equal submissions are one task. DESIGN section 2, S3-4.3b.
fn allocate(state: &Record, submission: &str, task: &str) -> Option<SpecRegistryEvent> {
    if state.allocated.is_some() {
        return None;
    }
    Some(TaskAllocated { task: task.to_owned(), submission: submission.to_owned() }.into())
}
