//! Specs and insights.

use std::collections::BTreeMap;

use millrace_decider::Timestamp;

use super::rows::{InsightRow, SpecRow};
use super::tasks::time;
use crate::database::Row;
use crate::{Ledger, LedgerError};

/// Rows in one answer.
const MAX_ROWS: usize = 500;
/// Tasks that are named with an insight, as in the event.
const NAMED_TASKS: usize = 10;

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

    /// Insights, the largest group first; at most 500. Count, last failure and tasks are those of now: an
    /// insight is published at milestones only, and every failure between two of them is classified.
    pub async fn list_insights(&self) -> Result<Vec<InsightRow>, LedgerError> {
        let sql = format!("SELECT * FROM insights ORDER BY count DESC, group_key LIMIT {MAX_ROWS}");
        let rows = self.database().fetch(&sql, Vec::new()).await?;
        let mut insights = rows.iter().map(insight).collect::<Result<Vec<_>, _>>()?;
        let mut groups = self.classified().await?;
        for insight in &mut insights {
            // A ledger may know fewer failures than the insight counts, but never the other way round.
            let Some(group) = groups.remove(&insight.group).filter(|group| group.count > insight.count)
            else {
                continue;
            };
            insight.count = group.count;
            insight.last_seen = insight.last_seen.max(group.last_seen);
            insight.tasks = group.tasks;
        }
        insights.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.group.cmp(&b.group)));
        Ok(insights)
    }

    /// The failures of each group that has an insight.
    async fn classified(&self) -> Result<BTreeMap<String, Classified>, LedgerError> {
        const WHICH: &str = "key IN (SELECT group_key FROM insights) \
                             AND event_type LIKE '%.FailureClassified' AND mark = ''";
        let counted = format!(
            "SELECT key, COUNT(*) AS count, MAX(time) AS last_seen FROM events WHERE {WHICH} GROUP BY key"
        );
        let mut groups = BTreeMap::new();
        for row in &self.database().fetch(&counted, Vec::new()).await? {
            let group = Classified {
                count: row.count("count")?,
                last_seen: time(row, "last_seen")?,
                tasks: Vec::new(),
            };
            groups.insert(row.text("key")?, group);
        }
        let latest = format!(
            "SELECT key, task FROM (SELECT key, task, \
                ROW_NUMBER() OVER (PARTITION BY key ORDER BY MAX(sequence) DESC) AS place \
                FROM events WHERE {WHICH} AND task <> '' GROUP BY key, task) AS tasks \
             WHERE place <= {NAMED_TASKS} ORDER BY key, place"
        );
        for row in &self.database().fetch(&latest, Vec::new()).await? {
            if let Some(group) = groups.get_mut(&row.text("key")?) {
                group.tasks.push(row.text("task")?);
            }
        }
        Ok(groups)
    }
}

/// What the ledger knows of a group beside its last insight.
struct Classified {
    count: u64,
    last_seen: Option<Timestamp>,
    /// The latest first.
    tasks: Vec<String>,
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
