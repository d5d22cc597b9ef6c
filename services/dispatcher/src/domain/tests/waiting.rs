//! Runs that wait to be put on offer.

use super::*;

const FULL: &str = "repository storefront has 1 of 1 runs under way";

fn wait() -> Room {
    Room::Wait(FULL.to_owned())
}

/// A task whose first run waits.
fn waiting(decider: &Dispatcher) -> Scenario<'_, Dispatcher> {
    let mut scenario = given(decider);
    let registered = Input::SpecRegistered(SpecRegistered {
        domain: "Checkout".into(),
        priority: Priority::High as i32,
        ..spec(1)
    });
    let answer = answered(&scenario, &registered, wait());
    let DispatcherEvent::TaskScheduled(event) = scenario.when(&answer).event() else { panic!() };
    assert_eq!((event.order.as_ref(), event.waits_for.as_str()), (None, FULL));
    scenario
}

/// It is the run's turn.
fn turn(run: u32) -> Input {
    let task = TaskRef { task: TASK.into(), run, ..Default::default() };
    let timer = TimerFired { name: ADMIT.into(), task: Some(task), ..Default::default() };
    Input::Timer { timer, at: Timestamp::default() }
}

fn effects(scenario: &Scenario<'_, Dispatcher>, input: &Input) -> Vec<Effect> {
    scenario
        .due(input)
        .into_iter()
        .filter_map(|due| match due {
            Due::Effect(effect) => Some(effect),
            Due::Deadline(_) => None,
        })
        .collect()
}

fn asked(event: impl Into<OperatorEvent>, scenario: &Scenario<'_, Dispatcher>) -> Input {
    asked_by(scenario, event)
}

#[test]
fn without_room_a_run_is_pending_and_has_its_place_in_the_queue() {
    let decider = dispatcher();
    let mut scenario = waiting(&decider);
    assert_eq!((scenario.state().status_name(), scenario.state().order.as_ref()), ("pending", None));
    // The same spec again, as after a crash, and a newer one: the run keeps its lock, and its place.
    for version in [1, 2] {
        let again = Input::SpecRegistered(spec(version));
        assert!(scenario.when(&again).is_nothing());
        let [Effect::Enqueue(place)] = &effects(&scenario, &again)[..] else { panic!() };
        assert_eq!(
            (place.run, place.repository.as_str(), place.domain.as_str()),
            (1, "storefront", "Checkout")
        );
        assert_eq!((place.priority, place.since), (Priority::High, Some(scenario.now())));
    }
    assert_eq!(scenario.state().waiting.as_ref().unwrap().order.task.as_ref().unwrap().spec_version, 1);
    assert!(deadlines(&scenario.due(&turn(1))).is_empty(), "nothing is on offer that must be acknowledged");
}

#[test]
fn its_turn_puts_it_on_offer_with_the_time_to_acknowledge_that_it_has_then() {
    let decider = dispatcher();
    let mut scenario = waiting(&decider).after(Duration::from_secs(3_600));
    assert!(scenario.when(&turn(1)).is_nothing());
    let [Effect::Admit { candidate, spec: None }, Effect::Enqueue(_)] = &effects(&scenario, &turn(1))[..]
    else {
        panic!()
    };
    assert!(candidate.chosen);
    // There is no room after all: it keeps its place.
    let full = answered(&scenario, &turn(1), wait());
    assert!(scenario.when(&full).is_nothing());
    assert!(matches!(effects(&scenario, &full)[..], [Effect::Enqueue(_)]));
    let room = answered(&scenario, &turn(1), Room::Now);
    let DispatcherEvent::WorkOrderIssued(event) = scenario.when(&room).event() else { panic!() };
    let order = event.order.unwrap();
    assert_eq!(
        (order.id.as_str(), order.tries, order.priority()),
        ("VTID-01213/1.1/change/1", 1, Priority::High)
    );
    let by = millrace_events::from_wire_time(order.acknowledge_by.as_ref());
    assert_eq!(by, scenario.now() + Duration::from_secs(30));
    assert!(event.reason.contains("60 minutes"), "{}", event.reason);
    assert!(scenario.state().is_active());
    // Whatever was cut short: the turn comes again, the place is given up, the order must be acknowledged.
    for input in [turn(1), room] {
        assert!(scenario.when(&input).is_nothing());
        assert_eq!(effects(&scenario, &input), [Effect::Dequeue { task: TASK.into(), run: 1 }]);
        assert_eq!(deadlines(&scenario.due(&input)), ["acknowledge"]);
    }
}

#[test]
fn a_cancelled_run_never_comes_on_offer_and_gives_back_its_place() {
    let decider = dispatcher();
    let mut scenario = waiting(&decider);
    let room = answered(&scenario, &turn(1), Room::Now);
    let request = CancelRequested { task: TASK.into(), run: 1, actor: "ada".into(), ..Default::default() };
    let cancel = asked(request.clone(), &scenario);
    assert!(scenario.when(&cancel).is_nothing());
    // Nothing of it can be merged: the deployer need not be waited for.
    let answer = Input::Cancel { request, release: Release::Open };
    assert!(matches!(scenario.when(&answer).event(), DispatcherEvent::TaskCancelled(_)));
    // Its turn, and the answer that there is room, come too late.
    for input in [answer, turn(1), room] {
        assert!(scenario.when(&input).is_nothing());
        let [Effect::Free(place)] = &effects(&scenario, &input)[..] else { panic!("{input:?}") };
        assert_eq!((place.run, place.domain.as_str()), (1, "Checkout"));
    }
    let retry = RetryRequested { task: TASK.into(), run: 1, ..Default::default() };
    let found = Input::Retry { request: retry, spec: Some(spec(1)) };
    let DispatcherEvent::TaskScheduled(event) = let_in(&mut scenario, &found) else { panic!() };
    assert_eq!(event.task.unwrap().run, 2);
    assert!(effects(&scenario, &turn(1)).iter().all(|effect| !matches!(effect, Effect::Admit { .. })));
}

#[test]
fn a_paused_run_gives_its_turn_to_others_and_has_its_place_again_after() {
    let decider = dispatcher();
    let mut scenario = waiting(&decider);
    let request = PauseRequested { task: TASK.into(), run: 1, actor: "ada".into(), ..Default::default() };
    let pause = Input::Pause { request, id: String::new(), release: Release::Open };
    assert!(matches!(scenario.when(&pause).event(), DispatcherEvent::TaskPaused(_)));
    for input in [pause, turn(1)] {
        assert!(scenario.when(&input).is_nothing());
        assert!(matches!(effects(&scenario, &input)[..], [Effect::Free(_)]), "{input:?}");
    }
    let resume = ResumeRequested { task: TASK.into(), run: 1, actor: "ada".into(), ..Default::default() };
    let resume = asked(resume, &scenario);
    assert!(matches!(scenario.when(&resume).event(), DispatcherEvent::TaskResumed(_)));
    let [Effect::Enqueue(place)] = &effects(&scenario, &resume)[..] else { panic!() };
    assert!(place.since.is_some_and(|since| since == scenario.now()));
    assert!(matches!(effects(&scenario, &turn(1))[..], [Effect::Admit { .. }, Effect::Enqueue(_)]));
}

#[test]
fn a_queue_without_room_leaves_the_spec_in_its_log() {
    let decider = dispatcher();
    let mut scenario = given(&decider);
    let registered = Input::SpecRegistered(spec(1));
    let full = answered(&scenario, &registered, Room::Full("too many wait".into()));
    assert!(matches!(scenario.when(&full), Decision::Refused(Refusal::TooEarly(_), None)));
    assert_eq!(scenario.state().status, None);
}

#[test]
fn room_that_came_too_late_is_given_back() {
    let decider = dispatcher();
    let mut scenario = given(&decider);
    let late = answered(&scenario, &Input::SpecRegistered(spec(1)), Room::Now);
    let rejected = SpecRejected {
        task: TASK.into(),
        failure: Some(Failure::new(Code::SpecNotFound, "no spec")),
        ..Default::default()
    };
    scenario.when(&Input::SpecRejected(rejected)).event();
    let mended = Input::SpecRegistered(spec(2));
    let DispatcherEvent::TaskScheduled(event) = let_in(&mut scenario, &mended) else { panic!() };
    assert_eq!(event.task.unwrap().run, 2);
    assert!(scenario.when(&late).is_nothing());
    let [Effect::Free(place)] = &effects(&scenario, &late)[..] else { panic!() };
    assert_eq!(place.run, 1);
}

#[test]
fn the_end_of_a_run_gives_back_its_share_of_the_limits() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    let done = verified(&scenario);
    scenario.when(&done).event();
    assert!(matches!(&effects(&scenario, &done)[..], [Effect::Free(place)] if place.run == 1));
    // Where nothing is limited, a released task owes nothing to anybody.
    let mut unlimited = dispatcher();
    unlimited.limits.counts_runs = false;
    let mut scenario = scheduled(&unlimited);
    let done = verified(&scenario);
    scenario.when(&done).event();
    assert!(scenario.due(&done).is_empty());
}
