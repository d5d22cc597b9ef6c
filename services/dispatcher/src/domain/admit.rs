//! Whether a run may be put on offer now, or waits for room: limits, priorities, a queue. What there is room
//! for no log of one task can say; it is asked ([`Effect::Admit`]), and everything that is due follows from
//! state and input, so that a crash between question, answer and record leaves nothing undone.

use millrace_decider::{Context, Due, Refusal, Timestamp};
use millrace_events::v1::{Priority, SpecRegistered, TaskScheduled, TimerFired, WorkOrder};
use millrace_events::{DispatcherEvent, Log};

use super::results::issued;
use super::state::{Status, Task};
use super::{Effect, Input, Limits, operator, order, spec_gate, timers};

/// It is the turn of a run that waits. Armed by whoever chose it.
pub const ADMIT: &str = "admit";

/// A run that wants to be put on offer.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The task.
    pub task: String,
    /// Its run.
    pub run: u32,
    /// Id of its repository.
    pub repository: String,
    /// The part of the product that it concerns, as its spec says.
    pub domain: String,
    /// How soon it is wanted.
    pub priority: Priority,
    /// Since when it waits; `None`: it does not yet.
    pub since: Option<Timestamp>,
    /// It has been chosen from among those that wait.
    pub chosen: bool,
}

/// The answer to a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// There is room, and it is taken.
    Now,
    /// It waits for this.
    Wait(String),
    /// It waits for this, and so many wait already that a spec is held in its log instead, and a retry refused.
    Full(String),
}

impl Candidate {
    /// The run `run` on a registered spec.
    fn opening(spec: &SpecRegistered, run: u32) -> Self {
        Self {
            task: spec.task.clone(),
            run,
            repository: spec.repository.clone(),
            domain: spec.domain.clone(),
            priority: spec.priority(),
            since: None,
            chosen: false,
        }
    }

    /// The run that an order belongs to.
    fn of(order: &WorkOrder, since: Option<Timestamp>) -> Option<Self> {
        let task = order.task.as_ref()?;
        Some(Self {
            task: task.task.clone(),
            run: task.run,
            repository: task.repository.clone(),
            domain: order.domain.clone(),
            priority: order.priority(),
            since,
            chosen: false,
        })
    }
}

/// What the answer means: the run is opened, on offer or waiting, or the one that waits is put on offer.
pub(super) fn admitted(
    limits: &Limits,
    state: &Task,
    candidate: &Candidate,
    spec: Option<&SpecRegistered>,
    room: &Room,
    context: &Context,
) -> Result<Option<DispatcherEvent>, Refusal> {
    match (spec, room) {
        // Whoever asked is told by their message, not by its time: clocks differ.
        (Some(_), _) if state.has_answered(&context.cause) => Ok(None),
        (Some(_), _) if !may_open(state, candidate.run) => Ok(None),
        (Some(spec), Room::Now) => Ok(Some(spec_gate::schedule(limits, spec, candidate.run, context))),
        (Some(spec), Room::Wait(reason)) => {
            let order = order::first(limits, spec, candidate.run, context);
            let event = TaskScheduled {
                task: order.task.clone(),
                spec_registered: true,
                order: None,
                waits_for: reason.clone(),
                waiting: Some(order),
            };
            Ok(Some(event.into()))
        }
        // A person asks again; a held request would keep others of the operator log waiting, a cancel among
        // them.
        (Some(_), Room::Full(reason)) if is_asked_for(context) => Err(Refusal::Mismatch(format!(
            "a retry of {}, but the queue is full: {reason}; try again later",
            candidate.task
        ))),
        (Some(_), Room::Full(reason)) => Err(Refusal::TooEarly(reason.clone())),
        (None, Room::Now) if state.waits(candidate.run) => {
            let waiting = state.waiting.as_ref();
            Ok(waiting.map(|waiting| {
                let minutes = context.now.since(waiting.since).as_secs() / 60;
                let reason = format!("there is room for it, after {minutes} minutes");
                issued(order::on_offer(limits, &waiting.order, context), reason)
            }))
        }
        (None, _) => Ok(None),
    }
}

/// Whether a person asked for the run: a retry.
pub(super) fn is_asked_for(context: &Context) -> bool {
    Log::from_stream(&context.cause.stream) == Some(Log::Operator)
}

/// Whether run `run` is the next one and may be opened.
fn may_open(state: &Task, run: u32) -> bool {
    let is_over = matches!(state.status, None | Some(Status::Failed | Status::Blocked | Status::Cancelled));
    is_over && run == state.reference.run + 1
}

/// What is owed to the queue and to the limits.
pub(super) fn due(limits: &Limits, state: &Task, input: &Input) -> Vec<Due<Effect, TimerFired>> {
    let asks = asks(state, input);
    asks.into_iter().chain(keeps(limits, state, input)).map(Due::Effect).collect()
}

/// The question whether there is room.
fn asks(state: &Task, input: &Input) -> Option<Effect> {
    let opening = |spec: &SpecRegistered, run| {
        let candidate = Candidate::opening(spec, run);
        Some(Effect::Admit { candidate, spec: Some(Box::new(spec.clone())) })
    };
    match input {
        Input::SpecRegistered(spec) => opening(spec, spec_gate::opens(state, spec)?),
        Input::Retry { request, spec: Some(spec) } => match operator::may_retry(state, request) {
            Ok(true) => opening(spec, state.reference.run + 1),
            _ => None,
        },
        Input::Timer { timer, .. } if timer.name == ADMIT && state.waits(run_of(timer)) => {
            let candidate = Candidate { chosen: true, ..waiting(state)? };
            Some(Effect::Admit { candidate, spec: None })
        }
        _ => None,
    }
}

/// The place in the queue and the share of the limits that a run has: kept while it lives, given up after.
fn keeps(limits: &Limits, state: &Task, input: &Input) -> Option<Effect> {
    if let Input::Admitted { candidate, .. } = input
        && candidate.run != state.reference.run
    {
        // Nothing came of it: another input was faster.
        return Some(Effect::Free(candidate.clone()));
    }
    match state.status? {
        Status::Pending if state.waits(state.reference.run) => waiting(state).map(Effect::Enqueue),
        // Held: others may have its turn.
        Status::Pending => waiting(state).map(Effect::Free),
        Status::Active => {
            let was_waiting = match input {
                Input::Timer { timer, .. } => timer.name == ADMIT,
                Input::Admitted { spec, .. } => spec.is_none(),
                _ => false,
            };
            let task = state.reference.task.clone();
            if was_waiting {
                return Some(Effect::Dequeue { task, run: state.reference.run });
            }
            // Nobody may take it now. Its share of the limits it keeps.
            if state.paused {
                return Some(Effect::CloseOffer { task });
            }
            timers::is_offered_again(state, input).then_some(Effect::OpenOffer { task })
        }
        // A run that was released has been acknowledged: it holds nothing but its share of the limits.
        Status::Complete if !limits.counts_runs => None,
        Status::Complete | Status::Failed | Status::Blocked | Status::Cancelled => {
            ended(state).map(Effect::Free)
        }
    }
}

fn waiting(state: &Task) -> Option<Candidate> {
    let waiting = state.waiting.as_ref()?;
    Candidate::of(&waiting.order, Some(waiting.since))
}

/// The present run, where it ever was on offer or waited.
fn ended(state: &Task) -> Option<Candidate> {
    let waited = state.waiting.as_ref().map(|waiting| &waiting.order);
    let orders = [waited, state.order.as_ref()];
    let candidates = orders.into_iter().flatten().filter_map(|order| Candidate::of(order, None));
    candidates.into_iter().find(|candidate| candidate.run == state.reference.run)
}

fn run_of(timer: &TimerFired) -> u32 {
    timer.task.as_ref().map_or(0, |task| task.run)
}
