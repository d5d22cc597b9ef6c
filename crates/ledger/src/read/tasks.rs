//! Tasks.

use std::collections::BTreeMap;

use millrace_decider::Timestamp;

use super::page::{self, Conditions, Page, Place};
use super::rows::TaskRow;
use crate::database::Row;
use crate::fold::{Stage, Status};
use crate::{Ledger, LedgerError};

/// The task, its present run, and sums over all runs. Notices about a task are not its doing, so they do not
/// count as its last event.
const TASKS: &str = "SELECT t.task, t.status, t.stage, t.run, t.attempt, t.repository, t.target, t.title, \
    t.domain, t.spec_path, t.latest_spec_version, t.spec_version, t.spec_checksum, t.base_commit, t.waiting, \
    t.reason, t.outcome, t.failure_code, t.failure_class, t.failure_stage, t.failure_message, t.created_at, \
    t.scheduled_at, t.finished_at, COALESCE(r.worker, '') AS worker, COALESCE(r.summary, '') AS summary, \
    COALESCE(r.risk_level, '') AS risk_level, COALESCE(r.verdict, '') AS verdict, \
    COALESCE(r.pull_request, 0) AS pull_request, COALESCE(r.pull_request_url, '') AS pull_request_url, \
    COALESCE(r.head, '') AS head, COALESCE(r.head_branch, '') AS head_branch, \
    COALESCE(r.base_branch, '') AS base_branch, COALESCE(r.merge_commit, '') AS merge_commit, \
    COALESCE(r.release_commit, '') AS release_commit, COALESCE(r.release_url, '') AS release_url, \
    r.claimed_at, r.executed_at, \
    (SELECT MAX(e.time) FROM events e WHERE e.task = t.task \
        AND e.log NOT IN ('projector', 'failure-analyzer', 'dead-letter')) AS last_event_at, \
    (SELECT COUNT(*) FROM model_calls m WHERE m.task = t.task) AS model_calls, \
    (SELECT CAST(SUM(m.input_tokens) AS BIGINT) FROM model_calls m WHERE m.task = t.task) AS input_tokens, \
    (SELECT CAST(SUM(m.output_tokens) AS BIGINT) FROM model_calls m WHERE m.task = t.task) AS output_tokens, \
    (SELECT CAST(SUM(m.cost_micro_usd) AS BIGINT) FROM model_calls m WHERE m.task = t.task) AS cost \
    FROM tasks t LEFT JOIN runs r ON r.task = t.task AND r.run = t.run";

/// Which tasks. Empty: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// With this status.
    pub status: Option<Status>,
    /// At this stage.
    pub stage: Option<Stage>,
    /// Failed or blocked with this code, such as `CHECKS_FAILED`.
    pub code: Option<String>,
    /// Of this repository.
    pub repository: Option<String>,
    /// Of this domain.
    pub domain: Option<String>,
    /// With this text in id or title, in any case.
    pub text: Option<String>,
}

impl Ledger {
    /// One task; `None` when the ledger does not know it.
    pub async fn get_task(&self, task: &str) -> Result<Option<TaskRow>, LedgerError> {
        let rows = self.database().fetch(&format!("{TASKS} WHERE t.task = $1"), vec![task.into()]).await?;
        rows.first().map(read).transpose()
    }

    /// Tasks that fit, the youngest first. `page_size` 0: the default; at most 500. `page_token` empty: the
    /// first page.
    pub async fn list_tasks(
        &self,
        filter: &TaskFilter,
        page_size: u32,
        page_token: Option<&str>,
    ) -> Result<Page<TaskRow>, LedgerError> {
        let mut conditions = Conditions::default();
        conditions.maybe("t.status = ?", filter.status.map(Status::name));
        conditions.maybe("t.stage = ?", filter.stage.map(Stage::name));
        conditions.maybe("t.failure_code = ?", filter.code.as_ref());
        conditions.maybe("t.repository = ?", filter.repository.as_ref());
        conditions.maybe("t.domain = ?", filter.domain.as_ref());
        let text = filter.text.as_ref().map(|text| format!("%{}%", literal(&text.to_lowercase())));
        conditions.maybe("(lower(t.task) LIKE ? ESCAPE '!' OR lower(t.title) LIKE ? ESCAPE '!')", text);
        let list = conditions.name("tasks");
        let place = page::place(&list, page_token)?;
        conditions.behind("COALESCE(t.created_at, 0)", "t.task", place.as_ref());

        let size = page::size(page_size);
        let sql = format!(
            "{TASKS} {} ORDER BY COALESCE(t.created_at, 0) DESC, t.task DESC LIMIT {}",
            conditions.sql(),
            size + 1
        );
        let rows = self.database().fetch(&sql, conditions.values).await?;
        let tasks = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(page::page(&list, tasks, size, |task| Place {
            number: task.created_at.map_or(0, Timestamp::as_micros),
            name: task.task.clone(),
        }))
    }

    /// How many tasks there are of each status that occurs.
    pub async fn count_tasks(&self) -> Result<BTreeMap<String, u64>, LedgerError> {
        let sql = "SELECT status, COUNT(*) AS tasks FROM tasks GROUP BY status";
        let rows = self.database().fetch(sql, Vec::new()).await?;
        rows.iter().map(|row| Ok((row.text("status")?, row.count("tasks")?))).collect()
    }
}

/// For LIKE: what stands for itself.
fn literal(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}

pub(super) fn time(row: &Row, column: &str) -> Result<Option<Timestamp>, LedgerError> {
    Ok(row.maybe_int(column)?.map(Timestamp::from_micros))
}

fn read(row: &Row) -> Result<TaskRow, LedgerError> {
    // The database holds no other name: its guard sees to that.
    let status = Status::from_name(&row.text("status")?).unwrap_or(Status::Pending);
    let scheduled_at = time(row, "scheduled_at")?;
    let claimed_at = time(row, "claimed_at")?;
    let executed_at = time(row, "executed_at")?;
    let finished_at = time(row, "finished_at")?;
    let updated_at = if status.is_final() { finished_at } else { time(row, "last_event_at")? };
    Ok(TaskRow {
        task: row.text("task")?,
        status,
        stage: row.text("stage")?,
        run: row.small("run")?,
        attempt: row.small("attempt")?,
        repository: row.text("repository")?,
        target: row.text("target")?,
        title: row.text("title")?,
        domain: row.text("domain")?,
        spec_path: row.text("spec_path")?,
        latest_spec_version: row.small("latest_spec_version")?,
        spec_version: row.small("spec_version")?,
        spec_checksum: row.text("spec_checksum")?,
        base_commit: row.text("base_commit")?,
        waiting: row.text("waiting")?,
        reason: row.text("reason")?,
        outcome: row.text("outcome")?,
        failure_code: row.text("failure_code")?,
        failure_class: row.text("failure_class")?,
        failure_stage: row.text("failure_stage")?,
        failure_message: row.text("failure_message")?,
        worker: row.text("worker")?,
        summary: row.text("summary")?,
        risk_level: row.text("risk_level")?,
        verdict: row.text("verdict")?,
        pull_request: row.count("pull_request")?,
        pull_request_url: row.text("pull_request_url")?,
        head: row.text("head")?,
        head_branch: row.text("head_branch")?,
        base_branch: row.text("base_branch")?,
        merge_commit: row.text("merge_commit")?,
        release_commit: row.text("release_commit")?,
        release_url: row.text("release_url")?,
        created_at: time(row, "created_at")?,
        updated_at,
        scheduled_at,
        claimed_at,
        executed_at,
        finished_at,
        time_to_claim_ms: millis(scheduled_at, claimed_at),
        time_to_execute_ms: millis(claimed_at, executed_at),
        model_calls: row.count("model_calls")?,
        input_tokens: row.count("input_tokens")?,
        output_tokens: row.count("output_tokens")?,
        cost_micro_usd: row.count("cost")?,
    })
}

fn millis(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<u64> {
    u64::try_from(to?.since(from?).as_millis()).ok()
}
