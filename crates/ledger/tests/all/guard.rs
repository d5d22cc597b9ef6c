//! The database's guard of the life cycle, through raw SQL, past everything else.

use super::support::{Kind, Logs, completed, failed, registered, scheduled, task_ref};
use millrace_decider::Cause;
use millrace_events::{Code, Event, v1};
use millrace_ledger::{Ledger, Mark, Status};
use std::collections::BTreeMap;
use std::error::Error as _;

on_both!(
    s0_4_5_every_pair_of_status_is_allowed_or_refused_as_designed,
    s0_4_5_a_task_begins_as_pending_and_is_never_deleted,
    s2_g7_nothing_changes_the_row_of_a_finished_run,
    s4_fund_01_every_illegal_pair_is_marked_and_changes_nothing,
);

/// DESIGN section 5.
fn is_allowed(from: Status, to: Status, new_run: bool) -> bool {
    use Status::{Active, Blocked, Cancelled, Complete, Failed, Pending};
    if new_run {
        return matches!((from, to), (Failed | Cancelled | Blocked, Pending));
    }
    matches!(
        (from, to),
        (Pending, Active | Failed | Blocked | Cancelled)
            | (Active, Complete | Failed | Blocked | Cancelled)
            | (Blocked, Active | Failed | Cancelled)
    )
}

/// A task that has come to `status` in run 1 by allowed steps.
async fn bring(ledger: &Ledger, task: &str, status: Status) {
    ledger.execute_raw(&format!("INSERT INTO tasks (task) VALUES ('{task}')")).await.unwrap();
    let steps: &[&str] = match status {
        Status::Pending => &[],
        Status::Active => &["active"],
        Status::Complete => &["active", "complete"],
        Status::Failed => &["failed"],
        Status::Blocked => &["blocked"],
        Status::Cancelled => &["cancelled"],
    };
    for step in steps {
        let sql = format!("UPDATE tasks SET status = '{step}' WHERE task = '{task}'");
        assert_eq!(ledger.execute_raw(&sql).await.unwrap(), 1);
    }
}

async fn s0_4_5_every_pair_of_status_is_allowed_or_refused_as_designed(kind: &Kind) {
    let ledger = kind.ledger().await;
    let mut allowed = 0;
    for from in Status::ALL {
        for to in Status::ALL {
            for step in [0, 1, 2, -1] {
                let task = format!("VTID-{}-{}-{step}", from.name(), to.name());
                bring(&ledger, &task, from).await;
                let run = 1 + step;
                let sql =
                    format!("UPDATE tasks SET status = '{}', run = {run} WHERE task = '{task}'", to.name());
                let result = ledger.execute_raw(&sql).await;
                if (0..=1).contains(&step) && is_allowed(from, to, step == 1) {
                    assert_eq!(result.unwrap(), 1, "{sql}");
                    allowed += 1;
                } else {
                    let error = result.expect_err(&sql).source().unwrap().to_string();
                    let names_both = error.contains(from.name()) && error.contains(to.name());
                    assert!(names_both && error.contains("STATE_MISMATCH"), "{sql}: {error}");
                    let row = ledger.get_task(&task).await.unwrap().unwrap();
                    assert_eq!((row.status, row.run), (from, 1), "the row stays");
                }
            }
        }
    }
    assert_eq!(allowed, 14);
}

async fn s0_4_5_a_task_begins_as_pending_and_is_never_deleted(kind: &Kind) {
    let ledger = kind.ledger().await;
    for status in Status::ALL {
        let name = status.name();
        let sql = format!("INSERT INTO tasks (task, status) VALUES ('VTID-{name}', '{name}')");
        assert_eq!(ledger.execute_raw(&sql).await.is_ok(), status == Status::Pending, "{sql}");
    }
    assert!(ledger.execute_raw("INSERT INTO tasks (task, status) VALUES ('x', 'done')").await.is_err());
    assert!(ledger.execute_raw("UPDATE tasks SET status = 'done'").await.is_err());
    assert!(ledger.execute_raw("UPDATE tasks SET run = run + 1").await.is_err());
    assert!(ledger.execute_raw("DELETE FROM tasks").await.is_err());
}

async fn s2_g7_nothing_changes_the_row_of_a_finished_run(kind: &Kind) {
    let ledger = kind.ledger().await;
    for status in [Status::Complete, Status::Failed, Status::Cancelled] {
        let task = format!("VTID-{}", status.name());
        bring(&ledger, &task, status).await;
        for set in ["failure_code = 'X'", "waiting = 'approval'", "finished_at = 1", "attempt = 9"] {
            let sql = format!("UPDATE tasks SET {set} WHERE task = '{task}'");
            let error = ledger.execute_raw(&sql).await.expect_err(&sql).source().unwrap().to_string();
            assert!(error.contains("is final"), "{sql}: {error}");
        }
    }
}

/// The events of the life cycle, with what each makes of a task.
fn life_cycle(task: &str, run: u32) -> Vec<(Event, Leads)> {
    let about = Some(task_ref(task, run, 1));
    let (order, reason) = (Some(v1::WorkOrder::default()), "because".to_owned());
    vec![
        (scheduled(task, run).into(), Leads::To(Status::Active)),
        (v1::WorkOrderIssued { task: about.clone(), order, ..Default::default() }.into(), Leads::On),
        (v1::TaskBlocked { task: about.clone(), ..Default::default() }.into(), Leads::To(Status::Blocked)),
        (completed(task, run).into(), Leads::To(Status::Complete)),
        (failed(task, run, Code::ChecksFailed).into(), Leads::To(Status::Failed)),
        (
            v1::TaskCancelled { task: about.clone(), ..Default::default() }.into(),
            Leads::To(Status::Cancelled),
        ),
        (v1::ApprovalRequired { task: about.clone(), reason, ..Default::default() }.into(), Leads::Nowhere),
        (v1::TaskPaused { task: about.clone(), ..Default::default() }.into(), Leads::Nowhere),
        (v1::TaskResumed { task: about, ..Default::default() }.into(), Leads::Nowhere),
    ]
}

#[derive(Clone, Copy)]
enum Leads {
    /// To this status.
    To(Status),
    /// To `active`, also from there.
    On,
    /// The status stays.
    Nowhere,
}

/// Whether an event of run `run` is legal for a task that is in run 1.
fn is_legal(from: Status, run: u32, leads: Leads) -> bool {
    let is_over = matches!(from, Status::Complete | Status::Failed | Status::Cancelled);
    let from = match run {
        1 => from,
        2 if is_allowed(from, Status::Pending, true) && !matches!(leads, Leads::Nowhere) => Status::Pending,
        _ => return false,
    };
    match leads {
        Leads::Nowhere => !is_over,
        Leads::On => from == Status::Active || is_allowed(from, Status::Active, false),
        Leads::To(to) => is_allowed(from, to, false),
    }
}

/// S4-FUND-01, S2-G9b: all illegal pairs of state and event are injected; none is accepted, each is counted.
async fn s4_fund_01_every_illegal_pair_is_marked_and_changes_nothing(kind: &Kind) {
    let ledger = kind.ledger().await;
    let mut logs = Logs::default();
    let mut illegal = BTreeMap::new();
    for from in Status::ALL {
        for run in 1..=3 {
            for number in 0..life_cycle("VTID-0", run).len() {
                let task = format!("VTID-{:05}", logs.streams.values().map(Vec::len).sum::<usize>());
                logs.append(&task, None, registered(&task));
                let path: &[usize] = match from {
                    Status::Pending => &[],
                    Status::Active => &[0],
                    Status::Blocked => &[0, 2],
                    Status::Complete => &[0, 3],
                    Status::Failed => &[0, 4],
                    Status::Cancelled => &[0, 5],
                };
                for step in path {
                    logs.append(&task, None, life_cycle(&task, 1).swap_remove(*step).0);
                }
                let (event, leads) = life_cycle(&task, run).swap_remove(number);
                let name = event.name();
                let place = logs.append(&task, None, event);
                if !is_legal(from, run, leads) {
                    illegal.insert(place, (task, from, name));
                }
            }
        }
    }
    let outcome = ledger.apply_entries(&logs.entries(false)).await.unwrap();
    let mismatches = outcome.marked.into_iter().filter(|(_, mark, _)| *mark == Mark::StateMismatch);
    let counted: BTreeMap<Cause, String> = mismatches.map(|(place, _, note)| (place, note)).collect();
    for (place, (task, from, name)) in &illegal {
        let note = counted.get(place).unwrap_or_else(|| panic!("{name} was accepted in {from:?}"));
        assert!(note.starts_with("STATE_MISMATCH"), "{note}");
        let row = ledger.get_task(task).await.unwrap().unwrap();
        assert_eq!((row.status, row.run), (*from, 1), "{name} changed {task}");
    }
    assert!(illegal.len() > 100, "{}", illegal.len());
    assert_eq!(counted.len(), illegal.len(), "the counter is the number that was injected, and nothing else");
}
