//! The registry's rules, one test each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use millrace_decider::test::given;
use millrace_decider::{Cause, Context, Decider, Due, Timestamp, fold};
use millrace_events::v1::{
    Blob, Failure, SpecRegistered, SpecRejected, SpecSource, SpecSubmitted, TaskRequested,
};
use millrace_events::{Code, Key, SpecRegistryEvent};

use super::format::{ParseSettings, parse};
use super::outcome::{self, About};
use super::{Effect, Input, Registry, Request, Submission};

const TASK: &str = "VTID-01213";

fn registry() -> Registry {
    Registry { repositories: ["shop".to_owned(), "admin".to_owned()].into() }
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn spec(checksum: &str) -> SpecRegistered {
    SpecRegistered {
        task: TASK.to_owned(),
        repository: "shop".to_owned(),
        path: "docs/specs/01213-x.md".to_owned(),
        checksum: checksum.to_owned(),
        submission: "req-1".to_owned(),
        ..SpecRegistered::default()
    }
}

fn accepted(spec: SpecRegistered) -> Input {
    Input::Accepted { under: key(TASK), spec }
}

fn rejection(checksum: &str) -> SpecRejected {
    SpecRejected {
        task: TASK.to_owned(),
        repository: "shop".to_owned(),
        path: "docs/specs/01213-x.md".to_owned(),
        checksum: checksum.to_owned(),
        failure: Some(Failure::new(Code::SpecInvalid, "1 fault")),
        submission: "req-1".to_owned(),
        ..SpecRejected::default()
    }
}

fn refused(rejection: SpecRejected) -> Input {
    Input::Refused { under: key(TASK), rejection }
}

fn submission(repository: &str, source: SpecSource, at: &str) -> Submission {
    let event = SpecSubmitted {
        repository: repository.to_owned(),
        path: "docs/specs/x.md".to_owned(),
        source: source as i32,
        ..SpecSubmitted::default()
    };
    Submission { key: key(at), sequence: 7, event: Arc::new(event) }
}

fn request(task: &str, repository: &str) -> Request {
    let event = TaskRequested {
        task: task.to_owned(),
        repository: repository.to_owned(),
        ..TaskRequested::default()
    };
    Request { key: key("req-9"), event }
}

fn version(event: SpecRegistryEvent) -> u32 {
    match event {
        SpecRegistryEvent::SpecRegistered(event) => event.version,
        other => panic!("not registered: {other:?}"),
    }
}

fn code(event: SpecRegistryEvent) -> Code {
    match event {
        SpecRegistryEvent::SpecRejected(event) => event.failure.unwrap().known_code().unwrap(),
        other => panic!("not rejected: {other:?}"),
    }
}

#[test]
fn s1_gap2_1_the_same_bytes_are_registered_once() {
    let registry = registry();
    let mut scenario = given(&registry);
    assert_eq!(version(scenario.when(&accepted(spec("a"))).event()), 1);
    assert!(scenario.when(&accepted(spec("a"))).is_nothing());
    // A copy in the same repository claims nothing new.
    let copy = SpecRegistered { path: "docs/specs/copy.md".to_owned(), ..spec("a") };
    assert!(scenario.when(&accepted(copy)).is_nothing());
}

#[test]
fn s1_gap2_5_changed_bytes_or_a_changed_plan_are_a_new_version() {
    let registry = registry();
    let mut scenario = given(&registry);
    scenario.when(&accepted(spec("a"))).event();
    assert_eq!(version(scenario.when(&accepted(spec("b"))).event()), 2);
    let plan = Some(Blob { sha256: "p".to_owned(), ..Blob::default() });
    let planned = SpecRegistered { plan, ..spec("b") };
    assert_eq!(version(scenario.when(&accepted(planned.clone())).event()), 3);
    assert!(scenario.when(&accepted(planned)).is_nothing());
    // Back to what it was is a version too: the newest text holds.
    assert_eq!(version(scenario.when(&accepted(spec("a"))).event()), 4);
}

#[test]
fn another_place_that_claims_the_task_is_refused_and_the_first_keeps_it() {
    let registry = registry();
    let mut scenario = given(&registry);
    scenario.when(&accepted(spec("a"))).event();
    let moved = SpecRegistered { path: "docs/specs/other.md".to_owned(), ..spec("b") };
    assert_eq!(code(scenario.when(&accepted(moved.clone())).event()), Code::SpecIdConflict);
    assert!(scenario.when(&accepted(moved)).is_nothing());
    // The same bytes in another repository are another change.
    let elsewhere = SpecRegistered { repository: "admin".to_owned(), ..spec("a") };
    assert_eq!(code(scenario.when(&accepted(elsewhere)).event()), Code::SpecIdConflict);
    assert_eq!(scenario.state().current.as_ref().unwrap().repository, "shop");
}

#[test]
fn an_older_text_that_comes_late_changes_nothing() {
    let registry = registry();
    let at = |sequence| Context { now: Timestamp::default(), cause: Cause::new("INTAKE", sequence) };
    let newer = SpecRegistryEvent::from(SpecRegistered { version: 1, ..spec("b") });
    let cause = Cause::new("INTAKE", 5);
    let recorded = millrace_decider::Recorded {
        event: &newer,
        sequence: 1,
        time: Timestamp::default(),
        cause: Some(&cause),
    };
    let state = fold(&registry, [recorded]);
    let decide = |sequence| registry.decide(&state, &accepted(spec("a")), &at(sequence)).unwrap();
    assert_eq!(decide(4), None);
    assert_eq!(decide(5), None, "the same message again");
    assert_eq!(version(decide(6).unwrap()), 2);
}

#[test]
fn s3_4_3b_a_submission_gets_one_task_for_ever() {
    let registry = registry();
    let mut scenario = given(&registry);
    let unnamed = |task: &str| Input::Unnamed {
        under: key("req-1"),
        submission: "req-1".to_owned(),
        task: task.to_owned(),
    };
    scenario.when(&unnamed("VTID-00008")).event();
    for other in 9..19 {
        assert!(scenario.when(&unnamed(&format!("VTID-{other:05}"))).is_nothing());
    }
    assert_eq!(scenario.state().allocated.as_deref(), Some("VTID-00008"));
    let again = submission("shop", SpecSource::Manual, "req-1");
    let read = Effect::Read { submission: again.clone(), allocated: Some("VTID-00008".to_owned()) };
    assert_eq!(scenario.due(&Input::Submitted(again)), [Due::Effect(read)]);
}

#[test]
fn a_file_keeps_its_task_when_its_text_changes_and_a_hand_in_does_not_take_anothers() {
    let by_hand = |at| Input::Submitted(submission("shop", SpecSource::Manual, at)).key();
    let from_git = |at| Input::Submitted(submission("shop", SpecSource::Git, at)).key();
    assert_eq!(by_hand("req-1"), key("req-1"));
    assert_ne!(by_hand("req-1"), by_hand("req-2"));
    assert_eq!(from_git("req-1"), from_git("req-2"));
    assert!(by_hand(TASK).as_str().starts_with("req-"), "nobody writes under a task by its name");
}

#[test]
fn s1_gap7_2_what_is_refused_registers_nothing_and_is_said_once() {
    let registry = registry();
    let mut scenario = given(&registry);
    assert_eq!(code(scenario.when(&refused(rejection("bad"))).event()), Code::SpecInvalid);
    assert!(scenario.when(&refused(rejection("bad"))).is_nothing());
    assert_eq!(scenario.state().current, None);
    // Mended and broken again the same way: that is news.
    scenario.when(&accepted(spec("good"))).event();
    scenario.when(&refused(rejection("bad"))).event();
    assert_eq!(scenario.state().current.as_ref().unwrap().checksum, "good");
}

#[test]
fn a_repository_that_is_not_configured_is_named_with_those_that_are() {
    let registry = registry();
    let mut scenario = given(&registry);
    let input = Input::Submitted(submission("shoop", SpecSource::Manual, "req-1"));
    let SpecRegistryEvent::SpecRejected(rejected) = scenario.when(&input).event() else {
        panic!("not rejected")
    };
    let failure = rejected.failure.unwrap();
    assert_eq!(failure.known_code(), Some(Code::RepositoryUnavailable));
    assert_eq!(failure.message, "there is no repository `shoop`; the configured ones are: admin, shop");
    assert_eq!(scenario.due(&input), []);
}

#[test]
fn s1_gap2_3_a_request_for_an_unknown_task_is_looked_for_and_answered() {
    let registry = registry();
    let mut scenario = given(&registry);
    let asked = Input::Requested(request(TASK, ""));
    assert!(scenario.when(&asked).is_nothing());
    assert_eq!(scenario.due(&asked), [Due::Effect(Effect::Find(request(TASK, "")))]);
    let nowhere = Failure::new(Code::SpecNotFound, "nowhere");
    let answer = refused(outcome::not_found(&request(TASK, ""), nowhere.clone()));
    assert_eq!(code(scenario.when(&answer).event()), Code::SpecNotFound);
    assert_eq!(scenario.due(&asked), []);
    // Whoever asks again is answered again.
    let second = Request { key: key("req-10"), ..request(TASK, "") };
    assert_eq!(scenario.due(&Input::Requested(second.clone())), [Due::Effect(Effect::Find(second.clone()))]);
    scenario.when(&refused(outcome::not_found(&second, nowhere))).event();
}

#[test]
fn a_request_for_a_registered_task_leads_to_nothing() {
    let registry = registry();
    let mut scenario = given(&registry);
    scenario.when(&accepted(spec("a"))).event();
    let asked = Input::Requested(request(TASK, "shop"));
    assert!(scenario.when(&asked).is_nothing());
    assert_eq!(scenario.due(&asked), []);
    // A scan was faster than the search: the spec is there, whatever the search says.
    let nowhere = Failure::new(Code::SpecNotFound, "nowhere");
    assert!(scenario.when(&refused(outcome::not_found(&request(TASK, "shop"), nowhere))).is_nothing());
}

#[test]
fn a_request_that_cannot_be_meant_is_refused_without_a_search() {
    let registry = registry();
    for (task, repository, expected) in
        [("VTID-1", "", Code::TaskIdInvalid), (TASK, "shoop", Code::RepositoryUnavailable)]
    {
        let mut scenario = given(&registry);
        let asked = Input::Requested(request(task, repository));
        assert_eq!(code(scenario.when(&asked).event()), expected);
        assert_eq!(scenario.due(&asked), []);
    }
    assert_eq!(Input::Requested(request("VTID-1", "")).key(), key("req-9"));
    assert_eq!(Input::Requested(request(TASK, "")).key(), key(TASK));
}

#[test]
fn s1_gap5_3_a_refusal_lists_every_fault_and_has_the_most_telling_code() {
    let text = "# X\n\n**VTID:** VTID-1\n\n## Summary\nshort\n";
    let problems = parse("x.md", text.as_bytes(), &ParseSettings::default()).unwrap_err();
    let about = About { path: "x.md".to_owned(), ..About::default() };
    let rejected = outcome::invalid(None, about, &problems);
    let lines: Vec<u32> = rejected.problems.iter().map(|p| p.line).collect();
    assert!(rejected.problems.len() >= 4, "{:?}", rejected.problems);
    assert!(lines.contains(&3) && lines.contains(&5), "{lines:?}");
    let failure = rejected.failure.unwrap();
    assert_eq!(failure.known_code(), Some(Code::TaskIdInvalid));
    let start = format!("{} faults in x.md: line ", rejected.problems.len());
    assert!(failure.message.starts_with(&start), "{}", failure.message);
}

#[test]
fn texts_in_events_are_one_short_line() {
    let long = format!(
        "# T\n\n## Summary\n{}\nsecond\n\n## Problem\nWhy.\n\n## Acceptance Criteria\n- x\n",
        "word ".repeat(100)
    );
    let spec = parse("01213-x.md", long.as_bytes(), &ParseSettings::default()).unwrap();
    let registered = outcome::registered(TASK, &spec, About::default(), Blob::default(), None);
    assert_eq!(registered.summary.chars().count(), 200);
    assert!(!registered.summary.contains('\n'));
}
