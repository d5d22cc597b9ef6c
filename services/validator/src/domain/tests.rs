#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use millrace_decider::Due;
use millrace_decider::test::{Scenario, given};
use millrace_events::v1::{
    CheckDefinition, CheckResult, ChecksCompleted, PullRequest, PullRequestOpened, TaskRef, TimerFired,
    ValidationPassed, Verdict, VerdictOutcome,
};
use millrace_events::{Code, ValidatorEvent};

use super::{
    Artifact, CHECKS_WAIT, Effect, Findings, Input, Proof, REQUIRED_EVIDENCE, Showing, Validator, judge,
};

const VALIDATOR: Validator = Validator { checks_wait: Duration::from_secs(3600) };

fn task(attempt: u32) -> TaskRef {
    TaskRef { task: "VTID-01213".to_owned(), run: 1, attempt, ..TaskRef::default() }
}

fn pull_request(base: &str) -> PullRequest {
    PullRequest { number: 7, head: "head".to_owned(), base: base.to_owned(), ..PullRequest::default() }
}

fn opened(attempt: u32, checks: &[&str]) -> PullRequestOpened {
    let check = |name: &&str| CheckDefinition { name: (*name).to_owned(), command: format!("run {name}") };
    PullRequestOpened {
        task: Some(task(attempt)),
        pull_request: Some(pull_request("b1")),
        checks: checks.iter().map(check).collect(),
        ..PullRequestOpened::default()
    }
}

fn checked(attempt: u32, base: &str, results: &[(&str, bool)]) -> ChecksCompleted {
    let result = |(name, passed): &(&str, bool)| CheckResult {
        name: (*name).to_owned(),
        command: format!("run {name}"),
        passed: *passed,
        exit_code: i32::from(!*passed),
        summary: if *passed { String::new() } else { format!("{name} said no") },
        ..CheckResult::default()
    };
    ChecksCompleted {
        task: Some(task(attempt)),
        pull_request: Some(pull_request("b1")),
        head: "head".to_owned(),
        base: base.to_owned(),
        passed: results.iter().all(|(_, passed)| *passed),
        results: results.iter().map(result).collect(),
        ..ChecksCompleted::default()
    }
}

/// Everything as it should be, with two checks.
fn good() -> Findings {
    Findings {
        opened: opened(1, &["unit", "lint"]),
        shown: Some(Showing { open: true, merged: false, head: "head".to_owned(), redefines_checks: false }),
        evidence: REQUIRED_EVIDENCE
            .map(|name| Artifact { name: name.to_owned(), fault: None })
            .into_iter()
            .collect(),
        proof: Some(Proof { outcome: "succeeded".to_owned(), head: "head".to_owned() }),
        checks: Some(Box::new(checked(1, "b2", &[("unit", true), ("lint", true)]))),
    }
}

fn objection(findings: &Findings) -> (Code, String, Vec<Verdict>) {
    match judge(&task(1), findings) {
        ValidatorEvent::ValidationFailed(event) => {
            let failure = event.failure.unwrap();
            (failure.known_code().unwrap(), failure.message, event.verdicts)
        }
        ValidatorEvent::ValidationPassed(event) => panic!("it passed: {event:?}"),
    }
}

fn outcome(verdicts: &[Verdict], name: &str) -> VerdictOutcome {
    verdicts.iter().find(|verdict| verdict.name == name).unwrap().outcome()
}

fn due(scenario: &Scenario<'_, Validator>, input: &Input) -> Vec<Due<Effect, TimerFired>> {
    scenario.due(input)
}

#[test]
fn what_passes_names_the_head_and_base_that_were_checked() {
    let ValidatorEvent::ValidationPassed(event) = judge(&task(1), &good()) else { panic!("it failed") };
    let pull_request = event.pull_request.unwrap();
    assert_eq!((pull_request.head.as_str(), pull_request.base.as_str()), ("head", "b2"));
    assert!(event.base_checked);
    let names: Vec<&str> = event.verdicts.iter().map(|verdict| verdict.name.as_str()).collect();
    let expected = [
        "worker_succeeded",
        "pull_request_exists",
        "pull_request_open",
        "head_unchanged",
        "checks_definition_unchanged",
        "evidence_complete",
        "checks_passed",
    ];
    assert_eq!(names, expected);
    assert!(event.verdicts.iter().all(|verdict| verdict.outcome() == VerdictOutcome::Pass));
}

#[test]
fn without_checks_the_base_does_not_matter() {
    let findings = Findings { opened: opened(1, &[]), checks: None, ..good() };
    let ValidatorEvent::ValidationPassed(event) = judge(&task(1), &findings) else { panic!("it failed") };
    assert!(!event.base_checked);
    assert_eq!(event.pull_request.unwrap().base, "b1");
    assert_eq!(outcome(&event.verdicts, "checks_passed"), VerdictOutcome::NotApplicable);
}

#[test]
fn s2_b4_failed_work_fails_though_everything_else_is_there() {
    let proof = Some(Proof { outcome: "failed".to_owned(), head: "head".to_owned() });
    let (code, message, verdicts) = objection(&Findings { proof, ..good() });
    assert_eq!(code, Code::CommandFailed);
    assert!(message.contains("`failed`"), "{message}");
    assert_eq!(outcome(&verdicts, "worker_succeeded"), VerdictOutcome::Fail);
    for other in ["pull_request_exists", "evidence_complete", "checks_passed"] {
        assert_eq!(outcome(&verdicts, other), VerdictOutcome::Pass, "{other}");
    }
    let proof = Some(Proof { outcome: "succeeded".to_owned(), head: "another".to_owned() });
    assert_eq!(objection(&Findings { proof, ..good() }).0, Code::EvidenceInvalid);
}

#[test]
fn a_change_that_rewrites_the_checks_needs_a_person() {
    let rewritten = Showing { open: true, merged: false, head: "head".to_owned(), redefines_checks: true };
    let (code, message, _) = objection(&Findings { shown: Some(rewritten), ..good() });
    assert_eq!(code, Code::PolicyDenied);
    assert!(message.contains(".millrace.toml"), "{message}");
}

#[test]
fn s2_g5_the_pull_request_must_exist_be_open_and_be_at_the_head() {
    let shown = |open, merged, head: &str| {
        Some(Showing { open, merged, head: head.to_owned(), redefines_checks: false })
    };
    for (shown, code, word) in [
        (None, Code::PrNotFound, "not on the forge"),
        (shown(false, false, "head"), Code::PrClosed, "closed"),
        (shown(false, true, "head"), Code::PrClosed, "merged"),
        (shown(true, false, "moved"), Code::PrHeadMoved, "moved"),
    ] {
        let (found, message, _) = objection(&Findings { shown, ..good() });
        assert_eq!(found, code);
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn the_first_fault_of_the_evidence_is_the_failure() {
    let mut findings = good();
    findings.evidence[1].fault = Some((Code::EvidenceEmpty, "git_diff.patch has no content".to_owned()));
    findings.evidence[2].fault = Some((Code::EvidenceMissing, "absent".to_owned()));
    let (code, message, _) = objection(&findings);
    assert_eq!((code, message.as_str()), (Code::EvidenceEmpty, "git_diff.patch has no content"));
}

#[test]
fn failed_absent_and_foreign_checks_fail_by_name() {
    let with = |checks: ChecksCompleted| Findings { checks: Some(Box::new(checks)), ..good() };
    let (code, message, _) = objection(&with(checked(1, "b1", &[("unit", true), ("lint", false)])));
    assert_eq!(code, Code::ChecksFailed);
    assert!(message.contains("lint (lint said no)") && !message.contains("unit"), "{message}");
    // A worker that leaves one out does not get by with the rest.
    let (code, message, _) = objection(&with(checked(1, "b1", &[("unit", true)])));
    assert_eq!(code, Code::ChecksFailed);
    assert!(message.contains("lint (did not run)"), "{message}");
    let mut other = checked(1, "b1", &[("unit", true), ("lint", true)]);
    other.results[0].command = "true".to_owned();
    assert!(objection(&with(other)).1.contains("unit (did not run)"));
    let mut elsewhere = checked(1, "b1", &[("unit", true), ("lint", true)]);
    elsewhere.head = "other".to_owned();
    assert!(objection(&with(elsewhere)).1.contains("ran on other"));
    assert_eq!(objection(&Findings { checks: None, ..good() }).0, Code::ChecksFailed);
}

#[test]
fn a_pull_request_without_checks_is_inspected_at_once() {
    let scenario = given(&VALIDATOR);
    let input = Input::Opened { event: Box::new(opened(1, &[])), at: scenario.now() };
    assert!(matches!(due(&scenario, &input)[..], [Due::Effect(Effect::Inspect { checks: None, .. })]));
    let passed = ValidationPassed {
        task: Some(task(1)),
        pull_request: Some(pull_request("b1")),
        ..ValidationPassed::default()
    };
    let scenario = scenario.event(passed.into());
    assert!(due(&scenario, &input).is_empty(), "it has its verdict");
    let next = Input::Opened { event: Box::new(opened(2, &[])), at: scenario.now() };
    assert_eq!(due(&scenario, &next).len(), 1, "the next attempt has none");
}

#[test]
fn one_verdict_per_attempt_and_base() {
    let mut scenario = given(&VALIDATOR);
    let checks = |base: &str| Input::Checked(Box::new(checked(1, base, &[("unit", true), ("lint", true)])));
    let inspected = Input::Inspected { task: task(1), findings: Box::new(good()) };
    assert!(matches!(due(&scenario, &checks("b2"))[..], [Due::Effect(Effect::Inspect { .. })]));
    scenario.when(&inspected).event();
    assert!(scenario.when(&inspected).is_nothing());
    assert!(due(&scenario, &checks("b2")).is_empty());
    assert_eq!(due(&scenario, &checks("b3")).len(), 1, "on a base that moved it is asked anew");
}

#[test]
fn late_checks_are_looked_for_and_then_missed() {
    let mut scenario = given(&VALIDATOR);
    let at = scenario.now();
    let input = Input::Opened { event: Box::new(opened(1, &["unit"])), at };
    let [Due::Deadline(deadline)] = &due(&scenario, &input)[..] else { panic!("no deadline") };
    assert_eq!((deadline.name.as_str(), deadline.at), (CHECKS_WAIT, at + Duration::from_secs(3600)));
    let fired = Input::Timer(deadline.alarm.clone());
    assert_eq!(due(&scenario, &fired), [Due::Effect(Effect::FindChecks(task(1)))]);
    let late = Input::checks_late(task(1), pull_request("b1"), VALIDATOR.checks_wait);
    let ValidatorEvent::ValidationFailed(event) = scenario.when(&late).event() else { panic!("it passed") };
    assert_eq!(event.failure.unwrap().known_code(), Some(Code::ChecksTimeout));
    assert!(due(&scenario, &fired).is_empty() && due(&scenario, &input).is_empty());

    // A verdict on any base means that they came.
    let mut scenario = given(&VALIDATOR);
    scenario.when(&Input::Inspected { task: task(1), findings: Box::new(good()) }).event();
    assert!(scenario.when(&late).is_nothing());
    assert!(due(&scenario, &fired).is_empty());
}
