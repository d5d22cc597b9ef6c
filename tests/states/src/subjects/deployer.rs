//! Pull requests, merges, releases and rollbacks.

use std::collections::BTreeMap;

use millrace_deployer::domain::Input;
use millrace_deployer::effects::DeployerService;
use millrace_events::v1::TaskRef;
use millrace_events::{DeployerEvent, Event, Log, LogEvent as _};

use super::{as_named, place, task};
use crate::facts::{Label, fact, names_of, variants};
use crate::matrix::{Arrival, Subject, task_ref};
use crate::world;

/// The deployer.
pub fn deployer() -> Subject<DeployerService> {
    Subject {
        hosted: world::deployer(&world::context()),
        key: task(),
        lives: vec![
            ("released", vec!["PullRequestOpened", "MergeCompleted", "DeploymentVerified"]),
            (
                "rolled back",
                vec!["PullRequestOpened", "MergeCompleted", "DeploymentFailed", "RollbackCompleted"],
            ),
            (
                "not rolled back",
                vec!["PullRequestOpened", "MergeCompleted", "DeploymentFailed", "RollbackFailed"],
            ),
            (
                "not merged",
                vec!["PullRequestOpened", "MergeFailed", "PullRequestOpened 1.2", "MergeCompleted 1.2"],
            ),
            ("not opened", vec!["PullRequestFailed", "PullRequestOpened 1.2"]),
            ("stopped at once", vec!["StageStopped"]),
            ("stopped", vec!["PullRequestOpened", "StageStopped", "PullRequestOpened 2.1"]),
            ("stopped as a whole", vec!["PullRequestOpened", "StageStopped 1.0", "PullRequestOpened 2.1"]),
            ("stopped and merged", vec!["PullRequestOpened", "StageStopped", "MergeCompleted"]),
        ],
        own: as_named,
        outcomes,
        explain,
        lawful,
    }
}

/// Each event of the deployer's own log is what some effect comes to.
fn outcomes() -> Vec<(Label, Input)> {
    let mut found = Vec::new();
    for name in names_of(Log::Deployer) {
        for label in variants(Log::Deployer, name) {
            let Event::Deployer(event) = fact(Log::Deployer, &label) else { unreachable!() };
            if event.task_ref().is_some() {
                found.push((label.as_answer(), Input::found(event)));
            }
        }
    }
    let busy = Input::NotYet { task: task_ref(1, 1), reason: "another has it".to_owned() };
    found.push((Label::parse("?not_yet"), busy));
    for run in [1, 2, 9] {
        for (name, closed) in [("?stop", Vec::new()), ("?stop_closed", vec![1])] {
            let task = TaskRef { attempt: 0, ..task_ref(run, 0) };
            let stop = Input::Stop { task, reason: "Cancelled.".to_owned(), closed };
            found.push((Label::parse(&format!("{name} {run}.0")), stop));
        }
    }
    found
}

/// One attempt, as the history has it.
#[derive(Default)]
struct Attempt {
    opened: bool,
    not_opened: bool,
    refused: Vec<String>,
    merged: bool,
    verdict: Option<bool>,
    rolled_back: bool,
}

#[derive(Default)]
struct View {
    attempts: BTreeMap<(u32, u32), Attempt>,
    stopped: BTreeMap<u32, u32>,
}

impl View {
    fn of(history: &[DeployerEvent]) -> Self {
        let mut view = Self::default();
        for event in history {
            let place = place(event);
            if let DeployerEvent::StageStopped(_) = event {
                view.stopped.insert(place.0, place.1);
                continue;
            }
            let attempt = view.attempts.entry(place).or_default();
            match event {
                DeployerEvent::PullRequestOpened(_) => attempt.opened = true,
                DeployerEvent::PullRequestFailed(_) => attempt.not_opened = true,
                DeployerEvent::MergeCompleted(_) => attempt.merged = true,
                DeployerEvent::MergeFailed(event) => {
                    attempt.refused.push(event.pull_request.clone().unwrap_or_default().base);
                }
                DeployerEvent::DeploymentVerified(_) => attempt.verdict = Some(true),
                DeployerEvent::DeploymentFailed(_) => attempt.verdict = Some(false),
                DeployerEvent::RollbackCompleted(_) | DeployerEvent::RollbackFailed(_) => {
                    attempt.rolled_back = true;
                }
                DeployerEvent::StageStopped(_) => {}
            }
        }
        view
    }

    /// Attempt 0 of a run stands for the run as a whole.
    fn is_stopped(&self, (run, attempt): (u32, u32)) -> bool {
        self.stopped.get(&run).is_some_and(|last| *last == 0 || *last >= attempt)
    }

    fn is_superseded(&self, place: (u32, u32)) -> bool {
        self.attempts.keys().any(|found| *found > place)
    }

    fn is_merged(&self, run: u32) -> bool {
        self.attempts.iter().any(|(place, attempt)| place.0 == run && attempt.merged)
    }

    fn may_open(&self, place: (u32, u32)) -> bool {
        let answered = self.attempts.get(&place).is_some_and(|it| it.opened || it.not_opened);
        !answered && !self.is_stopped(place) && !self.is_superseded(place)
    }
}

fn explain(history: &[DeployerEvent], arrival: &Arrival<Input>, owed: &[String]) -> Option<&'static str> {
    let view = View::of(history);
    let place = arrival.label.place();
    let attempt = view.attempts.get(&place);
    match arrival.input.as_ref()? {
        Input::Executed { .. } if view.may_open(place) && !view.is_merged(place.0) => {
            owed.iter().any(|owed| owed == "OpenPullRequest").then_some("begins")
        }
        Input::Executed { .. } if view.is_stopped(place) => (owed == ["CleanUp"]).then_some("begins"),
        Input::Executed { .. } => owed.is_empty().then_some("done"),
        Input::Passed(_) if attempt.is_none_or(|attempt| !attempt.opened) => None,
        Input::Passed(_) => (!owed.is_empty()).then_some("begins"),
        Input::CancelAsked { .. } => (owed == ["FindRun"]).then_some("asks"),
        Input::Stop { .. } if owed == ["ClosePullRequests"] => Some("begins"),
        Input::Stop { .. } if owed == ["@deployment"] => Some("arms"),
        Input::Stop { .. } => {
            let is_stopped = view.stopped.get(&place.0) == Some(&0);
            (is_stopped || view.is_merged(place.0)).then_some("done")
        }
        Input::Ended { .. } if owed == ["CleanUp"] => {
            let cancels = arrival.label.name == "TaskCancelled";
            let open = cancels && !view.is_stopped(place) && !view.is_merged(place.0);
            (!open).then_some("begins")
        }
        Input::Ended { .. } => Some("done"),
        Input::Timer(_) if arrival.label.name == "@unheard_of" => Some("unknown"),
        Input::Timer(_) if !owed.is_empty() => Some("begins"),
        Input::Timer(_) => attempt.is_none_or(|attempt| !attempt.merged).then_some("moot"),
        Input::Found(event) => of_answers(&view, place, event),
        _ => None,
    }
}

/// An effect came to something that stands in the log already, or that nothing asked for (any more).
fn of_answers(view: &View, place: (u32, u32), event: &DeployerEvent) -> Option<&'static str> {
    let Some(attempt) = view.attempts.get(&place) else {
        return match event {
            DeployerEvent::PullRequestOpened(_) | DeployerEvent::PullRequestFailed(_) => {
                (!view.may_open(place)).then_some("unasked")
            }
            DeployerEvent::StageStopped(_) => {
                (view.is_stopped(place) || view.is_merged(place.0)).then_some("done")
            }
            _ => Some("unasked"),
        };
    };
    let is_done = match event {
        DeployerEvent::PullRequestOpened(_) | DeployerEvent::PullRequestFailed(_) => !view.may_open(place),
        DeployerEvent::MergeCompleted(_) => !attempt.opened || attempt.merged,
        DeployerEvent::MergeFailed(event) => {
            let base = event.pull_request.clone().unwrap_or_default().base;
            !attempt.opened || attempt.merged || attempt.refused.contains(&base) || view.is_stopped(place)
        }
        DeployerEvent::DeploymentVerified(_) | DeployerEvent::DeploymentFailed(_) => {
            !attempt.merged || attempt.verdict.is_some()
        }
        DeployerEvent::RollbackCompleted(_) | DeployerEvent::RollbackFailed(_) => {
            attempt.verdict != Some(false) || attempt.rolled_back
        }
        DeployerEvent::StageStopped(_) => view.is_stopped(place) || view.is_merged(place.0),
    };
    is_done.then_some("unasked")
}

/// Open, merge, verdict, rollback: each once, none before the one before it. The merge is the point of no
/// return: nothing is stopped after it.
fn lawful(history: &[DeployerEvent], _: &Arrival<Input>, event: &DeployerEvent) -> Result<(), String> {
    let view = View::of(history);
    let place = place(event);
    let nothing = Attempt::default();
    let attempt = view.attempts.get(&place).unwrap_or(&nothing);
    let allowed = match event {
        DeployerEvent::PullRequestOpened(_) | DeployerEvent::PullRequestFailed(_) => {
            !attempt.opened && !attempt.not_opened
        }
        DeployerEvent::MergeCompleted(_) | DeployerEvent::MergeFailed(_) => attempt.opened && !attempt.merged,
        DeployerEvent::DeploymentVerified(_) | DeployerEvent::DeploymentFailed(_) => {
            attempt.merged && attempt.verdict.is_none()
        }
        DeployerEvent::RollbackCompleted(_) | DeployerEvent::RollbackFailed(_) => {
            attempt.verdict == Some(false) && !attempt.rolled_back
        }
        DeployerEvent::StageStopped(_) => !view.is_merged(place.0),
    };
    allowed.then_some(()).ok_or_else(|| format!("{} of {place:?} does not follow", event.name()))
}
