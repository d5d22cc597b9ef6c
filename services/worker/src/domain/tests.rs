#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use millrace_decider::test::{Decision, Scenario, given};
use millrace_decider::{Due, Refusal};
use millrace_events::v1::{
    ExecutionCompleted, ExecutionFailed, ModelCalled, TaskRef, WorkOrder, WorkOrderAcknowledged,
    WorkOrderKind,
};
use millrace_events::{Key, WorkerEvent, wire_time};

use super::*;

fn worker(name: &str, instance: &str) -> Worker {
    Worker { worker: name.to_owned(), instance: instance.to_owned() }
}

fn order(run: u32, attempt: u32, kind: WorkOrderKind, round: u32) -> WorkOrder {
    let name = if kind == WorkOrderKind::Check { "check" } else { "change" };
    let task = TaskRef { task: "VTID-01213".to_owned(), run, attempt, ..TaskRef::default() };
    WorkOrder {
        id: format!("VTID-01213/{run}.{attempt}/{name}/{round}"),
        kind: kind as i32,
        task: Some(task),
        ..WorkOrder::default()
    }
}

fn change() -> WorkOrder {
    order(1, 1, WorkOrderKind::Change, 1)
}

fn offered(order: &WorkOrder) -> Input {
    Input::Offered(Box::new(Offer { task: Key::new("VTID-01213").unwrap(), order: order.clone() }))
}

fn acknowledged(order: &WorkOrder, by: &Worker) -> WorkerEvent {
    WorkOrderAcknowledged {
        task: order.task.clone(),
        order: order.id.clone(),
        kind: order.kind,
        worker: by.worker.clone(),
        instance: by.instance.clone(),
    }
    .into()
}

fn completed(order: &WorkOrder, token: u64) -> WorkerEvent {
    ExecutionCompleted {
        task: order.task.clone(),
        order: order.id.clone(),
        fencing_token: token,
        ..ExecutionCompleted::default()
    }
    .into()
}

fn ended(order: &WorkOrder, token: u64, event: WorkerEvent) -> Input {
    let task = Key::new("VTID-01213").unwrap();
    Input::Ended(Box::new(Said { task, order: order.id.clone(), token, event }))
}

fn executes(scenario: &Scenario<'_, Worker>, order: &WorkOrder) -> Option<u64> {
    match scenario.due(&offered(order)).as_slice() {
        [] => None,
        [Due::Effect(Effect::Execute(execute))] => Some(execute.token),
        other => panic!("{other:?}"),
    }
}

#[test]
fn s2_b6_the_claim_names_the_worker_and_is_then_executed_under_its_sequence() {
    let one = worker("w1", "a");
    let mut scenario = given(&one);
    assert_eq!(executes(&scenario, &change()), None);
    assert_eq!(scenario.when(&offered(&change())).event(), acknowledged(&change(), &one));
    assert_eq!(executes(&scenario, &change()), Some(1));
    assert!(scenario.when(&offered(&change())).is_nothing(), "a second claim to one order");
}

#[test]
fn whoever_comes_second_does_nothing() {
    for other in [worker("w2", "b"), worker("w1", "before the restart")] {
        let one = worker("w1", "a");
        let mut scenario = given(&one).event(acknowledged(&change(), &other));
        assert!(scenario.when(&offered(&change())).is_nothing());
        assert_eq!(executes(&scenario, &change()), None, "{other:?} holds it");
    }
}

#[test]
fn an_end_is_recorded_once_and_gives_the_lease_back() {
    let one = worker("w1", "a");
    let mut scenario = given(&one).event(acknowledged(&change(), &one));
    let end = ended(&change(), 1, completed(&change(), 1));
    assert_eq!(scenario.when(&end).event(), completed(&change(), 1));
    assert_eq!(scenario.due(&end), [Due::Effect(Effect::Release { order: change().id })]);
    assert_eq!(executes(&scenario, &change()), None, "nothing is due once it has ended");
    assert!(scenario.when(&end).is_nothing(), "the first end stands");
}

#[test]
fn s2_g8b_an_end_under_another_token_or_holder_does_not_count() {
    let one = worker("w1", "a");
    let mut scenario = given(&one).event(acknowledged(&change(), &one));
    assert_refused(scenario.when(&ended(&change(), 7, completed(&change(), 7))));
    let two = worker("w2", "b");
    let mut scenario = given(&two).event(acknowledged(&change(), &one));
    assert_refused(scenario.when(&ended(&change(), 1, completed(&change(), 1))));
}

#[track_caller]
fn assert_refused(decision: Decision<WorkerEvent>) {
    assert!(matches!(decision, Decision::Refused(Refusal::Mismatch(_), None)), "{decision:?}");
}

/// S2-G8b, S4-TH3: the takeover's claim closes the log to the worker that comes late.
#[test]
fn s2_g8b_once_it_is_taken_over_a_late_end_is_refused_by_the_log() {
    let one = worker("w1", "a");
    let two = worker("w2", "b");
    let end = ended(&change(), 1, completed(&change(), 1));
    for later in [order(1, 2, WorkOrderKind::Change, 1), order(1, 1, WorkOrderKind::Change, 2)] {
        let mut scenario = given(&one).event(acknowledged(&change(), &one)).event(acknowledged(&later, &two));
        assert_refused(scenario.when(&end));
        assert!(scenario.due(&end).is_empty(), "the lease that it lost is not its own to give back");
    }
    // Until then nobody has taken anything over.
    let mut scenario = given(&one).event(acknowledged(&change(), &one));
    scenario.when(&end).event();
}

/// What happens on the way: as often as it is said, under the claim, until the order has ended or is somebody else's.
#[test]
fn s2_g8b_what_is_said_on_the_way_counts_under_the_claim_only() {
    let one = worker("w1", "a");
    let order = change();
    let note = |token| {
        let task = Key::new("VTID-01213").unwrap();
        let event: WorkerEvent = ModelCalled { task: order.task.clone(), ..ModelCalled::default() }.into();
        Input::Noted(Box::new(Said { task, order: order.id.clone(), token, event }))
    };
    assert!(given(&one).when(&note(1)).is_nothing(), "nothing was claimed");
    let mut scenario = given(&one).event(acknowledged(&order, &one));
    for _ in 0..2 {
        assert!(matches!(scenario.when(&note(1)).event(), WorkerEvent::ModelCalled(_)));
    }
    assert!(scenario.due(&note(1)).is_empty(), "the work is under way already");
    assert_refused(scenario.when(&note(9)));
    scenario.when(&ended(&order, 1, completed(&order, 1)));
    assert!(scenario.when(&note(1)).is_nothing(), "it has ended");

    let later = super::tests::order(1, 2, WorkOrderKind::Change, 1);
    let taken_over = acknowledged(&later, &worker("w2", "b"));
    let mut overtaken = given(&one).event(acknowledged(&order, &one)).event(taken_over);
    assert_refused(overtaken.when(&note(1)));
}

#[test]
fn a_stale_end_in_the_log_ends_nothing() {
    let one = worker("w1", "a");
    let stale = ExecutionFailed { order: change().id, fencing_token: 9, ..ExecutionFailed::default() };
    let scenario = given(&one).event(acknowledged(&change(), &one)).event(stale.into());
    assert_eq!(executes(&scenario, &change()), Some(1));
}

#[test]
fn an_order_older_than_one_that_was_claimed_is_left_alone() {
    let one = worker("w1", "a");
    for (newer, older) in [
        (order(2, 1, WorkOrderKind::Change, 1), order(1, 3, WorkOrderKind::Check, 9)),
        (order(1, 2, WorkOrderKind::Change, 1), order(1, 1, WorkOrderKind::Check, 1)),
        (order(1, 1, WorkOrderKind::Check, 1), order(1, 1, WorkOrderKind::Change, 2)),
        (order(1, 1, WorkOrderKind::Change, 10), order(1, 1, WorkOrderKind::Change, 9)),
    ] {
        let mut scenario = given(&one).event(acknowledged(&newer, &worker("w2", "b")));
        assert!(scenario.when(&offered(&older)).is_nothing(), "{}", older.id);
        let mut scenario = given(&one).event(acknowledged(&older, &worker("w2", "b")));
        scenario.when(&offered(&newer)).event();
    }
}

#[test]
fn an_offer_that_has_run_out_is_left_to_the_dispatcher() {
    let one = worker("w1", "a");
    let start = given(&one).now();
    let offer = WorkOrder { acknowledge_by: Some(wire_time(start + Duration::from_secs(30))), ..change() };
    given(&one).after(Duration::from_secs(30)).when(&offered(&offer)).event();
    assert!(given(&one).after(Duration::from_secs(31)).when(&offered(&offer)).is_nothing());
}

#[test]
fn s4_role_a_worker_hands_back_the_check_of_its_own_change() {
    let one = worker("w1", "a");
    let start = given(&one).now();
    let check = WorkOrder {
        implementer: "w1".to_owned(),
        acknowledge_by: Some(wire_time(start + Duration::from_secs(30))),
        ..order(1, 1, WorkOrderKind::Check, 1)
    };
    let decision = given(&one).when(&offered(&check));
    assert!(matches!(decision, Decision::Refused(Refusal::TooEarly(_), None)), "{decision:?}");
    let late = given(&one).after(Duration::from_secs(31)).when(&offered(&check));
    assert!(late.is_nothing(), "it is not held for ever");
    given(&worker("w2", "b")).when(&offered(&check)).event();
}

#[test]
fn an_order_without_task_or_of_a_kind_of_the_future_is_not_claimed() {
    let one = worker("w1", "a");
    assert!(given(&one).when(&offered(&WorkOrder { task: None, ..change() })).is_nothing());
    assert!(given(&one).when(&offered(&WorkOrder { kind: 77, ..change() })).is_nothing());
}
