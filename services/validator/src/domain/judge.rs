//! The questions that a verdict answers, in their order.

use millrace_events::v1::{
    ChecksCompleted, Failure, PullRequest, TaskRef, ValidationFailed, ValidationPassed, Verdict,
    VerdictOutcome,
};
use millrace_events::{Code, ValidatorEvent};

use super::Findings;

/// What `execution_result.json` says of work that succeeded.
const SUCCEEDED: &str = "succeeded";

enum Answer {
    Pass(String),
    Fail(Code, String),
    NotApplicable(&'static str),
}
use Answer::{Fail, NotApplicable, Pass};

/// The verdict. Every question is answered by name; the first that fails is the failure.
pub fn judge(task: &TaskRef, found: &Findings) -> ValidatorEvent {
    let opened = found.opened.pull_request.clone().unwrap_or_default();
    let answers = [
        ("worker_succeeded", worker_succeeded(found, &opened)),
        ("pull_request_exists", exists(found, &opened)),
        ("pull_request_open", is_open(found, &opened)),
        ("head_unchanged", head_unchanged(found, &opened)),
        ("checks_definition_unchanged", checks_definition_unchanged(found)),
        ("evidence_complete", evidence_complete(found)),
        ("checks_passed", checks_passed(found, &opened)),
    ];
    let failure = answers.iter().find_map(|(name, answer)| match answer {
        Fail(code, reason) => Some(failure(*code, reason).with("verdict", *name)),
        Pass(_) | NotApplicable(_) => None,
    });
    let verdicts = answers.into_iter().map(|(name, answer)| verdict(name, answer)).collect();
    let base = found.checks.as_ref().map_or(opened.base.clone(), |checks| checks.base.clone());
    let pull_request = Some(PullRequest { base, ..opened });
    let task = Some(task.clone());
    match failure {
        Some(failure) => ValidationFailed { task, pull_request, failure: Some(failure), verdicts }.into(),
        None => {
            let base_checked = found.checks.is_some();
            ValidationPassed { task, pull_request, verdicts, base_checked }.into()
        }
    }
}

/// A failure of the validation.
pub(super) fn failure(code: Code, reason: &str) -> Failure {
    Failure::new(code, reason).from_source("validator").at_stage("validating")
}

fn verdict(name: &str, answer: Answer) -> Verdict {
    let (outcome, reason) = match answer {
        Pass(reason) => (VerdictOutcome::Pass, reason),
        Fail(_, reason) => (VerdictOutcome::Fail, reason),
        NotApplicable(reason) => (VerdictOutcome::NotApplicable, reason.to_owned()),
    };
    Verdict { name: name.to_owned(), outcome: outcome as i32, reason }
}

/// S2-B4: whatever else is there, work that did not succeed is not merged.
fn worker_succeeded(found: &Findings, opened: &PullRequest) -> Answer {
    match &found.proof {
        None => NotApplicable("execution_result.json cannot be read; see the evidence"),
        Some(proof) if proof.outcome != SUCCEEDED => Fail(
            Code::CommandFailed,
            format!("execution_result.json says that the work came to `{}`", proof.outcome),
        ),
        Some(proof) if proof.head != opened.head => Fail(
            Code::EvidenceInvalid,
            format!("execution_result.json is about {}, not about {}", proof.head, opened.head),
        ),
        Some(_) => Pass("execution_result.json says that the work succeeded".to_owned()),
    }
}

fn exists(found: &Findings, opened: &PullRequest) -> Answer {
    match found.shown {
        Some(_) => Pass(format!("pull request {} is on the forge", opened.number)),
        None => Fail(Code::PrNotFound, format!("pull request {} is not on the forge", opened.number)),
    }
}

fn is_open(found: &Findings, opened: &PullRequest) -> Answer {
    let Some(shown) = &found.shown else { return NotApplicable("there is no pull request") };
    if shown.open {
        return Pass("it is open".to_owned());
    }
    let how = if shown.merged { "merged" } else { "closed" };
    Fail(Code::PrClosed, format!("somebody {how} pull request {} before it was validated", opened.number))
}

fn head_unchanged(found: &Findings, opened: &PullRequest) -> Answer {
    let Some(shown) = &found.shown else { return NotApplicable("there is no pull request") };
    if shown.head == opened.head {
        return Pass(format!("it is at {}", opened.head));
    }
    Fail(
        Code::PrHeadMoved,
        format!("pull request {} is at {}, not at the worker's {}", opened.number, shown.head, opened.head),
    )
}

/// A change to the definition of the checks needs a person's approval, DESIGN section 5; nobody can give it
/// in this version, so it is made by hand.
fn checks_definition_unchanged(found: &Findings) -> Answer {
    let Some(shown) = &found.shown else { return NotApplicable("there is no pull request") };
    if shown.redefines_checks {
        let reason = "the change rewrites .millrace.toml, which defines the checks of every later change; \
                      that needs a person: commit it by hand"
            .to_owned();
        return Fail(Code::PolicyDenied, reason);
    }
    Pass(".millrace.toml is that of the base".to_owned())
}

fn evidence_complete(found: &Findings) -> Answer {
    for artifact in &found.evidence {
        if let Some((code, reason)) = &artifact.fault {
            return Fail(*code, reason.clone());
        }
    }
    let names: Vec<&str> = found.evidence.iter().map(|artifact| artifact.name.as_str()).collect();
    Pass(format!("{} have their content and digest", names.join(", ")))
}

/// Every check that the base asks for has run on this very head, and passed.
fn checks_passed(found: &Findings, opened: &PullRequest) -> Answer {
    let Some(checks) = &found.checks else {
        return if found.opened.checks.is_empty() {
            NotApplicable("the base commit asks for no checks")
        } else {
            Fail(Code::ChecksFailed, "the base commit asks for checks, and none ran".to_owned())
        };
    };
    if checks.head != opened.head {
        return Fail(
            Code::ChecksFailed,
            format!("the checks ran on {}, not on the pull request's {}", checks.head, opened.head),
        );
    }
    let wanting = objections(found, checks);
    if !wanting.is_empty() || !checks.passed {
        let wanting = if wanting.is_empty() { vec!["the checks as a whole".to_owned()] } else { wanting };
        return Fail(Code::ChecksFailed, format!("checks did not pass: {}", wanting.join("; ")));
    }
    Pass(format!("{} passed on {} merged with {}", checks.results.len(), checks.head, checks.base))
}

/// The failed checks with what they said, and those that have no result.
fn objections(found: &Findings, checks: &ChecksCompleted) -> Vec<String> {
    let failed =
        checks.results.iter().filter(|result| !result.passed).map(|result| match result.summary.as_str() {
            "" => format!("{} (exit code {})", result.name, result.exit_code),
            summary => format!("{} ({summary})", result.name),
        });
    let asked = found.opened.checks.iter();
    let absent = asked
        .filter(|check| {
            !checks.results.iter().any(|result| result.name == check.name && result.command == check.command)
        })
        .map(|check| format!("{} (did not run)", check.name));
    failed.chain(absent).collect()
}
