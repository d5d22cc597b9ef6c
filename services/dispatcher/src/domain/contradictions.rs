//! What services say that contradicts the record. It changes nothing and is refused; at the third time in one
//! run something goes round in circles, and a person looks. S4-MON2.

use millrace_decider::Recorded;
use millrace_events::v1::{Failure, TransitionRefused};
use millrace_events::{Code, DispatcherEvent, WorkerEvent};

use super::Input;
use super::results::blocked;
use super::state::Task;

/// So many contradictions of one run are given to a person.
const LIMIT: usize = 3;
/// In the context of a recorded refusal: it counts against the run.
const COUNTS: &str = "contradicts_run";

/// Whether an order of the present attempt was never offered: it is none of its orders, or one that would come
/// after the last.
pub(super) fn is_unheard_of(state: &Task, id: &str) -> bool {
    let task = &state.reference;
    let prefix = format!("{}/{}.{}/", task.task, task.run, task.attempt);
    let place = |id: &str| {
        let (kind, round) = id.strip_prefix(&prefix)?.split_once('/')?;
        Some((kind == "check", round.parse::<u32>().ok()?))
    };
    let last = state.order.as_ref().and_then(|order| place(&order.id));
    place(id).is_none_or(|named| Some(named) > last)
}

/// Marks the refusal of what a service says against the present run of an active task. Late words on an order
/// that expired are none of it, they are to be expected; nor is a person's mistaken request.
pub(super) fn marked(state: &Task, input: &Input, failure: Failure) -> Failure {
    let (named, order) = match input {
        Input::Worker { event, .. } => (event.task_ref(), order_of(event)),
        Input::Validator(event) => (event.task_ref(), None),
        Input::Deployer(event) => (event.task_ref(), None),
        _ => return failure,
    };
    let of_run = named.is_some_and(|task| task.run == state.reference.run) && state.is_active();
    let is_late = order.is_some_and(|order| state.expired_orders.contains(order));
    if of_run && !is_late { failure.with(COUNTS, state.reference.run.to_string()) } else { failure }
}

/// The line of a recorded refusal in the run's diary: when, what, where and why. `None`: it does not count.
pub(super) fn line(refused: &TransitionRefused, recorded: &Recorded<'_, DispatcherEvent>) -> Option<String> {
    let failure = refused.failure.as_ref().filter(|failure| failure.context.contains_key(COUNTS))?;
    let place = recorded.cause.map(ToString::to_string).unwrap_or_default();
    let code = failure.code_name();
    Some(format!("{} {code} {} at {place}: {}", recorded.time, refused.asked_by, failure.message))
}

/// Whether the run is to be given to a person.
pub(super) fn are_too_many(state: &Task) -> bool {
    state.is_active() && state.contradictions.len() >= LIMIT
}

/// Gives it to a person, with the diary: oldest first.
pub(super) fn escalated(state: &Task) -> Option<DispatcherEvent> {
    if !are_too_many(state) {
        return None;
    }
    let count = state.contradictions.len();
    let message = format!("{count} times a service said what contradicts the record of this run");
    let failure = Failure::new(Code::StateMismatch, message).from_source("dispatcher");
    let failure = failure.with("violations", count.to_string());
    Some(blocked(state, Failure { causes: state.contradictions.clone(), ..failure }))
}

fn order_of(event: &WorkerEvent) -> Option<&str> {
    match event {
        WorkerEvent::WorkOrderAcknowledged(event) => Some(&event.order),
        WorkerEvent::ExecutionCompleted(event) => Some(&event.order),
        WorkerEvent::ExecutionFailed(event) => Some(&event.order),
        WorkerEvent::ExecutionSuspended(event) => Some(&event.order),
        WorkerEvent::ChecksCompleted(event) => Some(&event.order),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_decider::Due;
    use millrace_decider::test::{Decision, Scenario, given};
    use millrace_events::v1::{
        RetryRequested, TaskRef, TaskScheduled, ValidationFailed, WorkOrder, WorkOrderAcknowledged,
        WorkOrderExpired,
    };
    use millrace_events::{OperatorEvent, ValidatorEvent};
    use millrace_runtime::settings::Settings;

    use super::*;
    use crate::domain::{Dispatcher, Effect};

    const ORDER: &str = "VTID-01213/1.1/change/1";

    fn decider() -> Dispatcher {
        Dispatcher { limits: crate::config::limits(&Settings::default()) }
    }

    fn task(run: u32, attempt: u32) -> Option<TaskRef> {
        Some(TaskRef { task: "VTID-01213".to_owned(), run, attempt, ..TaskRef::default() })
    }

    fn scheduled(decider: &Dispatcher, run: u32) -> Scenario<'_, Dispatcher> {
        let order = WorkOrder {
            id: ORDER.replace("1.1", &format!("{run}.1")),
            task: task(run, 1),
            ..WorkOrder::default()
        };
        let event = TaskScheduled { task: task(run, 1), order: Some(order), ..TaskScheduled::default() };
        given(decider).event(event.into())
    }

    /// A verdict on an attempt.
    fn verdict(run: u32, attempt: u32) -> Input {
        let event = ValidationFailed { task: task(run, attempt), ..ValidationFailed::default() };
        Input::Validator(ValidatorEvent::ValidationFailed(event))
    }

    fn taken(order: &str, at: &Scenario<'_, Dispatcher>) -> Input {
        let event = WorkOrderAcknowledged {
            task: task(1, 1),
            order: order.to_owned(),
            ..WorkOrderAcknowledged::default()
        };
        Input::Worker { event: event.into(), at: at.now() }
    }

    fn refused(decision: Decision<DispatcherEvent>) -> Failure {
        match decision {
            Decision::Refused(_, Some(DispatcherEvent::TransitionRefused(event))) => event.failure.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn is_followed_up(scenario: &Scenario<'_, Dispatcher>, input: &Input) -> bool {
        let follow_up = Effect::FollowUp { task: "VTID-01213".to_owned() };
        scenario.due(input).contains(&Due::Effect(follow_up))
    }

    /// Three contradictions of one run, and a person looks at it, with the diary of what happened.
    #[test]
    fn s4_mon2_the_third_contradiction_of_a_run_blocks_it_with_its_diary() {
        let decider = decider();
        let mut scenario = scheduled(&decider, 1);
        let words = [verdict(1, 9), taken(&ORDER.replace("change/1", "change/7"), &scenario), verdict(1, 9)];
        for (number, input) in words.iter().enumerate() {
            assert!(!is_followed_up(&scenario, input), "{number}");
            let failure = refused(scenario.when(input));
            assert_eq!(failure.known_code(), Some(Code::StateMismatch));
        }
        assert!(is_followed_up(&scenario, &words[2]));
        let follow_up = Input::FollowUp { task: "VTID-01213".to_owned() };
        let DispatcherEvent::TaskBlocked(blocked) = scenario.when(&follow_up).event() else { panic!() };
        let failure = blocked.failure.unwrap();
        assert_eq!(failure.known_code(), Some(Code::StateMismatch));
        assert_eq!(failure.context["violations"], "3");
        assert_eq!(failure.causes.len(), 3);
        for (line, (name, place)) in failure.causes.iter().zip([
            ("ValidationFailed", 1),
            ("WorkOrderAcknowledged", 2),
            ("ValidationFailed", 3),
        ]) {
            assert!(line.starts_with("2026-01-01T00:00:00"), "{line}");
            assert!(line.contains(&format!("STATE_MISMATCH {name} at INPUT:{place}: ")), "{line}");
        }
        assert!(scenario.when(&follow_up).is_nothing(), "once");
        assert!(!is_followed_up(&scenario, &words[2]));
    }

    /// A run that does nothing wrong is not blocked for what others get wrong.
    #[test]
    fn s4_mon2_late_words_other_runs_and_peoples_mistakes_do_not_count() {
        let decider = decider();
        let mut scenario = scheduled(&decider, 1);
        let retry = RetryRequested { task: "VTID-01213".to_owned(), run: 1, ..RetryRequested::default() };
        let at = scenario.now();
        let mistake = Input::Operator {
            event: OperatorEvent::RetryRequested(retry),
            id: String::new(),
            position: millrace_decider::Cause::new("", 0),
            at,
        };
        let expired =
            WorkOrderExpired { task: task(1, 1), order: ORDER.to_owned(), ..WorkOrderExpired::default() };
        for _ in 0..3 {
            refused(scenario.when(&mistake));
            refused(scenario.when(&verdict(7, 1)));
        }
        let mut scenario = scenario.event(expired.into());
        let late = taken(ORDER, &scenario);
        for _ in 0..3 {
            refused(scenario.when(&late));
        }
        assert_eq!(scenario.state().contradictions, [""; 0]);
    }

    /// The next run begins with an empty diary.
    #[test]
    fn s4_mon2_each_run_is_counted_by_itself() {
        let decider = decider();
        let mut scenario = scheduled(&decider, 1);
        refused(scenario.when(&verdict(1, 9)));
        refused(scenario.when(&verdict(1, 9)));
        let order = WorkOrder { id: ORDER.replace("1.1", "2.1"), task: task(2, 1), ..WorkOrder::default() };
        let event = TaskScheduled { task: task(2, 1), order: Some(order), ..TaskScheduled::default() };
        let mut scenario = scenario.event(event.into());
        refused(scenario.when(&verdict(2, 9)));
        assert_eq!(scenario.state().contradictions.len(), 1);
    }
}
