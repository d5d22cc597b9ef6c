#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use millrace_decider::Due;
use millrace_decider::test::{Scenario, given};
use millrace_events::v1::{ErrorCode, Failure, FailureClassified, InsightPublished, TaskRef};
use millrace_events::{Code, FailureAnalyzerEvent};

use super::{Classification, Classifier, Effect, Input, Reported, is_milestone};

fn reported(number: u64, code: Code) -> Reported {
    let task = TaskRef { task: format!("VTID-{number:05}"), run: 1, attempt: 1, ..TaskRef::default() };
    Reported { task, failure: Failure::new(code, "it broke").at_stage("executing") }
}

fn found(number: u64) -> Classification {
    Classification::new(&reported(number, Code::CommandFailed), "frontend")
}

/// Gives it a failure as the host does: the insight follows where one is owed.
fn fail(scenario: &mut Scenario<'_, Classifier>, found: &Classification) -> Option<InsightPublished> {
    let input = Input::Classified(Box::new(found.clone()));
    scenario.when(&input);
    let owed = scenario.due(&input);
    let [Due::Effect(Effect::Publish(grown))] = &owed[..] else { return None };
    match scenario.when(&Input::Grown(grown.clone())).event() {
        FailureAnalyzerEvent::InsightPublished(insight) => Some(insight),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_failure_is_classified_once() {
    let mut scenario = given(&Classifier);
    let input = Input::Classified(Box::new(found(1)));
    let FailureAnalyzerEvent::FailureClassified(event) = scenario.when(&input).event() else {
        panic!("no classification")
    };
    let expected = FailureClassified {
        task: Some(found(1).task),
        group: found(1).group().unwrap().to_string(),
        code: ErrorCode::CommandFailed as i32,
        class: "refused".to_owned(),
        stage: "executing".to_owned(),
        domain: "frontend".to_owned(),
        retryable: true,
        ..FailureClassified::default()
    };
    assert_eq!(event, expected);
    assert!(scenario.when(&input).is_nothing(), "a redelivered failure is not counted twice");
    let next_run = TaskRef { run: 2, ..found(1).task };
    let again = Input::Classified(Box::new(Classification { task: next_run, ..found(1) }));
    scenario.when(&again).event();
}

#[test]
fn a_code_that_cannot_be_read_is_a_fault_of_millrace_and_no_unknown() {
    let mut failure = Failure::new(Code::Internal, "from a later version");
    failure.code = 9_999;
    let found = Classification::new(&Reported { task: TaskRef::default(), failure }, "");
    assert_eq!(found.code, Code::Internal);
    assert_eq!(found.stage, "registered");
}

#[test]
fn each_part_makes_a_group_of_its_own() {
    let one = found(1);
    let group = one.group().unwrap();
    assert_eq!(found(2).group().unwrap(), group, "the task is no part of it");
    assert!(group.as_str().starts_with("group-") && group.as_str().len() == 22, "{group}");
    for other in [
        Classification { code: Code::ChecksFailed, ..one.clone() },
        Classification { stage: "checking".to_owned(), ..one.clone() },
        Classification { domain: "backend".to_owned(), ..one.clone() },
        Classification { model: "recipe".to_owned(), ..one.clone() },
        Classification { prompt_version: "2".to_owned(), ..one.clone() },
    ] {
        assert_ne!(other.group().unwrap(), group, "{other:?}");
    }
}

#[test]
fn a_rejected_spec_and_the_task_that_fails_on_it_are_one_failure() {
    let mut scenario = given(&Classifier);
    let task = TaskRef {
        task: "VTID-00001".to_owned(),
        run: 1,
        repository: "shop".to_owned(),
        spec_checksum: "c0ffee".to_owned(),
        ..TaskRef::default()
    };
    let failure = Failure::new(Code::SpecInvalid, "no acceptance criteria");
    let rejected = Reported { task: task.clone(), failure: failure.clone() };
    let failed = Reported { task: task.clone(), failure: failure.at_stage("registered") };
    let (one, two) = (Classification::new(&rejected, ""), Classification::new(&failed, ""));
    assert_eq!(one.group().unwrap(), two.group().unwrap());
    scenario.when(&Input::Classified(Box::new(one))).event();
    assert!(scenario.when(&Input::Classified(Box::new(two.clone()))).is_nothing());
    // The next bytes of the spec can fail anew.
    let task = TaskRef { spec_checksum: "beef".to_owned(), ..task };
    scenario.when(&Input::Classified(Box::new(Classification { task, ..two }))).event();
}

#[test]
fn insights_come_at_1_2_5_10_20_50() {
    let milestones: Vec<u64> = (0..=1_000).filter(|count| is_milestone(*count)).collect();
    assert_eq!(milestones, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000]);
    let mut scenario = given(&Classifier);
    let published: Vec<u64> = (1..=25)
        .filter_map(|number| fail(&mut scenario, &found(number)))
        .map(|insight| insight.count)
        .collect();
    assert_eq!(published, [1, 2, 5, 10, 20]);
}

#[test]
fn an_insight_that_a_crash_cut_off_is_published_later() {
    let mut scenario = given(&Classifier);
    let input = Input::Classified(Box::new(found(1)));
    scenario.when(&input).event();
    // The same failure is delivered again: nothing is counted, the insight is still owed.
    assert!(scenario.when(&input).is_nothing());
    assert_eq!(scenario.due(&input).len(), 1);
    let insight = fail(&mut scenario, &found(1)).unwrap();
    assert_eq!(insight.count, 1);
    assert!(scenario.due(&input).is_empty());
    assert!(scenario.when(&Input::Grown(Box::new(found(1)))).is_nothing());
}

#[test]
fn an_insight_names_size_trend_latest_tasks_and_what_to_do() {
    let day = Duration::from_secs(24 * 3600);
    let mut scenario = given(&Classifier);
    let first = scenario.now();
    for number in 1..=12 {
        fail(&mut scenario, &found(number));
    }
    let mut scenario = scenario.after(day * 3);
    for number in 13..=19 {
        assert_eq!(fail(&mut scenario, &found(number)), None);
    }
    let insight = fail(&mut scenario, &found(20)).unwrap();
    assert_eq!((insight.count, insight.recent, insight.trend.as_str()), (20, 8, "growing"));
    assert_eq!(insight.first_seen, Some(millrace_events::wire_time(first)));
    assert_eq!(insight.last_seen, Some(millrace_events::wire_time(scenario.now())));
    assert_eq!(insight.tasks.len(), 10);
    assert_eq!(insight.tasks[0], "VTID-00020", "the newest first");
    assert_eq!(insight.advice, Code::CommandFailed.advice());

    // As many as the day before, or fewer: it does not grow.
    let mut scenario = scenario.after(day + Duration::from_secs(1));
    for number in 21..=49 {
        fail(&mut scenario, &found(number));
    }
    let mut scenario = scenario.after(day + Duration::from_secs(1));
    let insight = fail(&mut scenario, &found(50)).unwrap();
    assert_eq!((insight.recent, insight.trend.as_str()), (1, "steady"));
}
