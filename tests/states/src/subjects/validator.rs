//! The verdict on a pull request.

use std::collections::BTreeSet;

use millrace_events::v1::{Failure, PullRequest};
use millrace_events::{Code, Event, Log, LogEvent as _, ValidatorEvent, WorkerEvent};
use millrace_validator::domain::{Artifact, Findings, Input, Proof, REQUIRED_EVIDENCE, Showing};
use millrace_validator::effects::ValidatorService;

use super::{as_named, place, task};
use crate::facts::{Label, fact};
use crate::matrix::{Arrival, Subject, task_ref};
use crate::world;

/// The validator.
pub fn validator() -> Subject<ValidatorService> {
    Subject {
        hosted: world::validator(&world::context()),
        key: task(),
        lives: vec![
            ("passed", vec!["ValidationPassed"]),
            ("failed and tried again", vec!["ValidationFailed", "ValidationPassed 1.2"]),
            (
                "failed and begun again",
                vec!["ValidationFailed", "ValidationFailed 1.2", "ValidationPassed 2.1"],
            ),
            ("checked on another base", vec!["ValidationPassed moved", "ValidationPassed"]),
        ],
        own,
        outcomes,
        explain,
        lawful,
    }
}

fn own(history: &[ValidatorEvent], label: &Label) -> ValidatorEvent {
    let mut event: ValidatorEvent = as_named(history, label);
    if let ValidatorEvent::ValidationPassed(event) = &mut event
        && label.is("moved")
    {
        event.pull_request.as_mut().unwrap().base = "moved-base".to_owned();
    }
    event
}

fn outcomes() -> Vec<(Label, Input)> {
    let mut found = Vec::new();
    for place in ["1.1", "1.2", "9.1"] {
        for kind in ["?inspected", "?inspected_moved", "?inspected_bad", "?late", "?timed_out"] {
            let label = Label::parse(&format!("{kind} {place}"));
            let task = task_ref(label.run, label.attempt);
            let input = match kind {
                "?late" => Input::Failed {
                    task,
                    pull_request: PullRequest { base: "base".to_owned(), ..PullRequest::default() },
                    failure: Box::new(Failure::new(Code::ChecksTimeout, "late")),
                },
                "?timed_out" => Input::Failed {
                    task,
                    pull_request: PullRequest { base: "base".to_owned(), ..PullRequest::default() },
                    failure: Box::new(Failure::new(Code::ValidationTimeout, "late")),
                },
                _ => Input::Inspected { task, findings: Box::new(findings(&label)) },
            };
            found.push((label, input));
        }
    }
    found
}

/// What a pull request shows that is as it should be, checks included.
pub fn findings(label: &Label) -> Findings {
    let named = |name: &str| Label { name: name.to_owned(), ..label.clone() };
    let Event::Deployer(millrace_events::DeployerEvent::PullRequestOpened(opened)) =
        fact(Log::Deployer, &named("PullRequestOpened"))
    else {
        unreachable!()
    };
    let Event::Worker(WorkerEvent::ChecksCompleted(mut checks)) =
        fact(Log::Worker, &named("ChecksCompleted"))
    else {
        unreachable!()
    };
    let head = opened.pull_request.as_ref().unwrap().head.clone();
    let results = opened.checks.iter().map(|check| millrace_events::v1::CheckResult {
        name: check.name.clone(),
        command: check.command.clone(),
        passed: label.name != "?inspected_bad",
        ..Default::default()
    });
    checks.results = results.collect();
    checks.head.clone_from(&head);
    if label.name == "?inspected_moved" {
        checks.base = "moved-base".to_owned();
    }
    let artifact = |name: &&str| Artifact { name: (*name).to_owned(), fault: None };
    Findings {
        shown: Some(Showing { open: true, merged: false, head: head.clone(), redefines_checks: false }),
        evidence: REQUIRED_EVIDENCE.iter().map(artifact).collect(),
        proof: Some(Proof { outcome: "succeeded".to_owned(), head }),
        checks: Some(Box::new(checks)),
        opened,
    }
}

/// The attempts and bases that have a verdict.
fn verdicts(history: &[ValidatorEvent]) -> BTreeSet<((u32, u32), String)> {
    let base = |event: &ValidatorEvent| match event {
        ValidatorEvent::ValidationPassed(event) => event.pull_request.clone(),
        ValidatorEvent::ValidationFailed(event) => event.pull_request.clone(),
    };
    history.iter().map(|event| (place(event), base(event).unwrap_or_default().base)).collect()
}

fn explain(history: &[ValidatorEvent], arrival: &Arrival<Input>, owed: &[String]) -> Option<&'static str> {
    let label = &arrival.label;
    let verdicts = verdicts(history);
    let has = |base: &str| verdicts.contains(&(label.place(), base.to_owned()));
    let has_any = verdicts.iter().any(|(place, _)| *place == label.place());
    match arrival.input.as_ref()? {
        Input::Opened { .. } | Input::Checked(_) if owed.iter().any(|owed| owed == "Inspect") => {
            Some("begins")
        }
        Input::Opened { .. } if owed == ["@checks_wait"] => Some("arms"),
        Input::Opened { .. } | Input::Checked(_) => has_any.then_some("done"),
        Input::Timer(_) if label.name == "@unheard_of" => Some("unknown"),
        Input::Timer(_) if owed == ["FindChecks"] => Some("asks"),
        Input::Timer(_) => has_any.then_some("moot"),
        Input::Inspected { .. } if label.name == "?inspected_moved" => has("moved-base").then_some("done"),
        Input::Inspected { .. } => has("base").then_some("done"),
        // Late checks are judged as long as nothing was.
        Input::Failed { .. } if label.name == "?late" => has_any.then_some("done"),
        Input::Failed { .. } => has("base").then_some("done"),
    }
}

/// One verdict for each attempt and base.
fn lawful(history: &[ValidatorEvent], _: &Arrival<Input>, event: &ValidatorEvent) -> Result<(), String> {
    let before = verdicts(history);
    let after = verdicts(&[history, std::slice::from_ref(event)].concat());
    (after.len() > before.len()).then_some(()).ok_or_else(|| format!("a second {}", event.name()))
}
