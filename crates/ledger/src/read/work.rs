//! Work orders, phases and failures.

use millrace_decider::Timestamp;

use super::page::{self, Conditions, Page, Place};
use super::rows::{FailureRow, PhaseRow, WorkOrderRow};
use super::tasks::time;
use crate::database::Row;
use crate::{Ledger, LedgerError};

/// Which work orders. Empty: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkOrderFilter {
    /// Of this task.
    pub task: Option<String>,
    /// Only those that nobody has acknowledged (S2-B6).
    pub unacknowledged: bool,
}

/// Which failures. Empty: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailureFilter {
    /// Of this task.
    pub task: Option<String>,
    /// With this code, such as `CHECKS_FAILED`.
    pub code: Option<String>,
    /// At this stage.
    pub stage: Option<String>,
    /// Of this repository.
    pub repository: Option<String>,
}

impl Ledger {
    /// Work orders that fit, the newest first; pages as in [`Ledger::list_tasks`].
    pub async fn list_work_orders(
        &self,
        filter: &WorkOrderFilter,
        page_size: u32,
        page_token: Option<&str>,
    ) -> Result<Page<WorkOrderRow>, LedgerError> {
        let mut conditions = Conditions::default();
        conditions.maybe("task = ?", filter.task.as_ref());
        if filter.unacknowledged {
            conditions.plain("acknowledged_at IS NULL AND ended_at IS NULL AND expired_at IS NULL");
        }
        let list = conditions.name("work_orders");
        let place = page::place(&list, page_token)?;
        conditions.behind("COALESCE(issued_at, 0)", "id", place.as_ref());

        let size = page::size(page_size);
        let sql = format!(
            "SELECT * FROM work_orders {} ORDER BY COALESCE(issued_at, 0) DESC, id DESC LIMIT {}",
            conditions.sql(),
            size + 1
        );
        let rows = self.database().fetch(&sql, conditions.values).await?;
        let orders = rows.iter().map(work_order).collect::<Result<Vec<_>, _>>()?;
        Ok(page::page(&list, orders, size, |order| Place {
            number: order.issued_at.map_or(0, Timestamp::as_micros),
            name: order.id.clone(),
        }))
    }

    /// Failures that fit, the newest first; pages as in [`Ledger::list_tasks`].
    pub async fn list_failures(
        &self,
        filter: &FailureFilter,
        page_size: u32,
        page_token: Option<&str>,
    ) -> Result<Page<FailureRow>, LedgerError> {
        // Streams and sequences as one name that sorts as they do.
        const NAME: &str = "stream || ':' || substr('00000000000000000000', 1, \
             20 - length(CAST(sequence AS TEXT))) || CAST(sequence AS TEXT)";
        let mut conditions = Conditions::default();
        conditions.maybe("task = ?", filter.task.as_ref());
        conditions.maybe("code = ?", filter.code.as_ref());
        conditions.maybe("stage = ?", filter.stage.as_ref());
        conditions.maybe("repository = ?", filter.repository.as_ref());
        let list = conditions.name("failures");
        let place = page::place(&list, page_token)?;
        conditions.behind("COALESCE(time, 0)", &format!("({NAME})"), place.as_ref());

        let size = page::size(page_size);
        let sql = format!(
            "SELECT * FROM failures {} ORDER BY COALESCE(time, 0) DESC, {NAME} DESC LIMIT {}",
            conditions.sql(),
            size + 1
        );
        let rows = self.database().fetch(&sql, conditions.values).await?;
        let failures = rows.iter().map(failure).collect::<Result<Vec<_>, _>>()?;
        Ok(page::page(&list, failures, size, |failure| Place {
            number: failure.time.map_or(0, Timestamp::as_micros),
            name: format!("{}:{:020}", failure.stream, failure.sequence),
        }))
    }

    /// Completed phases of a task, attempt by attempt.
    pub async fn list_phases(&self, task: &str) -> Result<Vec<PhaseRow>, LedgerError> {
        let sql =
            "SELECT * FROM phases WHERE task = $1 ORDER BY run, attempt, completed_at, phase, iteration";
        self.database().fetch(sql, vec![task.into()]).await?.iter().map(phase).collect()
    }
}

fn work_order(row: &Row) -> Result<WorkOrderRow, LedgerError> {
    let result = row.text("result")?;
    let (acknowledged_at, expired_at) = (time(row, "acknowledged_at")?, time(row, "expired_at")?);
    let state = if !result.is_empty() {
        result
    } else if expired_at.is_some() {
        "expired".to_owned()
    } else if acknowledged_at.is_some() {
        "acknowledged".to_owned()
    } else {
        "offered".to_owned()
    };
    let (result_code, expiry_code) = (row.text("result_code")?, row.text("expiry_code")?);
    Ok(WorkOrderRow {
        id: row.text("id")?,
        task: row.text("task")?,
        run: row.small("run")?,
        attempt: row.small("attempt")?,
        kind: row.text("kind")?,
        state,
        tries: row.small("tries")?,
        worker: row.text("worker")?,
        fencing_token: row.count("fencing_token")?,
        code: if result_code.is_empty() { expiry_code } else { result_code },
        issued_at: time(row, "issued_at")?,
        acknowledge_by: time(row, "acknowledge_by")?,
        acknowledged_at,
        ended_at: time(row, "ended_at")?,
    })
}

fn failure(row: &Row) -> Result<FailureRow, LedgerError> {
    Ok(FailureRow {
        stream: row.text("stream")?,
        sequence: row.count("sequence")?,
        log: row.text("log")?,
        event: row.text("event")?,
        task: row.text("task")?,
        run: row.small("run")?,
        attempt: row.small("attempt")?,
        repository: row.text("repository")?,
        code: row.text("code")?,
        class: row.text("class")?,
        stage: row.text("stage")?,
        source: row.text("source")?,
        message: row.text("message")?,
        causes: serde_json::from_str(&row.text("causes")?).unwrap_or_default(),
        context: serde_json::from_str(&row.text("context")?).unwrap_or_default(),
        trace_id: row.text("trace_id")?,
        time: time(row, "time")?,
    })
}

fn phase(row: &Row) -> Result<PhaseRow, LedgerError> {
    Ok(PhaseRow {
        run: row.small("run")?,
        attempt: row.small("attempt")?,
        phase: row.text("phase")?,
        iteration: row.small("iteration")?,
        duration_ms: row.count("duration_ms")?,
        summary: row.text("summary")?,
        evidence: serde_json::from_str(&row.text("evidence")?).unwrap_or_default(),
        completed_at: time(row, "completed_at")?,
    })
}
