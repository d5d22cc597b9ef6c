//! The life cycle. DESIGN section 5.

use std::collections::BTreeSet;

use millrace_dispatcher::domain::{ADMIT, Candidate, Input, Release, Report, Room};
use millrace_dispatcher::effects::DispatcherService;
use millrace_events::v1::{
    CancelRequested, PauseRequested, Priority, RetryRequested, SpecRegistered, TimerFired,
};
use millrace_events::{DispatcherEvent, Event, Log, LogEvent as _, SpecRegistryEvent};

use super::{as_named, place, task};
use crate::facts::{Label, TASK, fact};
use crate::matrix::{Arrival, Subject, now, task_ref};
use crate::world;

/// The dispatcher.
pub fn dispatcher() -> Subject<DispatcherService> {
    Subject {
        hosted: world::dispatcher(&world::context()),
        key: task(),
        lives: vec![
            ("released", vec!["TaskScheduled", "WorkOrderIssued check/1", "TaskCompleted"]),
            ("unchecked", vec!["TaskScheduled", "TaskCompleted"]),
            (
                "retried",
                vec!["TaskScheduled", "WorkOrderIssued 1.2", "WorkOrderIssued 1.2 check/1", "TaskFailed 1.2"],
            ),
            (
                "expired",
                vec![
                    "TaskScheduled",
                    "WorkOrderExpired DISPATCH_EXHAUSTED",
                    "WorkOrderIssued change/2",
                    "WorkOrderExpired change/2 LEASE_LOST",
                    "WorkOrderIssued 1.2",
                    "TaskBlocked 1.2 LEASE_LOST",
                ],
            ),
            (
                "checked again",
                vec![
                    "TaskScheduled",
                    "WorkOrderIssued check/1",
                    "WorkOrderExpired check/1 LEASE_LOST",
                    "WorkOrderIssued check/2",
                ],
            ),
            ("blocked", vec!["TaskScheduled", "TaskBlocked CONTRACT_VIOLATION", "TaskScheduled 2.1"]),
            ("cancelled", vec!["TaskScheduled", "TaskCancelled", "TaskScheduled 2.1", "TaskCompleted 2.1"]),
            ("without a spec", vec!["TaskFailed 1.0 SPEC_NOT_FOUND", "TaskScheduled 2.1"]),
            ("paused", vec!["TaskScheduled", "TaskPaused", "TaskResumed", "TaskFailed POLICY_DENIED"]),
            ("paused and cancelled", vec!["TaskScheduled", "TaskPaused", "TaskCancelled"]),
            ("waiting", vec!["TaskScheduled waiting", "WorkOrderIssued", "TaskCancelled"]),
            ("waiting and cancelled", vec!["TaskScheduled waiting", "TaskCancelled"]),
            ("waiting and paused", vec!["TaskScheduled waiting", "TaskPaused", "TaskResumed"]),
            (
                "offered again after a pause",
                vec!["TaskScheduled", "TaskPaused", "TaskResumed", "WorkOrderIssued change/2 paused"],
            ),
            (
                "checked after a pause",
                vec!["TaskScheduled", "WorkOrderIssued check/1", "TaskPaused", "TaskResumed"],
            ),
            (
                "expired and paused",
                vec!["TaskScheduled", "WorkOrderExpired DISPATCH_EXHAUSTED", "TaskPaused", "TaskBlocked"],
            ),
            ("approved", vec!["TaskScheduled", "ApprovalRequired", "WorkOrderIssued change/2"]),
            ("contradicted", vec!["TaskScheduled", "TransitionRefused", "TaskFailed CANCELLED"]),
        ],
        own: as_named,
        outcomes,
        explain,
        lawful,
    }
}

/// The answers to the dispatcher's questions.
fn outcomes() -> Vec<(Label, Input)> {
    let mut found = Vec::new();
    let reports = [
        ("untaken", Report::default()),
        ("busy", Report { workers_busy: true, ..Report::default() }),
        ("alive", Report { acknowledged: true, lease_alive: true, ..Report::default() }),
        ("silent", Report { acknowledged: true, ..Report::default() }),
        ("finished", Report { acknowledged: true, finished: true, ..Report::default() }),
        (
            "proposed",
            Report { acknowledged: true, finished: true, pull_request_known: true, ..Report::default() },
        ),
        ("suspended", Report { acknowledged: true, finished: true, suspended: true, ..Report::default() }),
    ];
    for name in ["acknowledge", "lease", "execution", "pr_grace", "resume"] {
        for place in ["1.1", "1.1 change/2", "1.1 check/1", "1.2", "9.1"] {
            for (answer, report) in reports {
                let label = Label::parse(&format!("?{name} {place} {answer}"));
                let timer = TimerFired {
                    name: name.to_owned(),
                    task: Some(task_ref(label.run, label.attempt)),
                    about: label.order_id(),
                    round: 0,
                };
                found.push((label, Input::Inquired { timer, report, at: now(0) }));
            }
        }
    }
    let Event::SpecRegistry(SpecRegistryEvent::SpecRegistered(spec)) =
        fact(Log::SpecRegistry, &Label::parse("SpecRegistered"))
    else {
        unreachable!()
    };
    for place in ["1.1", "2.1", "3.1", "9.1"] {
        let label = |name: &str| Label::parse(&format!("{name} {place}"));
        let run = label("run").run;
        let retry = |spec: Option<SpecRegistered>| {
            let request = RetryRequested { task: TASK.into(), run, ..Default::default() };
            Input::Retry { request, spec }
        };
        found.push((label("?retry"), retry(Some(spec.clone()))));
        found.push((label("?retry_without_spec"), retry(None)));
        for (name, release) in [
            ("open", Release::Open),
            ("stopped", Release::Stopped),
            ("merged", Release::Merged("m1".to_owned())),
        ] {
            let request = CancelRequested { task: TASK.into(), run, ..Default::default() };
            let cancel = Input::Cancel { request, release: release.clone() };
            found.push((label(&format!("?cancel_of_{name}")), cancel));
            let request = PauseRequested { task: TASK.into(), run, ..Default::default() };
            found.push((
                label(&format!("?pause_of_{name}")),
                Input::Pause { request, id: String::new(), release },
            ));
        }
        for (name, spec) in [("open", Some(Box::new(spec.clone()))), ("waiting", None)] {
            for (answer, room) in [
                ("now", Room::Now),
                ("later", Room::Wait("others".to_owned())),
                ("full", Room::Full("others".to_owned())),
            ] {
                let candidate = Candidate {
                    task: TASK.to_owned(),
                    run,
                    repository: "shop".to_owned(),
                    domain: "WorkOrder.domain".to_owned(),
                    priority: Priority::Normal,
                    since: None,
                    chosen: false,
                };
                let input = Input::Admitted { candidate, spec: spec.clone(), room };
                found.push((label(&format!("?admit_{name}_{answer}")), input));
            }
        }
        let task = Some(task_ref(run, 1));
        let timer = TimerFired { name: ADMIT.to_owned(), task, ..TimerFired::default() };
        found.push((label("@admit"), Input::Timer { timer, at: now(0) }));
    }
    found.push((Label::parse("?follow_up"), Input::FollowUp { task: TASK.into() }));
    found
}

/// What a history says, and no more.
#[derive(Default)]
struct View {
    status: Option<&'static str>,
    present: (u32, u32),
    order: Option<String>,
    had_order: bool,
    is_expired: bool,
    expired: BTreeSet<String>,
    is_paused: bool,
    resumed: Option<String>,
}

impl View {
    fn of(history: &[DispatcherEvent]) -> Self {
        let mut view = Self::default();
        for event in history {
            if !matches!(event, DispatcherEvent::TransitionRefused(_)) {
                view.present = place(event);
            }
            view.status = status(event).or(view.status);
            match event {
                DispatcherEvent::TaskScheduled(event) => {
                    (view.is_paused, view.resumed) = (false, None);
                    view.expired.clear();
                    view.offer(event.order.as_ref().map(|order| order.id.clone()));
                }
                DispatcherEvent::WorkOrderIssued(event) => {
                    let resumed = view.resumed.take().filter(|order| view.order.as_ref() == Some(order));
                    view.expired.extend(resumed.filter(|_| event.reason == "offered again after the pause"));
                    view.offer(event.order.as_ref().map(|order| order.id.clone()));
                }
                DispatcherEvent::WorkOrderExpired(event) => {
                    view.is_expired = true;
                    view.expired.insert(event.order.clone());
                }
                DispatcherEvent::TaskPaused(_) => view.is_paused = true,
                DispatcherEvent::TaskResumed(_) => {
                    view.is_paused = false;
                    view.resumed = view.order.clone();
                }
                _ if status(event).is_some() => view.is_paused = false,
                _ => {}
            }
        }
        view
    }

    fn offer(&mut self, order: Option<String>) {
        self.had_order |= order.is_some();
        self.is_expired = false;
        self.order = order;
    }

    fn is_active(&self) -> bool {
        self.status == Some("active")
    }

    fn is_over(&self) -> bool {
        !matches!(self.status, Some("active" | "pending" | "complete"))
    }

    /// Whether the order is offered or worked on.
    fn is_open(&self, order: &str) -> bool {
        self.is_active() && !self.is_expired && self.order.as_deref() == Some(order)
    }

    /// What is merged is the run's, whichever attempt it is of.
    fn is_decided_by(&self, label: &Label) -> bool {
        const AFTER_A_MERGE: [&str; 5] = [
            "MergeCompleted",
            "DeploymentVerified",
            "DeploymentFailed",
            "RollbackCompleted",
            "RollbackFailed",
        ];
        self.is_active() && label.run == self.present.0 && AFTER_A_MERGE.contains(&label.name.as_str())
    }

    fn is_check(&self) -> bool {
        self.order.as_ref().is_some_and(|order| order.contains("/check/"))
    }
}

fn status(event: &DispatcherEvent) -> Option<&'static str> {
    Some(match event {
        DispatcherEvent::TaskScheduled(event) if event.order.is_none() => "pending",
        DispatcherEvent::TaskScheduled(_) | DispatcherEvent::WorkOrderIssued(_) => "active",
        DispatcherEvent::TaskBlocked(_) => "blocked",
        DispatcherEvent::TaskCompleted(_) => "complete",
        DispatcherEvent::TaskFailed(_) => "failed",
        DispatcherEvent::TaskCancelled(_) => "cancelled",
        _ => return None,
    })
}

fn explain(history: &[DispatcherEvent], arrival: &Arrival<Input>, owed: &[String]) -> Option<&'static str> {
    let view = View::of(history);
    let label = &arrival.label;
    match arrival.log {
        Some(Log::SpecRegistry) => of_specs(&view, label, owed),
        Some(Log::Worker | Log::Validator | Log::Deployer) => of_facts(&view, label, owed),
        Some(Log::Operator) => of_operators(&view, label, owed),
        Some(Log::Projector) => {
            let silent = view.is_active() && !view.is_paused && label.run == view.present.0;
            (!silent).then_some("moot")
        }
        Some(_) => None,
        None if arrival.timer.is_some() => of_deadlines(&view, label, owed),
        None => of_answers(&view, label, owed),
    }
}

fn of_specs(view: &View, label: &Label, owed: &[String]) -> Option<&'static str> {
    match label.name.as_str() {
        "SpecRegistered" if label.is("odd") => Some("unknown"),
        "SpecRegistered" if label.is("draft") => Some("not ready"),
        "SpecRegistered" if view.status.is_none() || (view.status == Some("failed") && !view.had_order) => {
            owed.iter().any(|owed| owed == "Admit").then_some("asks")
        }
        "SpecRejected" if label.code.is_some_and(|code| code.name() == "SPEC_ID_CONFLICT") => Some("record"),
        _ => view.status.map(|_| "locked"),
    }
}

/// What other services say. Who owns a fact is believed; what contradicts the record must have been refused.
fn of_facts(view: &View, label: &Label, owed: &[String]) -> Option<&'static str> {
    let name = label.name.as_str();
    let says_nothing = [
        "PhaseCompleted",
        "PhaseReverted",
        "ModelCalled",
        "ModelFellBack",
        "ContractViolated",
        "ToolCallRefused",
        "PromptDriftDetected",
    ];
    if says_nothing.contains(&name) {
        return Some("record");
    }
    // Of a run that was never put on offer there is nothing to say.
    let is_waiting = view.status == Some("pending") && label.place() == view.present;
    if view.status.is_none() || label.place() > view.present || is_waiting {
        return None;
    }
    if name == "StageStopped" {
        return Some(if owed.iter().any(|owed| owed == "FindCancel") { "asks" } else { "record" });
    }
    // Given back unbegun: of an order that is given up anyway that says nothing.
    let is_expired = is_about_an_order(name) && view.expired.contains(&label.order_id());
    if is_expired && name != "ExecutionSuspended" {
        return None;
    }
    let is_over = label.place() < view.present && !view.is_decided_by(label);
    if is_expired || is_over || !view.is_active() {
        let goes_live = ["MergeCompleted", "DeploymentVerified"].contains(&name);
        let goes_back = ["DeploymentFailed", "RollbackCompleted", "RollbackFailed"].contains(&name);
        let is_complete = view.status == Some("complete");
        let contradicts = match label.run == view.present.0 {
            true => (goes_live && !is_complete) || (goes_back && is_complete),
            false => goes_live && !is_complete,
        };
        return (!contradicts).then_some("past");
    }
    let is_open = view.is_open(&label.order_id());
    match name {
        "WorkOrderAcknowledged" | "ExecutionCompleted" if is_open && !owed.is_empty() => Some("arms"),
        "ChecksCompleted" if is_open => Some("record"),
        // The resume offers the order again.
        "ExecutionSuspended" if is_open => view.is_paused.then_some("record"),
        "ExecutionFailed" if is_open => None,
        // Of an order before the present one.
        "WorkOrderAcknowledged"
        | "ExecutionCompleted"
        | "ChecksCompleted"
        | "ExecutionSuspended"
        | "ExecutionFailed" => (is_before(&label.order_id(), view)).then_some("past"),
        "ValidationPassed" | "MergeCompleted" | "DeploymentFailed" => Some("record"),
        "PullRequestOpened" if label.is("unchecked") || view.is_check() => Some("record"),
        _ => None,
    }
}

fn is_about_an_order(name: &str) -> bool {
    let about = [
        "WorkOrderAcknowledged",
        "ExecutionCompleted",
        "ExecutionFailed",
        "ExecutionSuspended",
        "ChecksCompleted",
    ];
    about.contains(&name)
}

/// Whether an order of the present attempt came before the one that is offered now.
fn is_before(order: &str, view: &View) -> bool {
    let rank = |id: &str| {
        let round = id.rsplit_once('/').and_then(|(_, round)| round.parse::<u32>().ok());
        (id.contains("/check/"), round)
    };
    view.order.as_ref().is_some_and(|present| rank(order) < rank(present))
}

fn of_operators(view: &View, label: &Label, owed: &[String]) -> Option<&'static str> {
    let is_past = label.run != 0 && label.run < view.present.0;
    match label.name.as_str() {
        _ if view.status.is_none() => None,
        "RetryRequested" | "CancelRequested" if is_past => Some("past"),
        "CancelRequested" if view.status == Some("cancelled") => Some("done"),
        "RetryRequested" => owed.iter().any(|owed| owed == "FindSpec").then_some("asks"),
        "CancelRequested" => owed.iter().any(|owed| owed == "AskCancel").then_some("asks"),
        "PauseRequested" if view.is_paused => Some("done"),
        "PauseRequested" => owed.iter().any(|owed| owed == "AskPause").then_some("asks"),
        _ => None,
    }
}

fn of_deadlines(view: &View, label: &Label, owed: &[String]) -> Option<&'static str> {
    match label.name.as_str() {
        "@unheard_of" => Some("unknown"),
        // It is due again, until the resume.
        name if view.is_paused && owed.iter().any(|owed| owed == name) => Some("waits"),
        "@redispatch" => {
            let waits = view.is_expired && view.is_active() && view.order == Some(label.order_id());
            (!waits).then_some("moot")
        }
        _ if owed.iter().any(|owed| owed == "Inquire") => Some("asks"),
        _ if !view.is_active() => Some("moot"),
        _ => None,
    }
}

fn of_answers(view: &View, label: &Label, owed: &[String]) -> Option<&'static str> {
    let is_past = label.run < view.present.0;
    let is_open = view.is_open(&label.order_id());
    let is_present = view.is_active() && label.place() == view.present;
    let is_finished = ["finished", "proposed", "suspended"].into_iter().any(|twist| label.is(twist));
    let is_taken = is_finished || label.is("alive") || label.is("silent");
    match label.name.as_str() {
        "?acknowledge" | "?lease" | "?execution" | "?resume" if !is_open => Some("moot"),
        "?acknowledge" => is_taken.then_some("done"),
        "?lease" => (is_finished || label.is("alive")).then_some("done"),
        "?execution" => is_finished.then_some("done"),
        "?resume" if view.resumed.as_ref() != view.order.as_ref() => Some("moot"),
        "?resume" => is_taken.then_some("done"),
        "?pr_grace" if !is_present || view.is_check() => Some("moot"),
        "?pr_grace" if label.is("proposed") => Some("done"),
        // A resume begins the limit again.
        "?pr_grace" => (owed == ["@pr_grace"]).then_some("arms"),
        "?follow_up" if !view.is_expired || !view.is_active() => Some("done"),
        "?follow_up" if view.is_paused => Some("paused"),
        // It waits for its deadline.
        "?follow_up" => (owed == ["@redispatch"]).then_some("arms"),
        "?retry" | "?retry_without_spec" if is_past => Some("past"),
        "?retry" => owed.iter().any(|owed| owed == "Admit").then_some("asks"),
        "?cancel_of_open" | "?cancel_of_stopped" | "?cancel_of_merged" if is_past => Some("past"),
        "?cancel_of_open" | "?cancel_of_stopped" | "?cancel_of_merged" => {
            (view.status == Some("cancelled")).then_some("done")
        }
        "?pause_of_open" | "?pause_of_stopped" | "?pause_of_merged" => view.is_paused.then_some("done"),
        "?admit_open_now" | "?admit_open_later" | "?admit_open_full" => {
            let opens = view.is_over() && label.run == view.present.0 + 1;
            (!opens).then_some("moot")
        }
        "@admit" if owed.iter().any(|owed| owed == "Admit") => Some("asks"),
        "@admit" | "?admit_waiting_now" => {
            let waits = view.status == Some("pending") && !view.is_paused && label.run == view.present.0;
            (!waits).then_some("moot")
        }
        // It waits on.
        "?admit_waiting_later" | "?admit_waiting_full" => Some("record"),
        _ => None,
    }
}

/// DESIGN section 5: which status may follow on which, and only with run + 1 a new run.
fn lawful(
    history: &[DispatcherEvent],
    arrival: &Arrival<Input>,
    event: &DispatcherEvent,
) -> Result<(), String> {
    let view = View::of(history);
    let (run, attempt) = place(event);
    let same_run = run == view.present.0;
    let allowed = match (view.status, event) {
        (None, DispatcherEvent::TaskScheduled(_)) => (run, attempt) == (1, 1),
        (None, DispatcherEvent::TaskFailed(_)) => (run, attempt) == (1, 0),
        (Some("active"), DispatcherEvent::WorkOrderIssued(_)) => {
            same_run && (attempt == view.present.1 || attempt == view.present.1 + 1)
        }
        (
            Some("active"),
            DispatcherEvent::WorkOrderExpired(_)
            | DispatcherEvent::ApprovalRequired(_)
            | DispatcherEvent::TaskBlocked(_)
            | DispatcherEvent::TaskPaused(_)
            | DispatcherEvent::TaskResumed(_)
            | DispatcherEvent::TaskCompleted(_)
            | DispatcherEvent::TaskFailed(_)
            | DispatcherEvent::TaskCancelled(_),
        ) => (run, attempt) == view.present,
        (
            Some("pending"),
            DispatcherEvent::WorkOrderIssued(_)
            | DispatcherEvent::TaskPaused(_)
            | DispatcherEvent::TaskResumed(_)
            | DispatcherEvent::TaskBlocked(_)
            | DispatcherEvent::TaskFailed(_)
            | DispatcherEvent::TaskCancelled(_),
        ) => (run, attempt) == view.present,
        (
            Some("blocked"),
            DispatcherEvent::WorkOrderIssued(_)
            | DispatcherEvent::TaskFailed(_)
            | DispatcherEvent::TaskCancelled(_),
        ) => same_run,
        (Some("failed" | "cancelled" | "blocked"), DispatcherEvent::TaskScheduled(_)) => {
            (run, attempt) == (view.present.0 + 1, 1)
        }
        _ => false,
    };
    if !allowed {
        return Err(format!(
            "{} {run}.{attempt} after {:?} {:?}",
            event.name(),
            view.status.unwrap_or("nothing"),
            view.present
        ));
    }
    let label = &arrival.label;
    let is_fact = matches!(arrival.log, Some(Log::Worker | Log::Validator | Log::Deployer));
    if is_fact && label.place() != view.present && !view.is_decided_by(label) {
        return Err(format!("{} on a fact about another attempt", event.name()));
    }
    let is_request = arrival.log == Some(Log::Operator);
    if is_request && label.run != 0 && label.run != view.present.0 {
        return Err(format!("{} on a request about another run", event.name()));
    }
    Ok(())
}
