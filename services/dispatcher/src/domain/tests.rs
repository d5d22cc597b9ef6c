//! The life cycle, rule by rule.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use millrace_decider::test::{Decision, Scenario, given};
use millrace_decider::{Due, Refusal, Timestamp};
use millrace_events::v1::*;
use millrace_events::{
    Code, DeployerEvent, DispatcherEvent, Event, Log, LogEvent, OperatorEvent, ValidatorEvent, WorkerEvent,
};

use super::*;

mod operators;
mod waiting;

const TASK: &str = "VTID-01213";

fn dispatcher() -> Dispatcher {
    Dispatcher {
        limits: Limits {
            acknowledge: Duration::from_secs(30),
            dispatch_attempts: 3,
            dispatch_backoff: Duration::from_secs(2),
            lease: Duration::from_secs(30),
            execution: Duration::from_secs(1800),
            attempts: 3,
            pr_grace: Duration::from_secs(300),
            counts_runs: true,
        },
    }
}

fn spec(version: u32) -> SpecRegistered {
    SpecRegistered {
        task: TASK.into(),
        repository: "storefront".into(),
        version,
        checksum: format!("checksum-{version}"),
        commit: "base".into(),
        target: "shop".into(),
        readiness: SpecReadiness::Ready as i32,
        ..Default::default()
    }
}

fn scheduled(decider: &Dispatcher) -> Scenario<'_, Dispatcher> {
    let mut scenario = given(decider);
    let_in(&mut scenario, &Input::SpecRegistered(spec(1)));
    scenario
}

/// The answer to the question whether there is room, which an input makes due.
fn answered(scenario: &Scenario<'_, Dispatcher>, input: &Input, room: Room) -> Input {
    let asked = scenario.due(input).into_iter().find_map(|due| match due {
        Due::Effect(Effect::Admit { candidate, spec }) => Some((candidate, spec)),
        _ => None,
    });
    let (candidate, spec) = asked.expect("it is asked whether there is room");
    Input::Admitted { candidate, spec, room }
}

/// What an input leads to when there is room.
fn let_in(scenario: &mut Scenario<'_, Dispatcher>, input: &Input) -> DispatcherEvent {
    assert!(scenario.when(input).is_nothing(), "it is asked first");
    let answer = answered(scenario, input, Room::Now);
    scenario.when(&answer).event()
}

fn order(scenario: &Scenario<'_, Dispatcher>) -> WorkOrder {
    scenario.state().order.clone().unwrap()
}

fn by_worker(event: impl Into<WorkerEvent>, scenario: &Scenario<'_, Dispatcher>) -> Input {
    Input::Worker { event: event.into(), at: scenario.now() }
}

fn failed(scenario: &Scenario<'_, Dispatcher>, code: Code) -> Input {
    let order = order(scenario);
    let event = ExecutionFailed {
        task: order.task.clone(),
        order: order.id,
        kind: order.kind,
        failure: Some(Failure::new(code, "it broke")),
        ..Default::default()
    };
    by_worker(event, scenario)
}

fn asked_by(scenario: &Scenario<'_, Dispatcher>, event: impl Into<OperatorEvent>) -> Input {
    Input::Operator {
        event: event.into(),
        id: String::new(),
        position: millrace_decider::Cause::new("", 0),
        at: scenario.now(),
    }
}

fn timer(name: &str, order: &WorkOrder) -> TimerFired {
    TimerFired { name: name.into(), task: order.task.clone(), about: order.id.clone(), round: 0 }
}

fn fired(name: &str, order: &WorkOrder, at: Timestamp) -> Input {
    Input::Timer { timer: timer(name, order), at }
}

fn inquired(scenario: &Scenario<'_, Dispatcher>, name: &str, report: Report) -> Input {
    Input::Inquired { timer: timer(name, &order(scenario)), report, at: scenario.now() }
}

fn deadlines(owed: &[Due<Effect, TimerFired>]) -> Vec<String> {
    owed.iter()
        .filter_map(|due| match due {
            Due::Deadline(d) => Some(d.name.clone()),
            Due::Effect(_) => None,
        })
        .collect()
}

fn verified(scenario: &Scenario<'_, Dispatcher>) -> Input {
    let event = DeploymentVerified {
        task: Some(scenario.state().reference.clone()),
        release_commit: "m".into(),
        ..Default::default()
    };
    Input::Deployer(event.into())
}

#[test]
fn s1_gap7_3_a_registered_spec_schedules_the_task_and_locks_it() {
    let decider = dispatcher();
    let mut scenario = given(&decider);
    let DispatcherEvent::TaskScheduled(event) = let_in(&mut scenario, &Input::SpecRegistered(spec(1))) else {
        panic!()
    };
    let task = event.task.unwrap();
    assert!(event.spec_registered);
    assert_eq!(
        (task.run, task.attempt, task.spec_version, task.spec_checksum.as_str()),
        (1, 1, 1, "checksum-1")
    );
    let order = event.order.unwrap();
    assert_eq!(order.id, "VTID-01213/1.1/change/1");
    assert_eq!(deadlines(&scenario.due(&Input::SpecRegistered(spec(1)))), ["acknowledge"]);
    // The same again, and a new version while it runs, change nothing: the run keeps its lock.
    assert!(scenario.when(&Input::SpecRegistered(spec(1))).is_nothing());
    assert!(scenario.when(&Input::SpecRegistered(spec(2))).is_nothing());
    assert_eq!(scenario.state().reference.spec_version, 1);
}

#[test]
fn s1_gap4_a_task_without_a_spec_fails_before_any_work_order() {
    let decider = dispatcher();
    let mut scenario = given(&decider);
    let rejected = SpecRejected {
        task: TASK.into(),
        failure: Some(Failure::new(Code::SpecNotFound, "no spec")),
        ..Default::default()
    };
    let DispatcherEvent::TaskFailed(event) = scenario.when(&Input::SpecRejected(rejected.clone())).event()
    else {
        panic!()
    };
    assert_eq!(event.failure.unwrap().known_code(), Some(Code::SpecNotFound));
    assert!(scenario.state().order.is_none());
    assert!(scenario.when(&Input::SpecRejected(rejected)).is_nothing(), "one terminal event a run");
    // The spec that mends it opens the next run by itself.
    let DispatcherEvent::TaskScheduled(event) = let_in(&mut scenario, &Input::SpecRegistered(spec(1))) else {
        panic!()
    };
    assert_eq!(event.task.unwrap().run, 2);
}

#[test]
fn drafts_and_finished_specs_are_never_dispatched() {
    let decider = dispatcher();
    for readiness in [SpecReadiness::Draft, SpecReadiness::Done, SpecReadiness::Unspecified] {
        let spec = SpecRegistered { readiness: readiness as i32, ..spec(1) };
        assert!(given(&decider).when(&Input::SpecRegistered(spec)).is_nothing());
    }
}

#[test]
fn s2_g1_an_order_nobody_takes_is_offered_three_times_and_then_blocks_the_task() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    let mut pauses = Vec::new();
    for tries in 1..=3 {
        let fired = fired("acknowledge", &order(&scenario), scenario.now());
        assert!(scenario.when(&fired).is_nothing());
        assert!(scenario.due(&fired).iter().any(|due| matches!(due, Due::Effect(Effect::Inquire(_)))));
        let answer = inquired(&scenario, "acknowledge", Report::default());
        let DispatcherEvent::WorkOrderExpired(event) = scenario.when(&answer).event() else { panic!() };
        assert_eq!(event.tries, tries);
        if tries < 3 {
            let owed = scenario.due(&answer);
            let Some(Due::Deadline(deadline)) =
                owed.iter().find(|due| matches!(due, Due::Deadline(d) if d.name == "redispatch"))
            else {
                panic!("{owed:?}")
            };
            pauses.push(deadline.at.since(scenario.now()));
            let DispatcherEvent::WorkOrderIssued(event) =
                scenario.when(&Input::Timer { timer: deadline.alarm.clone(), at: deadline.at }).event()
            else {
                panic!()
            };
            assert_eq!(event.order.unwrap().tries, tries + 1);
        }
    }
    assert!(pauses[1] > pauses[0], "the pauses grow: {pauses:?}");
    let follow_up = Input::FollowUp { task: TASK.into() };
    let DispatcherEvent::TaskBlocked(event) = scenario.when(&follow_up).event() else { panic!() };
    let failure = event.failure.unwrap();
    assert_eq!(failure.known_code(), Some(Code::DispatchExhausted));
    assert_eq!(failure.context["attempts"], "3");
    assert!(scenario.when(&follow_up).is_nothing());
}

#[test]
fn s1_gap3_c_an_order_taken_at_the_last_offer_goes_on() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    for _ in 1..=2 {
        let answer = inquired(&scenario, "acknowledge", Report::default());
        assert!(matches!(scenario.when(&answer).event(), DispatcherEvent::WorkOrderExpired(_)));
        let redispatch = fired("redispatch", &order(&scenario), scenario.now());
        assert!(matches!(scenario.when(&redispatch).event(), DispatcherEvent::WorkOrderIssued(_)));
    }
    let last = order(&scenario);
    assert_eq!((last.tries, last.id.as_str()), (3, "VTID-01213/1.1/change/3"));
    let taken = Report { acknowledged: true, lease_alive: true, ..Report::default() };
    assert!(scenario.when(&inquired(&scenario, "acknowledge", taken)).is_nothing());
    let done = verified(&scenario);
    assert!(matches!(scenario.when(&done).event(), DispatcherEvent::TaskCompleted(_)));
}

/// A key has one deadline of a name. A handler that stood still may put that of an earlier order over the one
/// that counts: when it fires, the present order is looked at, and what it waits for is armed again.
#[test]
fn s4_th3_a_deadline_of_an_earlier_order_leads_to_those_of_the_present_one() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    let earlier = order(&scenario);
    scenario.when(&inquired(&scenario, "acknowledge", Report::default())).event();
    scenario.when(&fired("redispatch", &earlier, scenario.now())).event();
    let stale = fired("lease", &earlier, scenario.now());
    assert!(scenario.when(&stale).is_nothing());
    assert!(deadlines(&scenario.due(&stale)).contains(&"acknowledge".to_owned()));
    let armed = |report| deadlines(&scenario.due(&inquired(&scenario, "acknowledge", report)));
    assert_eq!(armed(Report { acknowledged: true, ..Report::default() }), ["lease"]);
    assert_eq!(armed(Report { acknowledged: true, finished: true, ..Report::default() }), ["pr_grace"]);
    let done = Report { acknowledged: true, finished: true, pull_request_known: true, ..Report::default() };
    assert!(armed(done).is_empty());
}

#[test]
fn s2_b6_an_acknowledged_order_does_not_expire_and_its_lease_is_watched() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    let order = order(&scenario);
    let taken = WorkOrderAcknowledged {
        task: order.task.clone(),
        order: order.id.clone(),
        worker: "worker-1".into(),
        ..Default::default()
    };
    let input = by_worker(taken, &scenario);
    assert!(scenario.when(&input).is_nothing());
    assert!(deadlines(&scenario.due(&input)).contains(&"lease".to_owned()));
    let alive = Report { acknowledged: true, lease_alive: true, ..Report::default() };
    assert!(scenario.when(&inquired(&scenario, "acknowledge", alive)).is_nothing());
    assert!(scenario.when(&inquired(&scenario, "lease", alive)).is_nothing());
    let again = scenario.due(&inquired(&scenario, "lease", alive));
    assert!(
        again.iter().any(|due| matches!(due, Due::Deadline(d) if d.name == "lease" && d.alarm.round == 1)),
        "{again:?}"
    );
}

#[test]
fn s2_g8b_a_lost_lease_is_a_new_attempt_and_the_late_worker_is_refused() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    let first = order(&scenario);
    let lost = Report { acknowledged: true, ..Report::default() };
    let DispatcherEvent::WorkOrderExpired(event) = scenario.when(&inquired(&scenario, "lease", lost)).event()
    else {
        panic!()
    };
    assert_eq!(event.failure.unwrap().known_code(), Some(Code::LeaseLost));
    let DispatcherEvent::WorkOrderIssued(event) =
        scenario.when(&Input::FollowUp { task: TASK.into() }).event()
    else {
        panic!()
    };
    let next = event.order.unwrap();
    assert_eq!(
        (next.id.as_str(), next.previous_failure.unwrap().known_code()),
        ("VTID-01213/1.2/change/1", Some(Code::LeaseLost))
    );
    let late = ExecutionCompleted { task: first.task.clone(), order: first.id, ..Default::default() };
    let input = by_worker(late, &scenario);
    let Decision::Refused(Refusal::Mismatch(_), Some(DispatcherEvent::TransitionRefused(refused))) =
        scenario.when(&input)
    else {
        panic!()
    };
    assert_eq!(refused.failure.unwrap().known_code(), Some(Code::StateMismatch));
}

#[test]
fn an_order_taken_or_asked_about_arms_its_deadline_no_more() {
    let decider = dispatcher();
    let scenario = scheduled(&decider);
    let order = order(&scenario);
    // A deadline that has passed fires at once: arming it because it fired would go on for ever.
    let fired = fired("acknowledge", &order, scenario.now());
    assert_eq!(scenario.due(&fired), [Due::Effect(Effect::Inquire(timer("acknowledge", &order)))]);
    let alive = Report { acknowledged: true, lease_alive: true, ..Report::default() };
    // Its lease is watched from here, should a deadline of an earlier order stand where that stood.
    assert_eq!(deadlines(&scenario.due(&inquired(&scenario, "acknowledge", alive))), ["lease"]);
}

#[test]
fn while_all_workers_are_busy_an_order_waits_for_its_turn() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    let busy = Report { workers_busy: true, ..Report::default() };
    for _ in 0..10 {
        let answer = inquired(&scenario, "acknowledge", busy);
        assert!(matches!(scenario.when(&answer).event(), DispatcherEvent::WorkOrderExpired(_)));
        let again = fired("redispatch", &order(&scenario), scenario.now());
        assert!(matches!(scenario.when(&again).event(), DispatcherEvent::WorkOrderIssued(_)));
        assert_eq!(order(&scenario).tries, 1);
    }
}

#[test]
fn a_late_acknowledgement_of_an_expired_order_loses_its_lease() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    let first = order(&scenario);
    scenario.when(&inquired(&scenario, "acknowledge", Report::default())).event();
    let taken =
        WorkOrderAcknowledged { task: first.task.clone(), order: first.id.clone(), ..Default::default() };
    let late = by_worker(taken, &scenario);
    assert!(matches!(scenario.when(&late), Decision::Refused(..)));
    assert!(scenario.due(&late).contains(&Due::Effect(Effect::RevokeLease { order: first.id })));
}

#[test]
fn a_failure_of_the_world_is_tried_again_after_a_pause() {
    let decider = dispatcher();
    for (code, paused) in
        [(Code::ForgeUnavailable, true), (Code::CommandFailed, false), (Code::LeaseLost, false)]
    {
        let mut scenario = scheduled(&decider);
        let input = failed(&scenario, code);
        let DispatcherEvent::WorkOrderIssued(event) = scenario.when(&input).event() else { panic!() };
        let next = event.order.unwrap();
        assert_eq!(next.not_before.is_some(), paused, "{}", code.name());
        let by = millrace_events::from_wire_time(next.acknowledge_by.as_ref());
        assert_eq!(by.since(scenario.now()) > Duration::from_secs(30), paused, "{}", code.name());
    }
}

#[test]
fn a_check_that_conflicts_with_its_base_is_a_new_attempt_from_there_with_the_plan() {
    let decider = dispatcher();
    let mut scenario = given(&decider);
    let plan = Some(Blob { name: "plan.yaml".into(), ..Default::default() });
    let_in(&mut scenario, &Input::SpecRegistered(SpecRegistered { plan: plan.clone(), ..spec(1) }));
    let opened = PullRequestOpened {
        task: Some(scenario.state().reference.clone()),
        pull_request: Some(PullRequest { number: 1, base: "b2".into(), ..Default::default() }),
        checks: vec![CheckDefinition { name: "unit".into(), command: "true".into() }],
        ..Default::default()
    };
    scenario.when(&Input::Deployer(opened.into())).event();
    // The world of a check may fail, and is tried again after a pause; a conflict is the change's.
    let unavailable = failed(&scenario, Code::RepositoryUnavailable);
    let DispatcherEvent::WorkOrderIssued(event) = scenario.when(&unavailable).event() else { panic!() };
    let again = event.order.unwrap();
    assert_eq!((again.kind(), again.not_before.is_some()), (WorkOrderKind::Check, true));
    let conflict = failed(&scenario, Code::MergeConflict);
    let DispatcherEvent::WorkOrderIssued(event) = scenario.when(&conflict).event() else { panic!() };
    let next = event.order.unwrap();
    assert_eq!((next.kind(), next.plan), (WorkOrderKind::Change, plan));
    let task = next.task.unwrap();
    assert_eq!((task.attempt, task.base_commit.as_str()), (2, "b2"));
}

#[test]
fn a_moved_base_is_answered_once() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    let task = Some(scenario.state().reference.clone());
    let at = |base: &str| {
        Some(PullRequest { number: 1, head: "h".into(), base: base.into(), ..Default::default() })
    };
    let checks = vec![CheckDefinition { name: "unit".into(), command: "true".into() }];
    let opened =
        PullRequestOpened { task: task.clone(), pull_request: at("b1"), checks, ..Default::default() };
    scenario.when(&Input::Deployer(opened.into())).event();
    let moved = |from: &str, to: &str| {
        let failure = Some(Failure::new(Code::PrBaseMoved, "moved"));
        let event = MergeFailed { task: task.clone(), pull_request: at(from), failure, base: to.into() };
        Input::Deployer(event.into())
    };
    assert!(matches!(scenario.when(&moved("b1", "b2")).event(), DispatcherEvent::WorkOrderIssued(_)));
    assert!(scenario.when(&moved("b1", "b2")).is_nothing(), "a redelivery is no second round");
    assert!(matches!(scenario.when(&moved("b2", "b3")).event(), DispatcherEvent::WorkOrderIssued(_)));
}

#[test]
fn s1_gap6_4_only_retryable_codes_get_another_attempt() {
    let decider = dispatcher();
    for code in Code::ALL {
        let mut scenario = scheduled(&decider);
        let input = failed(&scenario, *code);
        let event = scenario.when(&input).event();
        let retried = matches!(event, DispatcherEvent::WorkOrderIssued(_));
        assert_eq!(retried, code.is_retryable(), "{}", code.name());
        if retried {
            assert_eq!(scenario.state().reference.attempt, 2);
        } else {
            assert!(!scenario.state().is_active(), "{} leaves the task active", code.name());
        }
        assert!(scenario.when(&input).is_nothing(), "{}: the same failure twice", code.name());
    }
}

#[test]
fn attempts_are_bounded_and_then_a_person_is_asked() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    for attempt in 2..=3 {
        let input = failed(&scenario, Code::CommandFailed);
        assert!(matches!(scenario.when(&input).event(), DispatcherEvent::WorkOrderIssued(_)));
        assert_eq!(scenario.state().reference.attempt, attempt);
    }
    let input = failed(&scenario, Code::CommandFailed);
    assert!(matches!(scenario.when(&input).event(), DispatcherEvent::TaskBlocked(_)));
}

#[test]
fn checks_of_the_base_become_a_second_work_order_for_somebody_else() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    let opened = PullRequestOpened {
        task: Some(scenario.state().reference.clone()),
        pull_request: Some(PullRequest {
            number: 1,
            head: "h".into(),
            base: "b".into(),
            ..Default::default()
        }),
        checks: vec![CheckDefinition { name: "unit".into(), command: "make test".into() }],
        implementer: "worker-1".into(),
        ..Default::default()
    };
    let input = Input::Deployer(opened.into());
    let DispatcherEvent::WorkOrderIssued(event) = scenario.when(&input).event() else { panic!() };
    let order = event.order.unwrap();
    assert_eq!((order.kind(), order.implementer.as_str()), (WorkOrderKind::Check, "worker-1"));
    assert!(scenario.when(&input).is_nothing());
    // The base moved while they ran: they run again on the new one.
    let moved = MergeFailed {
        task: Some(scenario.state().reference.clone()),
        pull_request: Some(PullRequest { base: "b".into(), ..Default::default() }),
        failure: Some(Failure::new(Code::PrBaseMoved, "moved")),
        base: "b2".into(),
    };
    let DispatcherEvent::WorkOrderIssued(event) = scenario.when(&Input::Deployer(moved.into())).event()
    else {
        panic!()
    };
    let again = event.order.unwrap();
    assert_eq!(
        (again.id.as_str(), again.pull_request.unwrap().base.as_str()),
        ("VTID-01213/1.1/check/2", "b2")
    );
}

#[test]
fn s2_g7_a_run_ends_with_exactly_one_terminal_event() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    let released = verified(&scenario);
    let DispatcherEvent::TaskCompleted(event) = scenario.when(&released).event() else { panic!() };
    assert_eq!(event.outcome(), Outcome::Success);
    assert!(scenario.when(&released).is_nothing());
    // Whatever else comes: nothing, or a recorded refusal, but never a second end or a new order.
    for (log, name) in Event::CATALOGUE {
        let Some(input) = any_input(*log, name, &scenario) else { continue };
        match scenario.when(&input) {
            Decision::Nothing | Decision::Refused(_, Some(DispatcherEvent::TransitionRefused(_)) | None) => {}
            other => panic!("{name} after the end: {other:?}"),
        }
    }
    assert_eq!(scenario.state().status, Some(Status::Complete));
}

/// Every event of the catalogue that the dispatcher reads, about this task's present attempt.
fn any_input(log: Log, name: &str, scenario: &Scenario<'_, Dispatcher>) -> Option<Input> {
    let mut event = Event::empty(log, name)?;
    let reference = Some(scenario.state().reference.clone());
    macro_rules! about {
        ($($kind:ident :: $event:ident),+) => {
            match &mut event { $(Event::$kind(inner) => if let Some(task) = $event(inner) { *task = reference; },)+ _ => {} }
        };
    }
    fn worker(event: &mut WorkerEvent) -> Option<&mut Option<TaskRef>> {
        Some(match event {
            WorkerEvent::WorkOrderAcknowledged(e) => &mut e.task,
            WorkerEvent::ExecutionCompleted(e) => &mut e.task,
            WorkerEvent::ExecutionFailed(e) => &mut e.task,
            WorkerEvent::ChecksCompleted(e) => &mut e.task,
            _ => return None,
        })
    }
    fn deployer(event: &mut DeployerEvent) -> Option<&mut Option<TaskRef>> {
        Some(match event {
            DeployerEvent::PullRequestOpened(e) => &mut e.task,
            DeployerEvent::PullRequestFailed(e) => &mut e.task,
            DeployerEvent::MergeCompleted(e) => &mut e.task,
            DeployerEvent::MergeFailed(e) => &mut e.task,
            DeployerEvent::DeploymentVerified(e) => &mut e.task,
            DeployerEvent::DeploymentFailed(e) => &mut e.task,
            DeployerEvent::RollbackCompleted(e) => &mut e.task,
            DeployerEvent::RollbackFailed(e) => &mut e.task,
            DeployerEvent::StageStopped(e) => &mut e.task,
        })
    }
    fn validator(event: &mut ValidatorEvent) -> Option<&mut Option<TaskRef>> {
        Some(match event {
            ValidatorEvent::ValidationPassed(e) => &mut e.task,
            ValidatorEvent::ValidationFailed(e) => &mut e.task,
        })
    }
    about!(Worker::worker, Deployer::deployer, Validator::validator);
    Some(match event {
        Event::Worker(event) => Input::Worker { event, at: scenario.now() },
        Event::Validator(event) => Input::Validator(event),
        Event::Deployer(event) => Input::Deployer(event),
        Event::Operator(event) => asked_by(scenario, event),
        Event::SpecRegistry(millrace_events::SpecRegistryEvent::SpecRegistered(_)) => {
            Input::SpecRegistered(spec(9))
        }
        Event::SpecRegistry(millrace_events::SpecRegistryEvent::SpecRejected(event)) => {
            Input::SpecRejected(SpecRejected { task: TASK.into(), ..event })
        }
        Event::Projector(millrace_events::ProjectorEvent::OverdueNoticed(event)) => Input::Overdue(event),
        _ => return None,
    })
}

#[test]
fn a_release_that_contradicts_the_record_is_refused_loudly() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    let input = failed(&scenario, Code::ChecksFailed);
    scenario.when(&input).event();
    let released = verified(&scenario);
    let Decision::Refused(_, Some(DispatcherEvent::TransitionRefused(event))) = scenario.when(&released)
    else {
        panic!()
    };
    assert_eq!((event.asked_by.as_str(), event.status.as_str()), ("DeploymentVerified", "failed"));
}

/// The order was given up for silence, and the next attempt offered, while its merge was on its way.
#[test]
fn the_release_of_an_earlier_attempt_ends_the_run() {
    let decider = dispatcher();
    let ends: [fn(Option<TaskRef>) -> DeployerEvent; 2] = [
        |task| DeploymentVerified { task, release_commit: "m".into(), ..Default::default() }.into(),
        |task| RollbackCompleted { task, ..Default::default() }.into(),
    ];
    for end in ends {
        let mut scenario = scheduled(&decider);
        let task = Some(scenario.state().reference.clone());
        let lost = Report { acknowledged: true, ..Report::default() };
        scenario.when(&inquired(&scenario, "lease", lost)).event();
        scenario.when(&Input::FollowUp { task: TASK.into() }).event();
        assert_eq!(scenario.state().reference.attempt, 2);
        let merged = MergeCompleted { task: task.clone(), ..Default::default() };
        assert!(scenario.when(&Input::Deployer(merged.into())).is_nothing());
        let input = Input::Deployer(end(task));
        let event = scenario.when(&input).event();
        assert!(
            matches!(event, DispatcherEvent::TaskCompleted(_) | DispatcherEvent::TaskFailed(_)),
            "{event:?}"
        );
        let order = order(&scenario).id;
        assert!(
            scenario.due(&input).contains(&Due::Effect(Effect::RevokeLease { order })),
            "its worker stops"
        );
        assert!(scenario.when(&input).is_nothing());
    }
}

#[test]
fn s2_g6b_a_rollback_ends_the_run_with_the_reason_of_the_release() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    let task = Some(scenario.state().reference.clone());
    let failure = Some(Failure::new(Code::ReleaseShaMismatch, "reports another SHA"));
    let failed = DeploymentFailed { task: task.clone(), failure: failure.clone(), ..Default::default() };
    assert!(scenario.when(&Input::Deployer(failed.into())).is_nothing(), "the rollback says how it ended");
    let rolled_back =
        RollbackCompleted { task, failure, restored_commit: "old".into(), refused_commit: "new".into() };
    let DispatcherEvent::TaskFailed(event) = scenario.when(&Input::Deployer(rolled_back.into())).event()
    else {
        panic!()
    };
    let failure = event.failure.unwrap();
    assert_eq!(
        (failure.known_code(), failure.context["rolled_back_to"].as_str()),
        (Some(Code::ReleaseShaMismatch), "old")
    );
}

#[test]
fn s1_ops_2_a_retry_opens_the_next_run_on_the_spec_of_now() {
    let decider = dispatcher();
    let mut scenario = scheduled(&decider);
    let input = failed(&scenario, Code::ChecksFailed);
    scenario.when(&input).event();
    let request = RetryRequested { task: TASK.into(), run: 1, actor: "ada".into(), ..Default::default() };
    let asked = asked_by(&scenario, request.clone());
    assert!(scenario.when(&asked).is_nothing());
    assert!(matches!(scenario.due(&asked)[..], [Due::Effect(Effect::FindSpec(_)), ..]));
    let found = Input::Retry { request: request.clone(), spec: Some(spec(2)) };
    let DispatcherEvent::TaskScheduled(event) = let_in(&mut scenario, &found) else { panic!() };
    let task = event.task.unwrap();
    assert_eq!((task.run, task.attempt, task.spec_version), (2, 1, 2));
    // The same request again changes nothing.
    assert!(scenario.when(&asked).is_nothing());
    assert_eq!(deadlines(&scenario.due(&asked)), ["acknowledge"]);
    assert!(scenario.when(&found).is_nothing());
}

#[test]
fn refusals_are_recorded_once_per_input() {
    let decider = dispatcher();
    let context = millrace_decider::Context {
        now: Timestamp::from_millis(1),
        cause: millrace_decider::Cause::new("INPUT", 7),
    };
    let event = PauseRequested { task: TASK.into(), ..Default::default() }.into();
    let input = Input::Operator {
        event,
        id: String::new(),
        position: millrace_decider::Cause::new("", 0),
        at: context.now,
    };
    let mut state = Task::default();
    use millrace_decider::Decider as _;
    let Err(refusal) = decider.decide(&state, &input, &context) else { panic!() };
    let event = decider.refused(&state, &input, &refusal, &context).unwrap();
    let recorded = millrace_decider::Recorded {
        event: &event,
        sequence: 1,
        time: context.now,
        cause: Some(&context.cause),
    };
    decider.evolve(&mut state, &recorded);
    assert_eq!(decider.refused(&state, &input, &refusal, &context), None);
    assert_eq!(event.name(), "TransitionRefused");
}
