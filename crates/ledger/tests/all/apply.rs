//! Applying events.

use super::support::{
    Kind, Logs, acknowledged, completed, executed, failed, happy_path, registered, scheduled, task_ref,
};
use millrace_events::{Code, Log, v1};
use millrace_ledger::{Entry, LedgerError, Mark, Status, StoredEvent, TaskRow};

on_both!(
    a_task_reaches_its_release_with_everything_recorded,
    a_second_delivery_changes_nothing,
    a_batch_that_breaks_leaves_nothing_behind,
    s2_b2_two_projectors_cannot_both_advance,
    s2_b2_a_checkpoint_that_somebody_moved_undoes_the_batch,
    s2_g7_one_terminal_event_and_nothing_after_it,
    s2_g9_every_refused_transition_is_kept_and_marked,
    a_spec_gate_failure_and_a_retry_open_run_two,
    a_run_without_room_is_pending,
    blocked_and_back,
    what_cannot_be_read_is_kept_and_passed_over,
    s4_fund_01_a_gap_is_refused,
    a_name_that_no_index_takes_does_not_stop_the_ledger,
);

const TASK: &str = "VTID-00001";

async fn applied(kind: &Kind, logs: &Logs) -> (millrace_ledger::Ledger, millrace_ledger::ApplyOutcome) {
    let ledger = kind.ledger().await;
    let outcome = ledger.apply_entries(&logs.entries(false)).await.unwrap();
    (ledger, outcome)
}

async fn row(ledger: &millrace_ledger::Ledger) -> TaskRow {
    ledger.get_task(TASK).await.unwrap().unwrap()
}

async fn a_task_reaches_its_release_with_everything_recorded(kind: &Kind) {
    let mut logs = Logs::default();
    happy_path(&mut logs, TASK);
    let (ledger, outcome) = applied(kind, &logs).await;
    assert_eq!((outcome.applied, outcome.marked.len()), (10, 0), "{:?}", outcome.marked);
    let task = row(&ledger).await;
    assert_eq!(
        (task.status, task.stage.as_str(), task.outcome.as_str()),
        (Status::Complete, "done", "success")
    );
    assert_eq!((task.pull_request, task.title.as_str()), (7, "Title of VTID-00001"));
    assert_eq!(task.release_commit, "e".repeat(40));
    // S0-4.10a: time to claim, time to execute, tokens, cost, outcome. One second between events.
    assert_eq!((task.time_to_claim_ms, task.time_to_execute_ms), (Some(1_000), Some(1_000)));
    assert_eq!((task.model_calls, task.input_tokens, task.output_tokens), (1, 100, 20));
    assert_eq!(task.cost_micro_usd, 300);
}

async fn a_second_delivery_changes_nothing(kind: &Kind) {
    let mut logs = Logs::default();
    happy_path(&mut logs, TASK);
    let (ledger, _) = applied(kind, &logs).await;
    let before = (row(&ledger).await, ledger.checkpoints().await.unwrap());
    let again = ledger.apply_entries(&logs.entries(true)).await.unwrap();
    assert_eq!((again.applied, again.known), (0, 10));
    let stream = Log::Dispatcher.stream(0);
    let again = ledger.apply(&stream, &logs.streams[&stream]).await.unwrap();
    assert_eq!((again.applied, again.known), (0, 2));
    assert_eq!((row(&ledger).await, ledger.checkpoints().await.unwrap()), before);
}

async fn a_batch_that_breaks_leaves_nothing_behind(kind: &Kind) {
    let mut logs = Logs::default();
    happy_path(&mut logs, TASK);
    let ledger = kind.ledger().await;
    let entries = logs.entries(false);
    // The last statements of the batch cannot be written: as if the process had died before its commit.
    ledger.execute_raw("ALTER TABLE checkpoints RENAME COLUMN clock TO clock_lost").await.unwrap();
    assert!(ledger.apply_entries(&entries).await.is_err());
    ledger.execute_raw("ALTER TABLE checkpoints RENAME COLUMN clock_lost TO clock").await.unwrap();
    assert!(ledger.get_task(TASK).await.unwrap().is_none());
    assert!(ledger.checkpoints().await.unwrap().is_empty());

    ledger.execute_raw("ALTER TABLE events RENAME COLUMN note TO note_lost").await.unwrap();
    assert!(ledger.apply_entries(&entries).await.is_err());
    ledger.execute_raw("ALTER TABLE events RENAME COLUMN note_lost TO note").await.unwrap();
    assert!(ledger.get_task(TASK).await.unwrap().is_none(), "the rows went with the events");
    assert_eq!(ledger.apply_entries(&entries).await.unwrap().applied, 10);
}

async fn s2_b2_two_projectors_cannot_both_advance(kind: &Kind) {
    let mut logs = Logs::default();
    for number in 1..=20 {
        happy_path(&mut logs, &format!("VTID-{number:05}"));
    }
    let url = kind.url();
    let one = millrace_ledger::Ledger::open(&url).await.unwrap();
    one.migrate().await.unwrap();
    let two = millrace_ledger::Ledger::open(&url).await.unwrap();
    let entries = logs.entries(false);
    let run = async |ledger: &millrace_ledger::Ledger| {
        let mut applied = 0;
        for batch in entries.chunks(7) {
            match ledger.apply_entries(batch).await {
                Ok(outcome) => applied += outcome.applied,
                Err(LedgerError::Overtaken { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        applied
    };
    let (by_one, by_two) = tokio::join!(run(&one), run(&two));
    assert_eq!(by_one + by_two, 200, "each event once: {by_one} + {by_two}");
    assert_eq!(one.last_row().await.unwrap(), 200);
    assert_eq!(one.count_tasks().await.unwrap()["complete"], 20);
    assert!(millrace_ledger::verify(&one, &logs).await.unwrap().difference.is_none());
}

async fn s2_b2_a_checkpoint_that_somebody_moved_undoes_the_batch(kind: &Kind) {
    let mut logs = Logs::default();
    let cause = logs.append(TASK, None, scheduled(TASK, 1));
    let (ledger, _) = applied(kind, &logs).await;
    // Somebody who does not take turns moves the checkpoint between our reading it and our writing it.
    let meddle: &[&str] = match kind {
        Kind::Sqlite(_) => &["CREATE TRIGGER meddle AFTER INSERT ON events BEGIN \
             UPDATE checkpoints SET sequence = sequence + 1; END"],
        Kind::Postgres => &[
            "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN UPDATE checkpoints SET sequence = sequence + 1; RETURN NULL; END $$",
            "CREATE TRIGGER meddle AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION meddle()",
        ],
    };
    for sql in meddle {
        ledger.execute_raw(sql).await.unwrap();
    }
    logs.append(TASK, Some(&cause), completed(TASK, 1));
    let error = ledger.apply_entries(&logs.entries(false)).await.unwrap_err();
    assert!(matches!(&error, LedgerError::Overtaken { stream } if *stream == cause.stream), "{error:?}");
    assert_eq!((row(&ledger).await.status, ledger.last_row().await.unwrap()), (Status::Active, 1));
}

async fn s2_g7_one_terminal_event_and_nothing_after_it(kind: &Kind) {
    let mut logs = Logs::default();
    let end = happy_path(&mut logs, TASK);
    let (ledger, _) = applied(kind, &logs).await;
    let before = row(&ledger).await;
    let about = Some(task_ref(TASK, 1, 1));
    logs.append(TASK, Some(&end), completed(TASK, 1));
    logs.append(TASK, Some(&end), failed(TASK, 1, Code::ChecksFailed));
    logs.append(TASK, Some(&end), scheduled(TASK, 1));
    logs.append(TASK, Some(&end), v1::WorkOrderIssued { task: about.clone(), ..Default::default() });
    logs.append(TASK, Some(&end), v1::TaskBlocked { task: about.clone(), ..Default::default() });
    logs.append(TASK, Some(&end), v1::ApprovalRequired { task: about.clone(), ..Default::default() });
    logs.append(TASK, Some(&end), v1::TaskPaused { task: about.clone(), ..Default::default() });
    logs.append(TASK, Some(&end), v1::TaskCancelled { task: about, ..Default::default() });
    // Late news of other logs.
    logs.append(TASK, None, acknowledged(TASK, 1));
    let outcome = ledger.apply_entries(&logs.entries(false)).await.unwrap();
    let mismatches = outcome.marked.iter().filter(|(_, mark, _)| *mark == Mark::StateMismatch).count();
    assert_eq!((outcome.applied, mismatches), (9, 8), "{:?}", outcome.marked);
    assert_eq!(row(&ledger).await, before);
    assert_eq!(ledger.marked_events(100).await.unwrap().len(), 8, "kept, and shown as an alarm");
    assert_eq!(ledger.applied().await.unwrap()[&Log::Dispatcher.stream(0)], 10, "the checkpoint moves on");
}

async fn s2_g9_every_refused_transition_is_kept_and_marked(kind: &Kind) {
    let mut logs = Logs::default();
    let cause = logs.append(TASK, None, scheduled(TASK, 1));
    let cause = logs.append(TASK, Some(&cause), failed(TASK, 1, Code::ChecksFailed));
    // Run 3 without a run 2, and an event of the past run.
    let cause = logs.append(TASK, Some(&cause), scheduled(TASK, 3));
    logs.append(TASK, Some(&cause), completed(TASK, 1));
    // A batch with refusals in it applies everything else. A notice about a past run does not hold up the
    // present one.
    let other = "VTID-00002";
    logs.append(other, None, failed(other, 1, Code::ChecksFailed));
    logs.append(other, None, scheduled(other, 2));
    logs.append(
        other,
        None,
        v1::ApprovalRequired { task: Some(task_ref(other, 1, 1)), ..Default::default() },
    );
    let (ledger, outcome) = applied(kind, &logs).await;
    let notes: Vec<_> =
        outcome.marked.iter().map(|(place, _, note)| (place.sequence, note.as_str())).collect();
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes[2].0 == 7 && notes[2].1.contains("not its present run"), "{notes:?}");
    assert!(notes[0].0 == 3 && notes[0].1.contains("failed (run 1) > pending (run 3)"), "{notes:?}");
    assert!(notes[1].0 == 4 && notes[1].1.contains("failed (run 1) > complete (run 1)"), "{notes:?}");
    let task = row(&ledger).await;
    assert_eq!((task.status, task.run, task.stage.as_str()), (Status::Failed, 1, "executing"));
    assert_eq!(task.failure_code, "CHECKS_FAILED");
    let other = ledger.get_task(other).await.unwrap().unwrap();
    assert_eq!((other.status, other.run, other.waiting.as_str()), (Status::Active, 2, ""));
}

async fn a_spec_gate_failure_and_a_retry_open_run_two(kind: &Kind) {
    let mut logs = Logs::default();
    let cause = logs.append(TASK, None, failed(TASK, 1, Code::SpecNotFound));
    let (ledger, _) = applied(kind, &logs).await;
    let task = row(&ledger).await;
    assert_eq!((task.status, task.run, task.failure_code.as_str()), (Status::Failed, 1, "SPEC_NOT_FOUND"));
    let retry = v1::RetryRequested { task: TASK.to_owned(), run: 1, ..Default::default() };
    logs.append(TASK, None, retry);
    logs.append(TASK, None, registered(TASK));
    let cause = logs.append(TASK, Some(&cause), scheduled(TASK, 2));
    let outcome = ledger.apply_entries(&logs.entries(false)).await.unwrap();
    assert!(outcome.marked.is_empty(), "{:?}", outcome.marked);
    let task = row(&ledger).await;
    assert_eq!((task.status, task.run, task.stage.as_str()), (Status::Active, 2, "dispatched"));
    assert_eq!((task.failure_code.as_str(), task.finished_at, task.worker.as_str()), ("", None, ""));
    // Late news of run 1 does not touch run 2; a failure at the gate of run 3 needs no schedule.
    let late = logs.append(TASK, None, executed(TASK, 1));
    let cancelled =
        v1::TaskCancelled { task: Some(task_ref(TASK, 2, 1)), reason: "no".to_owned(), ..Default::default() };
    let cause = logs.append(TASK, Some(&cause), cancelled);
    logs.append(TASK, Some(&cause), failed(TASK, 3, Code::SpecInvalid));
    let outcome = ledger.apply_entries(&logs.entries(false)).await.unwrap();
    assert!(outcome.marked.is_empty(), "{:?} {late}", outcome.marked);
    let task = row(&ledger).await;
    assert_eq!((task.status, task.run, task.executed_at), (Status::Failed, 3, None));
}

/// A run that waits is pending, says for what, and becomes active with its order; or it ends as it is.
async fn a_run_without_room_is_pending(kind: &Kind) {
    let mut logs = Logs::default();
    let waits = |task: &str, run: u32| v1::TaskScheduled {
        order: None,
        waits_for: "repository shop has 1 of 1 runs under way".to_owned(),
        waiting: scheduled(task, run).order,
        ..scheduled(task, run)
    };
    let cause = logs.append(TASK, None, waits(TASK, 1));
    let (ledger, _) = applied(kind, &logs).await;
    let task = row(&ledger).await;
    assert_eq!((task.status, task.run, task.stage.as_str()), (Status::Pending, 1, "scheduled"));
    assert_eq!((task.waiting.as_str(), task.reason.contains("1 of 1")), ("", true));
    let order = scheduled(TASK, 1).order;
    let issued = v1::WorkOrderIssued { task: Some(task_ref(TASK, 1, 1)), order, reason: "room".to_owned() };
    let cause = logs.append(TASK, Some(&cause), issued);
    let outcome = ledger.apply_entries(&logs.entries(false)).await.unwrap();
    assert!(outcome.marked.is_empty(), "{:?}", outcome.marked);
    let task = row(&ledger).await;
    assert_eq!((task.status, task.stage.as_str()), (Status::Active, "dispatched"));
    assert_eq!((task.waiting.as_str(), task.reason.as_str()), ("", ""));
    let cause = logs.append(TASK, Some(&cause), failed(TASK, 1, Code::ChecksFailed));
    let cause = logs.append(TASK, Some(&cause), waits(TASK, 2));
    let cancelled = v1::TaskCancelled { task: Some(task_ref(TASK, 2, 1)), ..Default::default() };
    logs.append(TASK, Some(&cause), cancelled);
    let outcome = ledger.apply_entries(&logs.entries(false)).await.unwrap();
    assert!(outcome.marked.is_empty(), "{:?}", outcome.marked);
    let task = row(&ledger).await;
    assert_eq!((task.status, task.run, task.waiting.as_str()), (Status::Cancelled, 2, ""));
}

async fn blocked_and_back(kind: &Kind) {
    let mut logs = Logs::default();
    let about = Some(task_ref(TASK, 1, 1));
    let cause = logs.append(TASK, None, scheduled(TASK, 1));
    let failure = Some(v1::Failure::new(Code::DispatchExhausted, "nobody took it"));
    let cause = logs.append(TASK, Some(&cause), v1::TaskBlocked { task: about.clone(), failure });
    let (ledger, _) = applied(kind, &logs).await;
    let task = row(&ledger).await;
    assert_eq!((task.status, task.failure_code.as_str()), (Status::Blocked, "DISPATCH_EXHAUSTED"));
    assert_eq!(task.reason, "nobody took it");
    let order = scheduled(TASK, 1).order;
    let issued = v1::WorkOrderIssued { task: about, order, reason: String::new() };
    let cause = logs.append(TASK, Some(&cause), issued.clone());
    logs.append(TASK, Some(&cause), issued);
    let outcome = ledger.apply_entries(&logs.entries(false)).await.unwrap();
    assert!(outcome.marked.is_empty(), "a further order of an active task is no transition");
    let task = row(&ledger).await;
    assert_eq!((task.status, task.failure_code.as_str()), (Status::Active, ""));
}

async fn what_cannot_be_read_is_kept_and_passed_over(kind: &Kind) {
    let mut logs = Logs::default();
    let log = Log::Dispatcher;
    let subject = "millrace.dispatcher.0.VTID-00001";
    let time = millrace_decider::Timestamp::from_millis(5);
    logs.append_raw(log, subject, Vec::new(), b"\xff\xff no envelope".to_vec(), time);
    let good = logs.append(TASK, None, scheduled(TASK, 1));
    let mut moved = logs.streams[&log.stream(0)][1].clone();
    moved.subject = "millrace.dispatcher.0.VTID-00002".to_owned();
    logs.append_raw(log, &moved.subject, moved.headers, moved.payload, time);
    let mut unknown = millrace_events::Envelope::decode(&logs.streams[&log.stream(0)][1].payload).unwrap();
    unknown.event_type = "millrace.dispatcher.v2.TaskScheduled".to_owned();
    logs.append_raw(log, subject, Vec::new(), unknown.encode(), time);
    let (ledger, outcome) = applied(kind, &logs).await;
    let marks: Vec<_> = outcome.marked.iter().map(|(place, mark, _)| (place.sequence, *mark)).collect();
    assert_eq!(marks, [(1, Mark::Invalid), (3, Mark::Invalid), (4, Mark::Unknown)]);
    assert_eq!(good.sequence, 2);
    assert_eq!(row(&ledger).await.status, Status::Active);
    assert!(ledger.get_task("VTID-00002").await.unwrap().is_none());
    let kept = ledger.stored_events(&log.stream(0), 0, 10).await.unwrap();
    assert_eq!(kept.into_iter().map(|(event, _)| event).collect::<Vec<_>>(), logs.streams[&log.stream(0)]);
}

async fn s4_fund_01_a_gap_is_refused(kind: &Kind) {
    let mut logs = Logs::default();
    for number in 1..=4 {
        let task = format!("VTID-{number:05}");
        logs.append(&task, None, scheduled(&task, 1));
    }
    let ledger = kind.ledger().await;
    let stream = Log::Dispatcher.stream(0);
    let events: Vec<StoredEvent> = logs.streams[&stream].clone();
    let _ = ledger.apply(&stream, &events[..1]).await.unwrap();
    let error = ledger.apply(&stream, &events[2..]).await.unwrap_err();
    assert!(matches!(error, LedgerError::Gap { expected: 2, found: 3, .. }), "{error}");
    assert_eq!(ledger.applied().await.unwrap()[&stream], 1);
    let entries: Vec<Entry> = events.into_iter().map(Entry::read).collect();
    assert_eq!(ledger.apply_entries(&entries).await.unwrap().applied, 3);
}

async fn a_name_that_no_index_takes_does_not_stop_the_ledger(kind: &Kind) {
    let mut logs = Logs::default();
    // Not compressible, as PostgreSQL would otherwise make it fit.
    let long: String = (0..2_000_u32).map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect();
    let replay =
        v1::DeadLetterReplayRequested { stream: long.clone(), service: "x".to_owned(), ..Default::default() };
    logs.append("letter-1", None, replay);
    logs.append("req-1", None, v1::TaskRequested { task: long.clone(), ..Default::default() });
    logs.append(
        "target-shop",
        None,
        v1::MergeCompleted { task: Some(task_ref(&long, 1, 1)), ..Default::default() },
    );
    logs.append(TASK, None, scheduled(TASK, 1));
    let (ledger, outcome) = applied(kind, &logs).await;
    assert_eq!((outcome.applied, outcome.marked.len()), (4, 2), "{:?}", outcome.marked);
    assert!(outcome.marked.iter().all(|(_, mark, _)| *mark == Mark::Invalid));
    assert_eq!(row(&ledger).await.status, Status::Active);
}
