//! Applying events to a database: the [`Store`] and [`Transaction`] of SQLite and PostgreSQL.

use std::collections::BTreeMap;

use async_trait::async_trait;
use millrace_decider::Cause;
use millrace_events::TaskId;
use serde_json::json;

use crate::batch::{self, Linked, Store, Transaction};
use crate::database::{Database, Write};
use crate::fold::{RowChange, StatusChange, Value};
use crate::write::{placeholders, take_step, write_rows};
use crate::{ApplyOutcome, Checkpoint, Entry, Ledger, LedgerError, StoredEvent};

/// Columns of an event's row, as [`event_values`] lists them.
const EVENT_COLUMNS: &str = "stream, sequence, log, subject, key, headers, payload, hash, stored_at, time, \
     clock, event_id, event_type, task, run, cause_stream, cause_sequence, cause_missing, mark, note";
const EVENT_WIDTH: usize = 20;
/// Events in one INSERT, and causes in one look-up.
const CHUNK: usize = 500;

impl Ledger {
    /// Applies events of one stream, in its order; see [`Ledger::apply_entries`].
    pub async fn apply(&self, stream: &str, events: &[StoredEvent]) -> Result<ApplyOutcome, LedgerError> {
        let entries: Vec<Entry> =
            events.iter().filter(|event| event.stream == stream).cloned().map(Entry::read).collect();
        self.apply_entries(&entries).await
    }

    /// Applies events as [`batch::apply`] does, and tells those who watch.
    ///
    /// Errors: as there.
    pub async fn apply_entries(&self, entries: &[Entry]) -> Result<ApplyOutcome, LedgerError> {
        let outcome = batch::apply(self.database(), entries).await?;
        self.announce();
        Ok(outcome)
    }
}

#[async_trait]
impl Store for Database {
    type Transaction = Write;

    async fn begin(&self) -> Result<Write, LedgerError> {
        Database::begin(self).await
    }
}

#[async_trait]
impl Transaction for Write {
    async fn checkpoints(&mut self) -> Result<BTreeMap<String, Checkpoint>, LedgerError> {
        let rows = self.fetch("SELECT stream, sequence, hash, clock FROM checkpoints", Vec::new()).await?;
        let read = rows.iter().map(Checkpoint::read);
        read.map(|found| found.map(|found| (found.stream.clone(), found))).collect()
    }

    async fn clocks(&mut self, places: &[&Cause]) -> Result<BTreeMap<Cause, i64>, LedgerError> {
        let mut clocks = BTreeMap::new();
        for chunk in places.chunks(CHUNK) {
            let sql = format!(
                "SELECT stream, sequence, clock FROM events WHERE (stream, sequence) IN (VALUES {})",
                placeholders(chunk.len(), 2)
            );
            let values = chunk.iter().flat_map(|cause| [Value::from(&cause.stream), cause.sequence.into()]);
            for row in self.fetch(&sql, values.collect()).await? {
                clocks.insert(Cause::new(row.text("stream")?, row.count("sequence")?), row.int("clock")?);
            }
        }
        Ok(clocks)
    }

    async fn take_step(&mut self, change: &StatusChange) -> Result<Option<String>, LedgerError> {
        take_step(self, change).await
    }

    async fn write_rows(&mut self, rows: Vec<RowChange>) -> Result<(), LedgerError> {
        write_rows(self, rows).await
    }

    async fn write_events(&mut self, events: &[Linked<'_>]) -> Result<(), LedgerError> {
        for chunk in events.chunks(CHUNK) {
            let values = placeholders(chunk.len(), EVENT_WIDTH);
            let sql = format!("INSERT INTO events ({EVENT_COLUMNS}) VALUES {values}");
            self.execute(&sql, chunk.iter().flat_map(event_values).collect()).await?;
        }
        Ok(())
    }

    async fn advance(&mut self, before: Option<&Checkpoint>, now: &Checkpoint) -> Result<bool, LedgerError> {
        let mut values =
            vec![Value::from(&now.stream), now.sequence.into(), (&now.hash).into(), now.clock.into()];
        let sql = match before {
            None => {
                "INSERT INTO checkpoints (stream, sequence, hash, clock) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (stream) DO NOTHING"
            }
            Some(before) => {
                values.extend([before.sequence.into(), (&before.hash).into()]);
                "UPDATE checkpoints SET sequence = $2, hash = $3, clock = $4 \
                 WHERE stream = $1 AND sequence = $5 AND hash = $6"
            }
        };
        Ok(self.execute(sql, values).await? == 1)
    }

    async fn commit(self) -> Result<(), LedgerError> {
        Write::commit(self).await
    }
}

fn event_values(linked: &Linked<'_>) -> [Value; EVENT_WIDTH] {
    let Linked { entry, hash, clock, mark } = linked;
    let stored = &entry.stored;
    let mut headers = stored.headers.clone();
    headers.sort();
    let envelope = entry.envelope.as_ref();
    let cause = entry.cause();
    [
        (&stored.stream).into(),
        stored.sequence.into(),
        entry.log.map_or("", |log| log.name()).into(),
        (&stored.subject).into(),
        envelope.map_or("", |envelope| envelope.key.as_str()).into(),
        json!(headers).to_string().into(),
        Value::Bytes(stored.payload.clone()),
        hash.into(),
        stored.time.into(),
        entry.time().into(),
        (*clock).into(),
        envelope.map_or("", |envelope| envelope.id.as_str()).into(),
        envelope.map_or("", |envelope| envelope.event_type.as_str()).into(),
        task(entry).into(),
        envelope.map_or(0, |envelope| envelope.run).into(),
        cause.map_or("", |cause| cause.stream.as_str()).into(),
        cause.map_or(0, |cause| cause.sequence).into(),
        i64::from(entry.cause_missing).into(),
        mark.as_ref().map_or("", |(mark, _)| mark.name()).into(),
        mark.as_ref().map_or("", |(_, note)| note.as_str()).into(),
    ]
}

/// The task that the event is about: its key, or the task that its data names.
fn task(entry: &Entry) -> String {
    let Some(envelope) = entry.envelope.as_ref().filter(|_| entry.fault.is_none()) else {
        return String::new();
    };
    if TaskId::parse(envelope.key.as_str()).is_ok() {
        return envelope.key.to_string();
    }
    let event = envelope.to_json();
    let task = event.pointer("/data/task/task").or_else(|| event.pointer("/data/task"));
    let task = task.and_then(|task| task.as_str()).filter(|task| TaskId::parse(task).is_ok());
    task.unwrap_or_default().to_owned()
}
