//! Specs and insights.

use super::rows::{InsightRow, SpecRow};
use super::tasks::time;
use crate::database::Row;
use crate::{Ledger, LedgerError};

/// Rows in one answer.
const MAX_ROWS: usize = 500;

impl Ledger {
    /// A version of a task's spec; `None` for the newest.
    pub async fn get_spec(&self, task: &str, version: Option<u32>) -> Result<Option<SpecRow>, LedgerError> {
        let sql = "SELECT * FROM specs WHERE task = $1 AND ($2 = 0 OR version = $2) \
                   ORDER BY version DESC LIMIT 1";
        let values = vec![task.into(), version.unwrap_or(0).into()];
        self.database().fetch(sql, values).await?.first().map(spec).transpose()
    }

    /// Specs of a repository whose newest version has exactly these bytes, by SHA-256, with whatever plan.
    /// Copies of one text may be several tasks; at most 500.
    pub async fn specs_with(&self, repository: &str, checksum: &str) -> Result<Vec<SpecRow>, LedgerError> {
        let sql = format!(
            "SELECT * FROM specs s WHERE repository = $1 AND checksum = $2 \
             AND version = (SELECT MAX(version) FROM specs WHERE task = s.task) \
             ORDER BY task LIMIT {MAX_ROWS}"
        );
        let values = vec![repository.into(), checksum.into()];
        self.database().fetch(&sql, values).await?.iter().map(spec).collect()
    }

    /// Insights, the largest group first; at most 500.
    pub async fn list_insights(&self) -> Result<Vec<InsightRow>, LedgerError> {
        let sql = format!("SELECT * FROM insights ORDER BY count DESC, group_key LIMIT {MAX_ROWS}");
        self.database().fetch(&sql, Vec::new()).await?.iter().map(insight).collect()
    }
}

fn spec(row: &Row) -> Result<SpecRow, LedgerError> {
    Ok(SpecRow {
        task: row.text("task")?,
        version: row.small("version")?,
        checksum: row.text("checksum")?,
        repository: row.text("repository")?,
        path: row.text("path")?,
        commit: row.text("commit_sha")?,
        source: row.text("source")?,
        submitted_by: row.text("submitted_by")?,
        submission: row.text("submission")?,
        title: row.text("title")?,
        summary: row.text("summary")?,
        format: row.text("format")?,
        domain: row.text("domain")?,
        target: row.text("target")?,
        readiness: row.text("readiness")?,
        acceptance_criteria: row.small("acceptance_criteria")?,
        warnings: row.small("warnings")?,
        spec_sha256: row.text("spec_sha256")?,
        spec_size: row.count("spec_size")?,
        plan_sha256: row.text("plan_sha256")?,
        registered_at: time(row, "registered_at")?,
    })
}

fn insight(row: &Row) -> Result<InsightRow, LedgerError> {
    Ok(InsightRow {
        group: row.text("group_key")?,
        code: row.text("code")?,
        stage: row.text("stage")?,
        domain: row.text("domain")?,
        model: row.text("model")?,
        prompt_version: row.text("prompt_version")?,
        count: row.count("count")?,
        recent: row.count("recent")?,
        first_seen: time(row, "first_seen")?,
        last_seen: time(row, "last_seen")?,
        tasks: serde_json::from_str(&row.text("tasks")?).unwrap_or_default(),
        trend: row.text("trend")?,
        advice: row.text("advice")?,
        published_at: time(row, "published_at")?,
    })
}
