//! The history of a task, and what is new since a row.

use millrace_decider::Timestamp;
use millrace_events::message_to_json;
use serde::Serialize;
use serde_json::Value as Json;

use super::time_text;
use crate::database::Row;
use crate::{Entry, Ledger, LedgerError, StoredEvent};

/// Longest history of one key.
const MAX_HISTORY: usize = 10_000;
/// Refusals that are compared with a submission.
const MAX_REJECTIONS: usize = 200;
const COLUMNS: &str =
    "id, stream, sequence, log, subject, headers, payload, stored_at, task, run, mark, note";

/// An event as the ledger shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventRow {
    /// Grows with every event that this ledger applied; only for [`Ledger::changes_since`].
    pub id: u64,
    /// Log, stream and sequence.
    pub log: String,
    /// See `log`.
    pub stream: String,
    /// See `log`.
    pub sequence: u64,
    /// When it was decided.
    #[serde(serialize_with = "time_text::serialize")]
    pub time: Timestamp,
    /// Such as `TaskScheduled`.
    pub event_type: String,
    /// Its data as proto3 JSON with the field names of the proto files; null when it cannot be read.
    pub data: Json,
    /// `<stream>:<sequence>` of the event that led to it; empty for none.
    pub cause: String,
    /// Its task, if any, and run; 0 when it concerns none.
    pub task: String,
    /// See `task`.
    pub run: u32,
    /// Who wrote it, such as `/millrace/dispatcher`.
    pub source: String,
    /// Trace context of the span that wrote it; empty when not traced.
    pub traceparent: String,
    /// Why it changed nothing: empty, `STATE_MISMATCH`, `EVENT_INVALID`, `EVENT_UNKNOWN`.
    pub mark: String,
    /// The sentence to the mark.
    pub note: String,
}

impl Ledger {
    /// Every event about a task, or under another key, and the events that led to them directly: causes
    /// before effects. At most 10,000.
    pub async fn history(&self, key: &str) -> Result<Vec<EventRow>, LedgerError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM events e WHERE e.task = $1 OR e.key = $1 OR (e.task = '' AND \
             (e.stream, e.sequence) IN (SELECT cause_stream, cause_sequence FROM events WHERE task = $1)) \
             ORDER BY clock, stream, sequence LIMIT {MAX_HISTORY}"
        );
        self.database().fetch(&sql, vec![key.into()]).await?.iter().map(read).collect()
    }

    /// What the spec-registry answered to a submission, in order.
    pub async fn answers_to(&self, submission: &str) -> Result<Vec<EventRow>, LedgerError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM events WHERE log = 'spec-registry' AND (key = $1 OR \
             (cause_stream, cause_sequence) IN \
                (SELECT stream, sequence FROM events WHERE key = $1 AND log = 'intake')) \
             ORDER BY clock, stream, sequence LIMIT {MAX_HISTORY}"
        );
        self.database().fetch(&sql, vec![submission.into()]).await?.iter().map(read).collect()
    }

    /// Refusals of specs of a repository that no registration under the same key has followed, the latest
    /// first; at most 200.
    pub async fn standing_rejections(&self, repository: &str) -> Result<Vec<EventRow>, LedgerError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM events e WHERE (e.stream, e.sequence) IN \
                (SELECT stream, sequence FROM failures WHERE repository = $1 AND event = 'SpecRejected' \
                 ORDER BY time DESC, stream, sequence LIMIT {MAX_REJECTIONS}) \
             AND NOT EXISTS (SELECT 1 FROM events l WHERE l.key = e.key AND l.stream = e.stream \
                AND l.sequence > e.sequence AND l.event_type LIKE '%.SpecRegistered') \
             ORDER BY e.clock DESC, e.stream, e.sequence"
        );
        self.database().fetch(&sql, vec![repository.into()]).await?.iter().map(read).collect()
    }

    /// A message as it was stored; `None` when the ledger has none there.
    pub async fn message(&self, stream: &str, sequence: u64) -> Result<Option<StoredEvent>, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM events WHERE stream = $1 AND sequence = $2");
        let values = vec![stream.into(), sequence.into()];
        self.database().fetch(&sql, values).await?.first().map(stored).transpose()
    }

    /// Events behind row `after`, in the order in which they were applied; at most `limit`.
    pub async fn changes_since(&self, after: u64, limit: u32) -> Result<Vec<EventRow>, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM events WHERE id > $1 ORDER BY id LIMIT $2");
        self.database().fetch(&sql, vec![after.into(), limit.into()]).await?.iter().map(read).collect()
    }

    /// The last row; 0 when there is none.
    pub async fn last_row(&self) -> Result<u64, LedgerError> {
        let rows = self.database().fetch("SELECT MAX(id) AS id FROM events", Vec::new()).await?;
        rows.first().map_or(Ok(0), |row| row.count("id"))
    }

    /// Events that were stored but changed nothing, the latest first; an alarm where the mark is
    /// `STATE_MISMATCH`.
    pub async fn marked_events(&self, limit: u32) -> Result<Vec<EventRow>, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM events WHERE mark <> '' ORDER BY id DESC LIMIT $1");
        self.database().fetch(&sql, vec![limit.into()]).await?.iter().map(read).collect()
    }
}

fn stored(row: &Row) -> Result<StoredEvent, LedgerError> {
    Ok(StoredEvent {
        stream: row.text("stream")?,
        subject: row.text("subject")?,
        sequence: row.count("sequence")?,
        time: Timestamp::from_micros(row.int("stored_at")?),
        headers: serde_json::from_str(&row.text("headers")?).unwrap_or_default(),
        payload: row.bytes("payload")?,
    })
}

fn read(row: &Row) -> Result<EventRow, LedgerError> {
    let entry = Entry::read(stored(row)?);
    let envelope = entry.envelope.as_ref();
    let name = envelope.map(|envelope| envelope.name().to_owned()).unwrap_or_default();
    let message = format!("millrace.events.v1.{name}");
    Ok(EventRow {
        id: row.count("id")?,
        log: row.text("log")?,
        time: entry.time(),
        data: envelope.and_then(|found| message_to_json(&message, &found.data)).unwrap_or(Json::Null),
        event_type: name,
        cause: entry.cause().map(ToString::to_string).unwrap_or_default(),
        task: row.text("task")?,
        run: row.small("run")?,
        source: envelope.map(|found| found.source.clone()).unwrap_or_default(),
        traceparent: envelope.map(|found| found.traceparent.clone()).unwrap_or_default(),
        mark: row.text("mark")?,
        note: row.text("note")?,
        stream: entry.stored.stream,
        sequence: entry.stored.sequence,
    })
}
