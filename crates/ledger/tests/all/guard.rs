//! The database's guard of the life cycle, through raw SQL, past everything else.

use super::support::Kind;
use millrace_ledger::{Ledger, Status};
use std::error::Error as _;

on_both!(
    s0_4_5_every_pair_of_status_is_allowed_or_refused_as_designed,
    s0_4_5_a_task_begins_as_pending_and_is_never_deleted,
    s2_g7_nothing_changes_the_row_of_a_finished_run,
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
