//! Groups of like failures.

use millrace_events::v1::Failure;
use millrace_events::{Code, FailureAnalyzerEvent, LogEvent as _};
use millrace_failure_analyzer::domain::{Classification, Input, Reported};
use millrace_failure_analyzer::effects::FailureAnalyzerService;

use super::{as_named, place};
use crate::facts::Label;
use crate::matrix::{Arrival, Subject, task_ref};
use crate::world;

/// The failure analyzer, under the group of commands that failed.
pub fn analyzer() -> Subject<FailureAnalyzerService> {
    Subject {
        hosted: world::analyzer(&world::context()),
        key: found(1, 1).group().unwrap(),
        lives: vec![
            (
                "known",
                vec![
                    "FailureClassified",
                    "InsightPublished",
                    "FailureClassified 2.1",
                    "PromptVersionPromoted",
                ],
            ),
            ("in another run", vec!["FailureClassified 2.1"]),
        ],
        own: as_named,
        outcomes,
        explain,
        lawful,
    }
}

fn found(run: u32, attempt: u32) -> Classification {
    let failure = Failure::new(Code::CommandFailed, "it broke").at_stage("executing");
    Classification::new(&Reported { task: task_ref(run, attempt), failure }, "")
}

fn outcomes() -> Vec<(Label, Input)> {
    let mut answers = Vec::new();
    for place in ["1.1", "1.2", "2.1", "9.1"] {
        let label = |name: &str| Label::parse(&format!("{name} {place}"));
        let (run, attempt) = label("found").place();
        answers.push((label("?classified"), Input::Classified(Box::new(found(run, attempt)))));
        answers.push((label("?grown"), Input::Grown(Box::new(found(run, attempt)))));
    }
    answers
}

/// The runs that are counted, and how many were when something was last said.
fn counted(history: &[FailureAnalyzerEvent]) -> (Vec<u32>, usize) {
    let (mut runs, mut said) = (Vec::new(), 0);
    for event in history {
        match event {
            FailureAnalyzerEvent::FailureClassified(event) => {
                runs.push(event.task.as_ref().map_or(0, |task| task.run));
            }
            FailureAnalyzerEvent::InsightPublished(event) => said = event.count as usize,
            FailureAnalyzerEvent::PromptVersionPromoted(_) => {}
        }
    }
    (runs, said)
}

fn explain(
    history: &[FailureAnalyzerEvent],
    arrival: &Arrival<Input>,
    owed: &[String],
) -> Option<&'static str> {
    let (runs, said) = counted(history);
    match arrival.input.as_ref()? {
        Input::Reported(_) => (owed == ["Classify"]).then_some("asks"),
        Input::Classified(found) => runs.contains(&found.task.run).then_some("done"),
        Input::Grown(_) => (runs.len() <= said).then_some("done"),
    }
}

/// A run is counted once; an insight only says what has grown.
fn lawful(
    history: &[FailureAnalyzerEvent],
    _: &Arrival<Input>,
    event: &FailureAnalyzerEvent,
) -> Result<(), String> {
    let (runs, said) = counted(history);
    let allowed = match event {
        FailureAnalyzerEvent::FailureClassified(_) => !runs.contains(&place(event).0),
        FailureAnalyzerEvent::InsightPublished(_) => runs.len() > said,
        FailureAnalyzerEvent::PromptVersionPromoted(_) => false,
    };
    allowed.then_some(()).ok_or_else(|| format!("{} does not follow", event.name()))
}
