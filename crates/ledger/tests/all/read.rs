//! Questions.

use std::time::Duration;

use super::support::{Kind, Logs, completed, failed, happy_path, scheduled, task_ref};
use millrace_decider::{Cause, Timestamp};
use millrace_events::{Code, Envelope, Event, Key, Log, v1};
use millrace_ledger::{
    DeadLetterFilter, FailureFilter, Ledger, LedgerError, Status, TaskFilter, WorkOrderFilter,
};

on_both!(
    pages_hold_every_task_once_while_tasks_are_added,
    filters_find_what_fits,
    a_history_tells_causes_before_effects_and_begins_with_the_submission,
    s2_f2_whoever_waits_for_a_sequence_sees_it,
    a_silent_active_task_is_overdue_unless_it_waits,
    a_validated_run_is_in_the_queue_of_its_target_and_not_silent,
    specs_orders_failures_insights_and_letters_can_be_read,
    a_dead_letter_is_open_until_a_replay_handles_it,
    a_group_counts_what_was_classified_since_its_last_insight,
);

async fn filled(kind: &Kind, logs: &Logs) -> Ledger {
    let ledger = kind.ledger().await;
    let _ = ledger.apply_entries(&logs.entries(false)).await.unwrap();
    ledger
}

async fn pages_hold_every_task_once_while_tasks_are_added(kind: &Kind) {
    let mut logs = Logs::default();
    (1..=25).for_each(|number| {
        let task = format!("VTID-{number:05}");
        logs.append(&task, None, scheduled(&task, 1));
    });
    let ledger = filled(kind, &logs).await;
    let (mut token, mut seen) = (None, Vec::new());
    loop {
        let page = ledger.list_tasks(&TaskFilter::default(), 10, token.as_deref()).await.unwrap();
        seen.extend(page.items.into_iter().map(|task| task.task));
        let task = format!("VTID-9{:04}", seen.len());
        logs.append(&task, None, scheduled(&task, 1));
        let _ = ledger.apply_entries(&logs.entries(false)).await.unwrap();
        token = page.next_page_token;
        if token.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (1..=25).rev().map(|number| format!("VTID-{number:05}")).collect();
    assert_eq!(seen, expected, "youngest first, each once");
    let page = ledger.list_tasks(&TaskFilter::default(), 10, None).await.unwrap();
    let other = TaskFilter { status: Some(Status::Active), ..TaskFilter::default() };
    for token in [page.next_page_token.as_deref(), Some("zz"), Some("00")] {
        let error = ledger.list_tasks(&other, 10, token).await.unwrap_err();
        assert!(matches!(error, LedgerError::PageToken(_)), "{token:?}: {error}");
    }
}

async fn filters_find_what_fits(kind: &Kind) {
    let mut logs = Logs::default();
    happy_path(&mut logs, "VTID-00001");
    let cause = logs.append("VTID-00002", None, scheduled("VTID-00002", 1));
    logs.append("VTID-00002", Some(&cause), failed("VTID-00002", 1, Code::ChecksFailed));
    let ledger = filled(kind, &logs).await;
    let find = async |filter: TaskFilter| -> Vec<String> {
        let page = ledger.list_tasks(&filter, 0, None).await.unwrap();
        page.items.into_iter().map(|task| task.task).collect()
    };
    let any = TaskFilter::default;
    assert_eq!(find(TaskFilter { status: Some(Status::Complete), ..any() }).await, ["VTID-00001"]);
    let stage = millrace_ledger::Stage::from_name("executing");
    assert_eq!(find(TaskFilter { stage, ..any() }).await, ["VTID-00002"]);
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(find(TaskFilter { code: text("CHECKS_FAILED"), ..any() }).await, ["VTID-00002"]);
    assert_eq!(find(TaskFilter { domain: text("web"), ..any() }).await, ["VTID-00001"]);
    assert_eq!(find(TaskFilter { repository: text("storefront"), ..any() }).await.len(), 2);
    assert_eq!(find(TaskFilter { repository: text("other"), ..any() }).await.len(), 0);
    assert_eq!(find(TaskFilter { text: text("tITLE of"), ..any() }).await, ["VTID-00001"]);
    assert_eq!(find(TaskFilter { text: text("vtid-00002"), ..any() }).await, ["VTID-00002"]);
    assert_eq!(find(TaskFilter { text: text("%"), ..any() }).await.len(), 0, "a sign is a sign");
}

async fn a_history_tells_causes_before_effects_and_begins_with_the_submission(kind: &Kind) {
    let mut logs = Logs::default();
    happy_path(&mut logs, "VTID-00001");
    // A clock that runs behind does not turn cause and effect round.
    for event in logs.streams.get_mut(&Log::Worker.stream(0)).unwrap() {
        event.time = event.time - Duration::from_secs(3_600);
    }
    happy_path(&mut logs, "VTID-00002");
    let ledger = filled(kind, &logs).await;
    let history = ledger.history("VTID-00001").await.unwrap();
    let names: Vec<_> = history.iter().map(|event| event.event_type.as_str()).collect();
    let expected = [
        "SpecSubmitted",
        "SpecRegistered",
        "TaskScheduled",
        "WorkOrderAcknowledged",
        "ExecutionCompleted",
        "PullRequestOpened",
        "ValidationPassed",
        "MergeCompleted",
        "DeploymentVerified",
        "TaskCompleted",
    ];
    assert_eq!(names, expected);
    assert_eq!(history[2].data["task"]["task"], "VTID-00001");
    assert_eq!(history[2].cause, format!("{}:1", Log::SpecRegistry.stream(0)));
    assert_eq!(ledger.answers_to("req-VTID-00001").await.unwrap()[0].event_type, "SpecRegistered");
    let changes = ledger.changes_since(5, 3).await.unwrap();
    assert_eq!(changes.iter().map(|event| event.id).collect::<Vec<_>>(), [6, 7, 8]);
}

async fn s2_f2_whoever_waits_for_a_sequence_sees_it(kind: &Kind) {
    let mut logs = Logs::default();
    let end = happy_path(&mut logs, "VTID-00001");
    let ledger = kind.ledger().await;
    let bound = Duration::from_millis(20);
    assert!(!ledger.wait_for(&end.stream, end.sequence, bound).await.unwrap());
    let waiting = ledger.wait_for(&end.stream, end.sequence, Duration::from_secs(30));
    let entries = logs.entries(false);
    let (waited, applied) = tokio::join!(waiting, ledger.apply_entries(&entries));
    assert!(waited.unwrap() && applied.unwrap().applied == 10);
}

async fn a_silent_active_task_is_overdue_unless_it_waits(kind: &Kind) {
    let mut logs = Logs::default();
    for task in ["VTID-00001", "VTID-00002", "VTID-00003"] {
        logs.append(task, None, scheduled(task, 1));
    }
    let waiting = v1::ApprovalRequired { task: Some(task_ref("VTID-00002", 1, 1)), ..Default::default() };
    logs.append("VTID-00002", None, waiting);
    logs.append("VTID-00003", None, completed("VTID-00003", 1));
    let noticed = v1::OverdueNoticed { task: "VTID-00001".to_owned(), ..Default::default() };
    logs.append("VTID-00001", None, noticed);
    // When it was stored counts, not what a writer's clock says.
    logs.append("VTID-00004", None, scheduled("VTID-00004", 1));
    let key = Key::new("VTID-00004").unwrap();
    let event = Event::from(v1::WorkOrderAcknowledged {
        task: Some(task_ref("VTID-00004", 1, 1)),
        ..Default::default()
    });
    let long_ago = Timestamp::from_millis(0);
    let envelope = Envelope::new("id-old", "/millrace/worker", key.clone(), long_ago, &event);
    let stored = Timestamp::from_millis(1_790_000_009_000);
    logs.append_raw(Log::Worker, &Log::Worker.subject(&key, 1), Vec::new(), envelope.encode(), stored);
    let ledger = filled(kind, &logs).await;
    let idle = Duration::from_secs(90 * 60);
    let start = Timestamp::from_millis(1_790_000_001_000);
    assert!(ledger.active_overdue(start + idle, idle).await.unwrap().is_empty());
    let overdue = ledger.active_overdue(start + idle + Duration::from_secs(1), idle).await.unwrap();
    assert_eq!(overdue.len(), 1, "{overdue:?}");
    assert_eq!((overdue[0].task.as_str(), overdue[0].last_event.as_str()), ("VTID-00001", "TaskScheduled"));
    let task = ledger.get_task("VTID-00002").await.unwrap().unwrap();
    assert_eq!((task.waiting.as_str(), task.stage.as_str()), ("approval", "awaiting_approval"));
}

async fn a_validated_run_is_in_the_queue_of_its_target_and_not_silent(kind: &Kind) {
    let mut logs = Logs::default();
    let at =
        |task: &str, target: &str| Some(v1::TaskRef { target: target.to_owned(), ..task_ref(task, 1, 1) });
    let queue = [("VTID-00001", "shop"), ("VTID-00002", "other"), ("VTID-00003", "shop")];
    for (task, target) in queue {
        logs.append(task, None, v1::TaskScheduled { task: at(task, target), ..scheduled(task, 1) });
    }
    for (task, target) in queue {
        logs.append(task, None, v1::ValidationPassed { task: at(task, target), ..Default::default() });
    }
    // Until here 6 s. Another pull request is no progress of the target, a release is.
    logs.append(
        "VTID-00003",
        None,
        v1::PullRequestOpened { task: at("VTID-00003", "shop"), ..Default::default() },
    );
    let ledger = filled(kind, &logs).await;
    let idle = Duration::from_secs(90 * 60);
    let start = Timestamp::from_millis(1_790_000_000_000);
    let overdue = async |seconds: u64| -> Vec<String> {
        let found = ledger.active_overdue(start + idle + Duration::from_secs(seconds), idle).await.unwrap();
        found.into_iter().map(|silent| silent.task).collect()
    };
    assert_eq!(overdue(7).await, ["VTID-00001", "VTID-00002"], "nothing goes on at either target");
    logs.append(
        "VTID-00003",
        None,
        v1::MergeCompleted { task: at("VTID-00003", "shop"), ..Default::default() },
    );
    let _ = ledger.apply_entries(&logs.entries(false)).await.unwrap();
    assert_eq!(overdue(7).await, ["VTID-00002"], "the shop's queue moves");
    assert_eq!(overdue(8).await, ["VTID-00002"]);
    let stuck = overdue(9).await;
    assert_eq!(stuck, ["VTID-00001", "VTID-00002", "VTID-00003"], "it has not moved for as long as that");
}

/// An insight is published at 1, 2, 5, 10 and so on; the count in between is not lost.
async fn a_group_counts_what_was_classified_since_its_last_insight(kind: &Kind) {
    let mut logs = Logs::default();
    let classified = |task: &str| v1::FailureClassified {
        task: Some(task_ref(task, 1, 1)),
        group: "group-1".to_owned(),
        ..Default::default()
    };
    for (number, task) in ["VTID-00002", "VTID-00003", "VTID-00004", "VTID-00002"].iter().enumerate() {
        logs.append("group-1", None, classified(task));
        if number < 2 {
            let count = number as u64 + 1;
            let group = "group-1".to_owned();
            logs.append("group-1", None, v1::InsightPublished { group, count, ..Default::default() });
        }
    }
    let smaller = v1::InsightPublished { group: "group-2".to_owned(), count: 3, ..Default::default() };
    logs.append("group-2", None, smaller);
    let insights = filled(kind, &logs).await.list_insights().await.unwrap();
    let counts: Vec<_> = insights.iter().map(|insight| (insight.group.as_str(), insight.count)).collect();
    assert_eq!(counts, [("group-1", 4), ("group-2", 3)]);
    assert_eq!(insights[0].tasks, ["VTID-00002", "VTID-00004", "VTID-00003"], "the latest first");
    assert!(insights[0].last_seen.is_some());
}

async fn specs_orders_failures_insights_and_letters_can_be_read(kind: &Kind) {
    let mut logs = Logs::default();
    happy_path(&mut logs, "VTID-00001");
    let cause = logs.append("VTID-00002", None, scheduled("VTID-00002", 1));
    for code in [Code::ChecksFailed, Code::MergeConflict, Code::ChecksFailed] {
        let failure = Some(v1::Failure::new(code, "no").with("exit_code", "1"));
        let task = Some(task_ref("VTID-00002", 1, 1));
        logs.append("VTID-00002", Some(&cause), v1::MergeFailed { task, failure, ..Default::default() });
    }
    let insight = v1::InsightPublished {
        group: "group-1".to_owned(),
        count: 3,
        tasks: vec!["VTID-00002".to_owned()],
        ..Default::default()
    };
    logs.append("group-1", None, insight);
    let letter = v1::DeadLettered {
        stream: Log::Intake.stream(0),
        sequence: 1,
        service: "spec-registry".to_owned(),
        failure: Some(v1::Failure::new(Code::EventInvalid, "unreadable")),
        ..Default::default()
    };
    let place = logs.append("req-1", None, letter);
    let ledger = filled(kind, &logs).await;

    let spec = ledger.get_spec("VTID-00001", None).await.unwrap().unwrap();
    assert_eq!((spec.version, spec.source.as_str(), spec.readiness.as_str()), (1, "git", "ready"));
    assert!(ledger.get_spec("VTID-00001", Some(2)).await.unwrap().is_none());
    let orders = |unacknowledged| WorkOrderFilter { task: None, unacknowledged };
    let all = ledger.list_work_orders(&orders(false), 0, None).await.unwrap().items;
    let states: Vec<_> = all.iter().map(|order| (order.task.as_str(), order.state.as_str())).collect();
    assert_eq!(states, [("VTID-00002", "offered"), ("VTID-00001", "completed")]);
    let open = ledger.list_work_orders(&orders(true), 0, None).await.unwrap().items;
    assert_eq!(open.len(), 1, "S2-B6: what nobody took is listed");
    let filter = FailureFilter { code: Some("CHECKS_FAILED".to_owned()), ..FailureFilter::default() };
    let first = ledger.list_failures(&filter, 1, None).await.unwrap();
    let second = ledger.list_failures(&filter, 1, first.next_page_token.as_deref()).await.unwrap();
    assert_eq!((first.items[0].sequence, second.items[0].sequence), (6, 4));
    assert_eq!((second.items[0].context["exit_code"].as_str(), second.next_page_token), (Some("1"), None));
    let insights = ledger.list_insights().await.unwrap();
    assert_eq!((insights[0].tasks.as_slice(), insights[0].count), (["VTID-00002".to_owned()].as_slice(), 3));
    let letters = ledger.list_dead_letters(&DeadLetterFilter::default(), 0, None).await.unwrap().items;
    assert_eq!((letters[0].code.as_str(), letters[0].service.as_str()), ("EVENT_INVALID", "spec-registry"));
    assert_eq!(ledger.list_phases("VTID-00001").await.unwrap()[0].phase, "PLAN");
    assert_eq!(place.sequence, 1);
}

/// How often it was given up, who asked for a replay, and what came of it; the same when it is applied twice.
async fn a_dead_letter_is_open_until_a_replay_handles_it(kind: &Kind) {
    let message = Cause::new(Log::Intake.stream(0), 1);
    let key = Key::dead_letter(&message, "spec-registry");
    let letter = |code, replay| v1::DeadLettered {
        stream: message.stream.clone(),
        sequence: message.sequence,
        service: "spec-registry".to_owned(),
        failure: Some(v1::Failure::new(code, "it cannot be handled")),
        attempts: 1,
        replay,
        ..Default::default()
    };
    let request = || v1::DeadLetterReplayRequested {
        stream: message.stream.clone(),
        sequence: message.sequence,
        service: "spec-registry".to_owned(),
        actor: "ada".to_owned(),
        reason: "mended".to_owned(),
    };
    let mut logs = Logs::default();
    logs.append(key.as_str(), None, letter(Code::EventInvalid, 0));
    logs.append(key.as_str(), None, request());
    let ledger = filled(kind, &logs).await;
    let all = DeadLetterFilter { include_handled: true, ..DeadLetterFilter::default() };
    let found = ledger.list_dead_letters(&all, 0, None).await.unwrap().items.remove(0);
    assert_eq!((found.failures, found.replays, found.requested, found.answered), (1, 0, 1, 0));
    assert_eq!((found.replay_requested_by.as_str(), found.handled_at), ("ada", None));

    logs.append(key.as_str(), None, letter(Code::Internal, 1));
    logs.append(key.as_str(), None, request());
    let replayed = v1::DeadLetterReplayed {
        stream: message.stream.clone(),
        sequence: message.sequence,
        service: "spec-registry".to_owned(),
        replay: 2,
    };
    let failed_again = logs.entries(false);
    logs.append(key.as_str(), None, replayed);
    let _ = ledger.apply_entries(&failed_again).await.unwrap();
    let of = |code: &str| DeadLetterFilter { code: Some(code.to_owned()), ..DeadLetterFilter::default() };
    assert!(ledger.list_dead_letters(&of("EVENT_INVALID"), 0, None).await.unwrap().items.is_empty());
    let found = ledger.list_dead_letters(&of("INTERNAL"), 0, None).await.unwrap().items.remove(0);
    assert_eq!((found.failures, found.replays, found.requested, found.answered), (2, 1, 2, 1));

    for _ in 0..2 {
        let _ = ledger.apply_entries(&logs.entries(false)).await.unwrap();
        let open = ledger.list_dead_letters(&DeadLetterFilter::default(), 0, None).await.unwrap();
        assert!(open.items.is_empty());
        let found = ledger.list_dead_letters(&all, 0, None).await.unwrap().items.remove(0);
        assert_eq!((found.failures, found.replays, found.answered), (2, 2, 2));
        assert!(found.handled_at > found.time);
        let at = ledger.dead_letters_at(&message.stream, message.sequence).await.unwrap();
        assert_eq!(at, [found]);
    }
}
