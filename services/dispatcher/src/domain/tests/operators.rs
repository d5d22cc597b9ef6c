//! Cancel, pause, resume, retry: each in every state, and each twice.

use millrace_decider::{Cause, Context, Decider as _, Recorded};

use super::*;

/// A life cycle whose inputs stand where the test says, so that one may come again.
struct Cycle {
    dispatcher: Dispatcher,
    state: Task,
    now: millrace_decider::Timestamp,
    recorded: u64,
}

impl Cycle {
    fn scheduled() -> Self {
        let now = millrace_decider::Timestamp::from_millis(1_767_225_600_000);
        let mut cycle = Self { dispatcher: dispatcher(), state: Task::default(), now, recorded: 0 };
        cycle.opened(1);
        cycle
    }

    fn opened(&mut self, run: u32) {
        let mut order =
            WorkOrder { id: format!("{TASK}/{run}.1/change/1"), tries: 1, ..WorkOrder::default() };
        order.kind = WorkOrderKind::Change as i32;
        order.execution_limit_ms = 1_000;
        order.task = Some(TaskRef { task: TASK.into(), run, attempt: 1, ..TaskRef::default() });
        let event =
            TaskScheduled { task: order.task.clone(), order: Some(order), ..Default::default() }.into();
        self.record(&event, None);
    }

    fn record(&mut self, event: &DispatcherEvent, cause: Option<&Cause>) {
        self.recorded += 1;
        let recorded = Recorded { event, sequence: self.recorded, time: self.now, cause };
        self.dispatcher.evolve(&mut self.state, &recorded);
    }

    /// The input that stands at `position` of the operator log, now or again.
    fn when(&mut self, position: u64, input: &Input) -> Decision<DispatcherEvent> {
        let cause = Cause::new(Log::Operator.stream(0), position);
        let context = Context { now: self.now, cause: cause.clone() };
        match self.dispatcher.decide(&self.state, input, &context) {
            Ok(Some(event)) => {
                self.record(&event, Some(&cause));
                Decision::Event(event)
            }
            Ok(None) => Decision::Nothing,
            Err(refusal) => {
                let event = self.dispatcher.refused(&self.state, input, &refusal, &context);
                if let Some(event) = &event {
                    self.record(event, Some(&cause));
                }
                Decision::Refused(refusal, event)
            }
        }
    }

    fn due(&self, input: &Input) -> Vec<Due<Effect, TimerFired>> {
        self.dispatcher.due(&self.state, input)
    }

    fn effects(&self, input: &Input) -> Vec<Effect> {
        let effect = |due| match due {
            // What a run that is over gives back is told in `waiting`.
            Due::Deadline(_) | Due::Effect(Effect::Free(_)) => None,
            Due::Effect(effect) => Some(effect),
        };
        self.due(input).into_iter().filter_map(effect).collect()
    }

    fn asked(&self, event: impl Into<OperatorEvent>) -> Input {
        Input::Operator { event: event.into(), id: String::new(), position: Cause::new("", 0), at: self.now }
    }

    fn order(&self) -> WorkOrder {
        self.state.order.clone().unwrap()
    }

    fn inquired(&self, name: &str, report: Report) -> Input {
        Input::Inquired { timer: timer(name, &self.order()), report, at: self.now }
    }

    fn later(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    /// Pauses the present run; the request stands at `position`.
    fn paused(&mut self, position: u64) {
        let asked = self.asked(pause(0));
        assert!(self.when(position, &asked).is_nothing());
        let run = self.state.reference.run;
        assert_eq!(self.effects(&asked)[0], Effect::AskPause { request: pause(run), id: String::new() });
        let answer = Input::Pause { request: pause(run), id: String::new(), release: Release::Open };
        assert!(matches!(self.when(position, &answer).event(), DispatcherEvent::TaskPaused(_)));
    }

    fn resumed(&mut self, position: u64) -> Input {
        let asked = self.asked(resume(0));
        assert!(matches!(self.when(position, &asked).event(), DispatcherEvent::TaskResumed(_)));
        asked
    }
}

fn cancel(run: u32) -> CancelRequested {
    CancelRequested { task: TASK.into(), run, actor: "ada".into(), reason: "no".into() }
}

fn pause(run: u32) -> PauseRequested {
    PauseRequested { task: TASK.into(), run, actor: "ada".into(), reason: "wait".into() }
}

fn resume(run: u32) -> ResumeRequested {
    ResumeRequested { task: TASK.into(), run, actor: "ada".into(), reason: "go".into() }
}

fn stopped(run: u32) -> Input {
    let task = Some(TaskRef { task: TASK.into(), run, attempt: 0, ..TaskRef::default() });
    Input::Deployer(
        StageStopped { task, stage: "executing".into(), reason: "cancelled by ada: no".into() }.into(),
    )
}

#[track_caller]
fn assert_refused(decision: &Decision<DispatcherEvent>, why: &str) {
    match decision {
        Decision::Refused(Refusal::Mismatch(text), _) => assert!(text.contains(why), "{text}"),
        other => panic!("{other:?} instead of a refusal with `{why}`"),
    }
}

#[track_caller]
fn assert_held(decision: &Decision<DispatcherEvent>) {
    assert!(matches!(decision, Decision::Refused(Refusal::TooEarly(_), None)), "{decision:?}");
}

#[test]
fn a_cancel_takes_the_lease_at_once_and_waits_for_the_deployer() {
    let mut cycle = Cycle::scheduled();
    let order = cycle.order().id;
    let asked = cycle.asked(cancel(0));
    assert!(cycle.when(1, &asked).is_nothing());
    let revoke = Effect::RevokeLease { order };
    assert_eq!(cycle.effects(&asked), [revoke.clone(), Effect::AskCancel(cancel(1))]);
    // Neither merged nor stopped: it is asked again, and what was offered meanwhile is revoked again.
    let open = Input::Cancel { request: cancel(1), release: Release::Open };
    assert_held(&cycle.when(1, &open));
    let closed = Input::Cancel { request: cancel(1), release: Release::Stopped };
    let DispatcherEvent::TaskCancelled(event) = cycle.when(1, &closed).event() else { panic!() };
    assert_eq!((event.actor.as_str(), event.reason.as_str()), ("ada", "no"));
    assert_eq!(cycle.effects(&closed), std::slice::from_ref(&revoke));
    // Twice changes nothing: neither the same message nor another one; the revocation stays owed.
    for position in [1, 2] {
        assert!(cycle.when(position, &asked).is_nothing());
        assert!(cycle.when(position, &closed).is_nothing());
    }
    assert_eq!(cycle.effects(&asked), [revoke]);
}

#[test]
fn a_stop_of_the_run_ends_it_whoever_asked() {
    let mut cycle = Cycle::scheduled();
    let order = cycle.order().id;
    let Input::Deployer(DeployerEvent::StageStopped(event)) = stopped(1) else { panic!() };
    assert!(cycle.when(1, &stopped(1)).is_nothing());
    assert_eq!(cycle.effects(&stopped(1))[0], Effect::FindCancel(event));
    let found = Input::Cancel { request: cancel(1), release: Release::Stopped };
    assert!(matches!(cycle.when(1, &found).event(), DispatcherEvent::TaskCancelled(_)));
    assert_eq!(cycle.effects(&stopped(1)), [Effect::RevokeLease { order }]);
    // Of one attempt, or of an earlier run: nothing ends.
    let mut cycle = Cycle::scheduled();
    cycle.opened(2);
    assert!(!cycle.effects(&stopped(1)).iter().any(|effect| matches!(effect, Effect::FindCancel(_))));
}

#[test]
fn the_merge_is_the_point_of_no_return_for_cancel_and_pause() {
    let mut cycle = Cycle::scheduled();
    let merged = Release::Merged("abc".into());
    let late = Input::Cancel { request: cancel(1), release: merged.clone() };
    assert_refused(&cycle.when(1, &late), "which is merged already as abc");
    let asked = cycle.asked(cancel(1));
    assert!(cycle.when(1, &asked).is_nothing(), "the refusal is recorded once");
    let late = Input::Pause { request: pause(1), id: String::new(), release: merged };
    assert_refused(&cycle.when(2, &late), "which is merged already as abc");
    assert!(!cycle.state.paused && cycle.state.is_active());
}

#[test]
fn requests_for_what_is_not_there_are_refused() {
    let mut cycle = Cycle::scheduled();
    let mut position = 0;
    let mut ask = |cycle: &mut Cycle, event: OperatorEvent| {
        position += 1;
        let asked = cycle.asked(event);
        cycle.when(position, &asked)
    };
    let retry = RetryRequested { task: TASK.into(), run: 7, ..Default::default() };
    for later in [cancel(7).into(), pause(7).into(), resume(7).into(), retry.into()] {
        assert_refused(&ask(&mut cycle, later), "of run 7 of VTID-01213, which is in run 1");
    }
    assert_refused(&ask(&mut cycle, resume(0).into()), "is not paused");
    let failed = TaskFailed { task: cycle.order().task, ..Default::default() }.into();
    cycle.record(&failed, None);
    for over in [cancel(0).into(), pause(0).into()] {
        assert_refused(&ask(&mut cycle, over), "which is failed");
    }
}

#[test]
fn run_0_is_the_present_run_of_the_time_of_the_request() {
    let mut cycle = Cycle::scheduled();
    cycle.later(10);
    let early = cycle.asked(cancel(0));
    cycle.later(10);
    let failed = TaskFailed { task: cycle.order().task, ..Default::default() }.into();
    cycle.record(&failed, None);
    cycle.opened(2);
    assert!(cycle.when(1, &early).is_nothing());
    assert_eq!(cycle.effects(&early), [], "it was about run 1");
    let now = cycle.asked(cancel(0));
    assert!(cycle.effects(&now).contains(&Effect::AskCancel(cancel(2))));
}

#[test]
fn a_paused_run_gets_no_order_and_none_of_its_deadlines_counts() {
    let mut cycle = Cycle::scheduled();
    cycle.paused(1);
    let order = cycle.order();
    for name in ["acknowledge", "lease", "execution", "pr_grace", "redispatch"] {
        let at = cycle.now;
        let fired = Input::Timer { timer: TimerFired { round: 7, ..timer(name, &order) }, at };
        cycle.later(10);
        assert!(cycle.when(9, &fired).is_nothing(), "held, it would be in the way of others");
        let owed = cycle.due(&fired);
        let [Due::Deadline(again), Due::Effect(Effect::CloseOffer { .. })] = &owed[..] else {
            panic!("{owed:?}")
        };
        let alarm = &again.alarm;
        assert_eq!((again.name.as_str(), again.at), (name, at + Duration::from_secs(60)), "{again:?}");
        assert_eq!((alarm.name.as_str(), alarm.about.as_str(), alarm.round), (name, order.id.as_str(), 8));
        // Asked before the pause: it is asked again as the deadline that it was.
        assert_held(&cycle.when(9, &cycle.inquired(name, Report::default())));
    }
    let failure = Some(Failure::new(Code::CommandFailed, "it broke"));
    let event =
        ExecutionFailed { task: order.task.clone(), order: order.id.clone(), failure, ..Default::default() };
    let failed = Input::Worker { event: event.into(), at: cycle.now };
    assert_held(&cycle.when(9, &failed));
    let noticed = OverdueNoticed { task: TASK.into(), run: 1, ..Default::default() };
    assert!(cycle.when(9, &Input::Overdue(noticed)).is_nothing(), "waiting for a person is not silence");
    // A deadline of an order that is not the last one is answered as ever.
    let other = WorkOrder { id: "other".into(), ..order };
    let foreign = fired("lease", &other, cycle.now);
    assert!(cycle.when(9, &foreign).is_nothing());
    assert!(cycle.effects(&foreign).contains(&Effect::Inquire(timer("lease", &other))));
    // Of an order before the last one of the attempt: no pull request would be an order.
    assert!(cycle.when(9, &fired("pr_grace", &other, cycle.now)).is_nothing());
    assert_eq!(deadlines(&cycle.due(&fired("pr_grace", &other, cycle.now))), ["pr_grace"]);
    cycle.resumed(2);
    assert!(matches!(cycle.when(9, &failed).event(), DispatcherEvent::WorkOrderIssued(_)));
    assert_eq!(cycle.state.reference.attempt, 2);
}

#[test]
fn an_expired_order_is_followed_up_at_the_resume() {
    let mut cycle = Cycle::scheduled();
    let lost = cycle.inquired("lease", Report { acknowledged: true, ..Report::default() });
    assert!(matches!(cycle.when(9, &lost).event(), DispatcherEvent::WorkOrderExpired(_)));
    cycle.paused(1);
    assert_eq!(cycle.effects(&lost), [Effect::CloseOffer { task: TASK.into() }]);
    assert!(deadlines(&cycle.due(&lost)).is_empty());
    assert_held(&cycle.when(9, &Input::FollowUp { task: TASK.into() }));
    let resumed = cycle.resumed(2);
    assert_eq!(cycle.effects(&resumed), [Effect::FollowUp { task: TASK.into() }]);
    let next = cycle.when(2, &Input::FollowUp { task: TASK.into() }).event();
    assert!(matches!(next, DispatcherEvent::WorkOrderIssued(_)));
}

#[test]
fn what_nobody_had_begun_is_offered_again_as_the_same_try() {
    let suspended = Report { acknowledged: true, finished: true, suspended: true, ..Report::default() };
    let begun = Report { acknowledged: true, lease_alive: true, ..Report::default() };
    for (report, asks, again) in [
        (Report::default(), "resume", true),
        (Report::default(), "acknowledge", true),
        (suspended, "resume", true),
        (begun, "resume", false),
        (Report { finished: true, ..begun }, "resume", false),
    ] {
        let mut cycle = Cycle::scheduled();
        let first = cycle.order();
        cycle.paused(1);
        cycle.later(3_600);
        let resumed = cycle.resumed(2);
        let question = TimerFired { name: "resume".into(), ..timer("", &first) };
        assert_eq!(cycle.due(&resumed), [Due::Effect(Effect::Inquire(question))], "and no passed deadline");
        let decision = cycle.when(2, &cycle.inquired(asks, report));
        if !again {
            assert!(decision.is_nothing());
            continue;
        }
        let DispatcherEvent::WorkOrderIssued(event) = decision.event() else { panic!() };
        let order = event.order.unwrap();
        assert_eq!((order.id.as_str(), order.tries), ("VTID-01213/1.1/change/2", 1));
        assert_eq!(deadlines(&cycle.due(&resumed)), ["acknowledge"]);
        assert!(cycle.when(2, &resumed).is_nothing(), "the same resume again");
        assert_eq!(cycle.effects(&resumed), [], "and nothing is offered a third time");
        // Whoever takes the first offer all the same must not work on it.
        let taken =
            WorkOrderAcknowledged { task: first.task.clone(), order: first.id.clone(), ..Default::default() };
        let taken = Input::Worker { event: taken.into(), at: cycle.now };
        assert!(cycle.effects(&taken).contains(&Effect::RevokeLease { order: first.id }));
    }
}

#[test]
fn a_suspension_that_is_heard_of_after_the_resume_is_offered_again_once() {
    let mut cycle = Cycle::scheduled();
    let order = cycle.order();
    let event =
        ExecutionSuspended { task: order.task.clone(), order: order.id.clone(), ..Default::default() };
    let suspended = Input::Worker { event: event.into(), at: cycle.now };
    cycle.paused(1);
    assert!(cycle.when(9, &suspended).is_nothing(), "the resume offers it");
    cycle.resumed(2);
    assert!(matches!(cycle.when(9, &suspended).event(), DispatcherEvent::WorkOrderIssued(_)));
    assert!(cycle.when(9, &suspended).is_nothing());
}

/// Offered again, it would come back for ever.
#[test]
fn work_that_needs_a_person_blocks_the_run_and_says_why() {
    for is_paused in [false, true] {
        let mut cycle = Cycle::scheduled();
        let order = cycle.order();
        let mut event = ExecutionSuspended {
            task: order.task.clone(),
            order: order.id.clone(),
            reason: "the plan's risk is high".to_owned(),
            ..Default::default()
        };
        event.set_phase(Phase::Implement);
        let suspended = Input::Worker { event: event.into(), at: cycle.now };
        if is_paused {
            cycle.paused(1);
        }
        let DispatcherEvent::TaskBlocked(blocked) = cycle.when(9, &suspended).event() else { panic!() };
        let failure = blocked.failure.unwrap();
        assert_eq!(failure.known_code(), Some(Code::PolicyDenied));
        assert!(
            failure.message.starts_with("IMPLEMENT needs a person: the plan's risk is high"),
            "{failure:?}"
        );
        assert!(cycle.when(9, &suspended).is_nothing());
    }
}

#[test]
fn a_pull_request_has_its_whole_time_again_after_a_resume() {
    let mut cycle = Cycle::scheduled();
    cycle.paused(1);
    cycle.later(86_400);
    cycle.resumed(2);
    let until = cycle.now + dispatcher().limits.pr_grace;
    let none = cycle.inquired("pr_grace", Report { acknowledged: true, finished: true, ..Report::default() });
    assert!(cycle.when(9, &none).is_nothing());
    let owed = cycle.due(&none);
    let [Due::Deadline(deadline)] = &owed[..] else { panic!("{owed:?}") };
    assert_eq!((deadline.name.as_str(), deadline.at, deadline.alarm.round), ("pr_grace", until, 1));
    cycle.later(300);
    let none = cycle.inquired("pr_grace", Report { acknowledged: true, finished: true, ..Report::default() });
    let DispatcherEvent::WorkOrderIssued(event) = cycle.when(9, &none).event() else { panic!() };
    assert_eq!(event.order.unwrap().previous_failure.unwrap().known_code(), Some(Code::PrNotCreated));
}

#[test]
fn pause_and_resume_twice_and_again() {
    let mut cycle = Cycle::scheduled();
    cycle.paused(1);
    let again = cycle.asked(pause(1));
    let answer = Input::Pause { request: pause(1), id: String::new(), release: Release::Open };
    for position in [1, 2] {
        assert!(cycle.when(position, &again).is_nothing(), "the same, and another one of a paused run");
        assert_eq!(cycle.effects(&again), [Effect::CloseOffer { task: TASK.into() }]);
        assert!(cycle.when(position, &answer).is_nothing());
    }
    let resumed = cycle.resumed(3);
    assert!(cycle.when(3, &resumed).is_nothing(), "the same resume again");
    assert_refused(&cycle.when(4, &resumed), "is not paused");
    assert!(cycle.when(1, &again).is_nothing(), "the first pause comes again: it was met");
    assert!(cycle.when(1, &answer).is_nothing(), "and so does the answer to its question");
    assert!(!cycle.state.paused);
    cycle.paused(5);
    assert!(cycle.when(3, &resumed).is_nothing(), "the first resume comes again: it was met");
    assert!(cycle.when(4, &resumed).is_nothing(), "the second was refused, and stays so");
    assert!(cycle.state.paused, "a pause of its own");
}

/// A cancel that came before its task was refused, and the refusal's acknowledgement was lost: it comes again
/// when there is a run, and is not about that one.
#[test]
fn what_was_refused_stays_refused_when_it_comes_again() {
    let mut cycle = Cycle::scheduled();
    cycle.state = Task::default();
    let early = Input::Operator {
        event: cancel(0).into(),
        id: "c-1".to_owned(),
        position: Cause::new(Log::Operator.stream(0), 1),
        at: cycle.now,
    };
    assert!(matches!(cycle.when(1, &early), Decision::Refused(..)));
    cycle.opened(1);
    assert!(cycle.when(1, &early).is_nothing());
    assert!(cycle.effects(&early).is_empty(), "{:?}", cycle.effects(&early));
    let later = Input::Operator {
        event: cancel(0).into(),
        id: "c-2".to_owned(),
        position: Cause::new(Log::Operator.stream(0), 2),
        at: cycle.now,
    };
    assert!(!cycle.effects(&later).is_empty(), "another cancel counts");
}

/// Published again after the broker has forgotten it, a request has another place in its log and the same id.
#[test]
fn a_pause_or_resume_that_is_published_again_changes_nothing() {
    let mut cycle = Cycle::scheduled();
    let named = |cycle: &Cycle, event: OperatorEvent, id: &str| Input::Operator {
        event,
        id: id.to_owned(),
        position: Cause::new("", 0),
        at: cycle.now,
    };
    let first = named(&cycle, pause(1).into(), "p-1");
    let answer = Input::Pause { request: pause(1), id: "p-1".to_owned(), release: Release::Open };
    assert_eq!(cycle.effects(&first), [Effect::AskPause { request: pause(1), id: "p-1".to_owned() }]);
    let DispatcherEvent::TaskPaused(event) = cycle.when(1, &answer).event() else { panic!() };
    assert_eq!(event.request, "p-1");
    let resumed = named(&cycle, resume(1).into(), "r-1");
    let DispatcherEvent::TaskResumed(event) = cycle.when(2, &resumed).event() else { panic!() };
    assert_eq!(event.request, "r-1");
    for input in [&first, &answer, &resumed] {
        assert!(cycle.when(3, input).is_nothing(), "{input:?}");
    }
    let asks = |effects: Vec<Effect>| effects.iter().any(|effect| matches!(effect, Effect::AskPause { .. }));
    assert!(!asks(cycle.effects(&first)) && !cycle.state.paused);
    cycle.paused(4);
    assert!(cycle.when(5, &resumed).is_nothing() && cycle.state.paused, "a pause of its own");
    // Another request with an id of its own is met.
    let other = named(&cycle, resume(1).into(), "r-2");
    assert!(matches!(cycle.when(6, &other).event(), DispatcherEvent::TaskResumed(_)));
}

/// A paused run keeps no other waiting for its offer; what is offered again after the resume counts again.
#[test]
fn the_offer_of_a_paused_run_is_closed_and_opened_again() {
    let close = Effect::CloseOffer { task: TASK.to_owned() };
    let open = Effect::OpenOffer { task: TASK.to_owned() };
    let mut cycle = Cycle::scheduled();
    let asked = cycle.asked(pause(1));
    assert!(!cycle.effects(&asked).contains(&close));
    cycle.paused(1);
    let answer = Input::Pause { request: pause(1), id: String::new(), release: Release::Open };
    assert!(cycle.effects(&asked).contains(&close) && cycle.effects(&answer).contains(&close));
    let resumed = cycle.resumed(2);
    assert!(!cycle.effects(&answer).contains(&close), "delivered again after the resume");
    assert!(!cycle.effects(&resumed).contains(&open), "not yet");
    let unbegun = cycle.inquired("resume", Report::default());
    let begun = cycle.inquired("resume", Report { acknowledged: true, ..Report::default() });
    assert!(cycle.when(2, &begun).is_nothing() && !cycle.effects(&begun).contains(&open));
    assert!(matches!(cycle.when(2, &unbegun).event(), DispatcherEvent::WorkOrderIssued(_)));
    assert!(cycle.effects(&unbegun).contains(&open));
}

#[test]
fn the_end_of_a_run_ends_its_pause() {
    let mut cycle = Cycle::scheduled();
    cycle.paused(1);
    // What is merged is finished, pause or not.
    let verified = DeploymentVerified { task: cycle.order().task, ..Default::default() };
    let done = cycle.when(9, &Input::Deployer(verified.into())).event();
    assert!(matches!(done, DispatcherEvent::TaskCompleted(_)));
    assert!(!cycle.state.paused);
    let mut cycle = Cycle::scheduled();
    cycle.paused(1);
    let stopped = Input::Cancel { request: cancel(1), release: Release::Stopped };
    assert!(matches!(cycle.when(2, &stopped).event(), DispatcherEvent::TaskCancelled(_)));
    assert!(!cycle.state.paused, "a paused run can be cancelled");
}

#[test]
fn a_blocked_run_can_be_cancelled() {
    let mut cycle = Cycle::scheduled();
    let blocked = TaskBlocked { task: cycle.order().task, ..Default::default() }.into();
    cycle.record(&blocked, None);
    let asked = cycle.asked(cancel(0));
    assert!(cycle.effects(&asked).contains(&Effect::AskCancel(cancel(1))));
    let stopped = Input::Cancel { request: cancel(1), release: Release::Stopped };
    assert!(matches!(cycle.when(1, &stopped).event(), DispatcherEvent::TaskCancelled(_)));
    let pause = cycle.asked(pause(0));
    assert_refused(&cycle.when(2, &pause), "which is cancelled");
}

#[test]
fn s1_ops_3_a_retry_that_comes_again_opens_no_third_run() {
    let mut cycle = Cycle::scheduled();
    let ended: DispatcherEvent = TaskCancelled { task: cycle.order().task, ..Default::default() }.into();
    cycle.record(&ended, None);
    cycle.later(10);
    let request = RetryRequested { task: TASK.into(), run: 0, actor: "ada".into(), ..Default::default() };
    let asked = cycle.asked(request);
    assert!(cycle.when(1, &asked).is_nothing());
    assert!(matches!(&cycle.effects(&asked)[..], [Effect::FindSpec(found)] if found.run == 1));
    cycle.later(10);
    cycle.opened(2);
    let ended: DispatcherEvent = TaskCancelled { task: cycle.order().task, ..Default::default() }.into();
    cycle.record(&ended, None);
    assert!(cycle.when(1, &asked).is_nothing());
    assert_eq!(cycle.effects(&asked), [], "it was about run 1");
}

/// By the clock that wrote the request it was made after run 2 was scheduled: it would be about run 2.
#[test]
fn s1_ops_3_a_retry_that_comes_again_with_wrong_clocks_opens_no_third_run() {
    let mut cycle = Cycle::scheduled();
    let ended = |cycle: &mut Cycle| {
        let event = TaskCancelled { task: Some(cycle.state.reference.clone()), ..Default::default() }.into();
        cycle.record(&event, None);
    };
    ended(&mut cycle);
    let at = cycle.now + Duration::from_secs(3_600);
    let request = RetryRequested { task: TASK.into(), run: 0, actor: "ada".into(), ..Default::default() };
    let asked = Input::Operator { event: request.into(), id: String::new(), position: Cause::new("", 0), at };
    for opened in [2, 2] {
        let Some(Effect::FindSpec(request)) = cycle.effects(&asked).into_iter().next() else { panic!() };
        let found = Input::Retry { request, spec: Some(spec(1)) };
        let Some(Effect::Admit { candidate, spec }) = cycle.effects(&found).into_iter().next() else {
            panic!()
        };
        let answer = Input::Admitted { candidate: candidate.clone(), spec, room: Room::Now };
        let decision = cycle.when(1, &answer);
        if candidate.run == opened {
            assert!(matches!(decision.event(), DispatcherEvent::TaskScheduled(_)));
            ended(&mut cycle);
        } else {
            assert_eq!(candidate.run, 3);
            assert!(decision.is_nothing());
            assert!(
                cycle.due(&answer).contains(&Due::Effect(Effect::Free(candidate))),
                "its room is given back"
            );
        }
    }
    assert_eq!(cycle.state.reference.run, 2);
}

/// Held, the retries that wait for room would keep a cancel waiting.
#[test]
fn a_retry_that_finds_the_queue_full_is_refused_once() {
    let mut cycle = Cycle::scheduled();
    let event = TaskFailed { task: cycle.order().task, ..Default::default() }.into();
    cycle.record(&event, None);
    let request = RetryRequested { task: TASK.into(), run: 1, ..Default::default() };
    let found = Input::Retry { request: request.clone(), spec: Some(spec(1)) };
    let Some(Effect::Admit { candidate, spec }) = cycle.effects(&found).into_iter().next() else { panic!() };
    let full = Input::Admitted { candidate, spec, room: Room::Full("storefront has 1 of 1".into()) };
    let refused = cycle.when(1, &full);
    assert_refused(&refused, "the queue is full");
    let Decision::Refused(_, Some(DispatcherEvent::TransitionRefused(event))) = refused else { panic!() };
    assert_eq!((event.asked_by.as_str(), event.status.as_str()), ("RetryRequested", "failed"));
    let asked = cycle.asked(request);
    for input in [&full, &found, &asked] {
        assert!(cycle.when(1, input).is_nothing(), "{input:?}");
    }
    assert_refused(&cycle.when(2, &full), "try again later");
}
