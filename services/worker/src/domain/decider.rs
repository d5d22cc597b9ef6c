//! The claim on an order, and its end.

use millrace_decider::{Context, Decider, Due, Recorded, Refusal, Timestamp};
use millrace_events::WorkerEvent;
use millrace_events::v1::{TimerFired, WorkOrder, WorkOrderAcknowledged, WorkOrderKind};

use super::{Claim, Effect, Execute, Input, Orders, Rank, Said};

/// One process of one worker identity.
#[derive(Debug, Clone)]
pub struct Worker {
    /// The identity, stable over restarts.
    pub worker: String,
    /// This process.
    pub instance: String,
}

impl Decider for Worker {
    type State = Orders;
    type Input = Input;
    type Event = WorkerEvent;
    type Effect = Effect;
    type Alarm = TimerFired;

    fn decide(
        &self,
        state: &Orders,
        input: &Input,
        context: &Context,
    ) -> Result<Option<WorkerEvent>, Refusal> {
        match input {
            Input::Offered(offer) => self.claim(state, &offer.order, context.now),
            Input::Noted(said) | Input::Ended(said) => self.say(state, said),
        }
    }

    fn evolve(&self, state: &mut Orders, event: &Recorded<'_, WorkerEvent>) {
        state.apply(event);
    }

    fn due(&self, state: &Orders, input: &Input) -> Vec<Due<Effect, TimerFired>> {
        match input {
            Input::Offered(offer) => match state.claim(&offer.order.id) {
                // Another process of this worker that claimed it is gone, or at work: its lease decides.
                Some(claim) if self.holds(claim) && !claim.ended => {
                    vec![Due::Effect(Effect::Execute(Box::new(Execute {
                        task: offer.task.clone(),
                        order: offer.order.clone(),
                        token: claim.token,
                        claimed_at: claim.at,
                    })))]
                }
                _ => Vec::new(),
            },
            Input::Ended(ended) => match state.claim(&ended.order) {
                Some(claim) if self.holds(claim) && claim.ended => {
                    vec![Due::Effect(Effect::Release { order: ended.order.clone() })]
                }
                _ => Vec::new(),
            },
            Input::Noted(_) => Vec::new(),
        }
    }
}

impl Worker {
    /// The claim is the acknowledgement, appended with the expected sequence: of many who try, one succeeds,
    /// and the others find it here when they decide again.
    fn claim(
        &self,
        state: &Orders,
        order: &WorkOrder,
        now: Timestamp,
    ) -> Result<Option<WorkerEvent>, Refusal> {
        let Some(rank) = Rank::of(order) else { return Ok(None) };
        let is_known_kind = matches!(order.kind(), WorkOrderKind::Change | WorkOrderKind::Check);
        let is_late =
            order.acknowledge_by.as_ref().is_some_and(|by| millrace_events::from_wire_time(Some(by)) < now);
        if !is_known_kind || is_late || state.claim(&order.id).is_some() || state.has_newer_than(rank) {
            return Ok(None);
        }
        let waits = order.not_before.as_ref().map(|by| millrace_events::from_wire_time(Some(by)));
        if waits.is_some_and(|not_before| now < not_before) {
            return Err(Refusal::TooEarly("the order is not to be taken yet".to_owned()));
        }
        if order.kind() == WorkOrderKind::Check && order.implementer == self.worker {
            return Err(Refusal::TooEarly("another worker identity must check it".to_owned()));
        }
        let acknowledged = WorkOrderAcknowledged {
            task: order.task.clone(),
            order: order.id.clone(),
            kind: order.kind,
            worker: self.worker.clone(),
            instance: self.instance.clone(),
        };
        Ok(Some(acknowledged.into()))
    }

    /// Whether an offer was claimed by somebody else: the loser writes nothing and takes other work. S2-G2b.
    pub fn came_second(&self, state: &Orders, input: &Input) -> bool {
        match input {
            Input::Offered(offer) => state.claim(&offer.order.id).is_some_and(|claim| !self.holds(claim)),
            Input::Noted(_) | Input::Ended(_) => false,
        }
    }

    /// What is said under the claim's own token stands, up to the first end. Once a later order of the task has
    /// been claimed, what is said late is refused by this log: its append expects the sequence that it was decided
    /// at. S2-G8b.
    fn say(&self, state: &Orders, said: &Said) -> Result<Option<WorkerEvent>, Refusal> {
        let Some(claim) = state.claim(&said.order).filter(|claim| !claim.ended) else { return Ok(None) };
        if !self.holds(claim) || claim.token != said.token {
            let message =
                format!("{} was claimed under token {}, not {}", said.order, claim.token, said.token);
            return Err(Refusal::Mismatch(message));
        }
        if state.is_overtaken(claim) {
            let message = format!("{} was taken over; what came of it late counts for nothing", said.order);
            return Err(Refusal::Mismatch(message));
        }
        Ok(Some(said.event.clone()))
    }

    fn holds(&self, claim: &Claim) -> bool {
        claim.worker == self.worker && claim.instance == self.instance
    }
}
