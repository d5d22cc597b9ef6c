//! What wants a person: overdue tasks.

use std::time::Duration;

use millrace_decider::{Cause, Timestamp};

use crate::{Ledger, LedgerError};

/// Rows in one answer.
const MAX_ROWS: usize = 500;

/// Targets on which something was done since `$1`. The clock of an event is never before its storing: it is
/// asked for the sake of the index.
const IN_USE: &str = "SELECT o.target FROM tasks o JOIN events d ON d.task = o.task AND d.clock >= $1 \
    WHERE o.target <> '' AND d.stored_at >= $1 AND d.log = 'deployer' \
        AND d.event_type NOT LIKE '%.PullRequest%' AND d.event_type NOT LIKE '%.StageStopped'";

/// An active task that waits for nobody and of which nothing has been heard for too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverdueTask {
    /// The task and its run.
    pub task: String,
    /// See `task`.
    pub run: u32,
    /// Its last event: type, place and time.
    pub last_event: String,
    /// See `last_event`.
    pub last_place: Cause,
    /// See `last_event`.
    pub last_time: Timestamp,
}

impl Ledger {
    /// Active tasks that wait for nobody and whose last event was stored longer ago than `idle`; the longest
    /// silence first, at most 500. Notices about a task do not count as its events.
    ///
    /// A run that passed its validation and has not been merged is in the queue of its target. It is not silent
    /// as long as something was merged, released or taken back on that target within `idle`.
    pub async fn active_overdue(
        &self,
        now: Timestamp,
        idle: Duration,
    ) -> Result<Vec<OverdueTask>, LedgerError> {
        let sql = format!(
            "SELECT t.task, t.run, e.event_type, e.stream, e.sequence, e.stored_at \
             FROM tasks t JOIN events e ON e.id = (SELECT l.id FROM events l WHERE l.task = t.task \
                AND l.log NOT IN ('projector', 'failure-analyzer', 'dead-letter') \
                ORDER BY l.clock DESC, l.stream DESC LIMIT 1) \
             WHERE t.status = 'active' AND t.waiting = '' AND e.stored_at < $1 \
                AND NOT (e.event_type LIKE '%.ValidationPassed' AND t.target IN ({IN_USE})) \
             ORDER BY e.stored_at, t.task LIMIT {MAX_ROWS}"
        );
        let rows = self.database().fetch(&sql, vec![(now - idle).into()]).await?;
        let tasks = rows.iter().map(|row| {
            let event_type = row.text("event_type")?;
            let name = event_type.rsplit_once('.').map_or(event_type.as_str(), |(_, name)| name);
            Ok(OverdueTask {
                task: row.text("task")?,
                run: row.small("run")?,
                last_event: name.to_owned(),
                last_place: Cause::new(row.text("stream")?, row.count("sequence")?),
                last_time: Timestamp::from_micros(row.int("stored_at")?),
            })
        });
        tasks.collect()
    }
}
