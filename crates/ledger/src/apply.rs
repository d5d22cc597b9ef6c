//! Applying events: rows and checkpoints in one transaction. DESIGN section 7.

use std::collections::{BTreeMap, HashMap};

use millrace_decider::Cause;
use millrace_events::TaskId;
use serde_json::json;

use crate::database::Write;
use crate::fold::{Change, Fact, Value, fold};
use crate::write::{Rows, placeholders, take_step};
use crate::{Checkpoint, Entry, GENESIS, Ledger, LedgerError, StoredEvent, link};

/// Columns of an event's row, as [`Row::values`] lists them.
const EVENT_COLUMNS: &str = "stream, sequence, log, subject, key, headers, payload, hash, stored_at, time, \
     clock, event_id, event_type, task, run, cause_stream, cause_sequence, cause_missing, mark, note";
const EVENT_WIDTH: usize = 20;
/// Longest text in an index. PostgreSQL refuses rows of an index beyond 2,704 bytes, and one such event would
/// stop the ledger for good.
const MAX_NAME_BYTES: usize = 512;
/// Events in one INSERT, and causes in one look-up.
const CHUNK: usize = 500;

/// Why an event was stored but changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// The database's guard refused the transition. An alarm: a log holds what the rules forbid.
    StateMismatch,
    /// It cannot be read, or is not what its place says.
    Invalid,
    /// A type or version that this one does not know. Kept and skipped.
    Unknown,
}

impl Mark {
    /// The name, as in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StateMismatch => "STATE_MISMATCH",
            Self::Invalid => "EVENT_INVALID",
            Self::Unknown => "EVENT_UNKNOWN",
        }
    }
}

/// What came of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct ApplyOutcome {
    /// Events that are new in the ledger.
    pub applied: u64,
    /// Events that it had already.
    pub known: u64,
    /// New events that changed nothing, with the reason: place, mark, sentence.
    pub marked: Vec<(Cause, Mark, String)>,
    /// Where each stream of the batch stands now.
    pub checkpoints: BTreeMap<String, u64>,
}

impl Ledger {
    /// Applies events of one stream, in its order; see [`Ledger::apply_entries`].
    pub async fn apply(&self, stream: &str, events: &[StoredEvent]) -> Result<ApplyOutcome, LedgerError> {
        let entries: Vec<Entry> =
            events.iter().filter(|event| event.stream == stream).cloned().map(Entry::read).collect();
        self.apply_entries(&entries).await
    }

    /// Applies events of any streams, each stream in its order and no effect before its cause, in one
    /// transaction: rows and checkpoints together, or nothing. Events up to a checkpoint are passed over.
    ///
    /// Errors: [`LedgerError::Overtaken`] when another projector was faster, [`LedgerError::Gap`] when events
    /// are missing in between; nothing is written then.
    pub async fn apply_entries(&self, entries: &[Entry]) -> Result<ApplyOutcome, LedgerError> {
        let mut write = self.database().begin().await?;
        let before = checkpoints(&mut write).await?;
        let mut batch = Batch::new(before, causes(&mut write, entries).await?);
        for entry in entries {
            batch.take(&mut write, entry).await?;
        }
        let outcome = batch.finish(&mut write).await?;
        write.commit().await?;
        self.announce();
        Ok(outcome)
    }
}

struct Batch {
    before: BTreeMap<String, Checkpoint>,
    now: BTreeMap<String, Checkpoint>,
    clocks: HashMap<Cause, i64>,
    rows: Rows,
    events: Vec<Value>,
    outcome: ApplyOutcome,
}

impl Batch {
    fn new(before: BTreeMap<String, Checkpoint>, clocks: HashMap<Cause, i64>) -> Self {
        let now = before.clone();
        Self {
            before,
            now,
            clocks,
            rows: Rows::default(),
            events: Vec::new(),
            outcome: ApplyOutcome::default(),
        }
    }

    async fn take(&mut self, write: &mut Write, entry: &Entry) -> Result<(), LedgerError> {
        let stored = &entry.stored;
        let last = self.now.get(&stored.stream).cloned().unwrap_or_else(|| Checkpoint {
            stream: stored.stream.clone(),
            sequence: 0,
            hash: GENESIS.to_owned(),
            clock: 0,
        });
        if stored.sequence <= last.sequence {
            self.outcome.known += 1;
            return Ok(());
        }
        // A fresh ledger may begin behind an archived prefix.
        if last.sequence > 0 && stored.sequence != last.sequence + 1 {
            return Err(LedgerError::Gap {
                stream: stored.stream.clone(),
                expected: last.sequence + 1,
                found: stored.sequence,
            });
        }
        let cause = entry.cause().and_then(|cause| self.clocks.get(cause)).copied().unwrap_or(0);
        let clock = stored.time.as_micros().max(cause.saturating_add(1)).max(last.clock.saturating_add(1));
        let hash = link(&last.hash, stored);
        let mark = self.fold(write, entry, clock).await?;
        self.events.extend(event_values(entry, &hash, clock, mark.as_ref()));

        let place = Cause::new(&stored.stream, stored.sequence);
        if let Some((mark, note)) = mark {
            self.outcome.marked.push((place.clone(), mark, note));
        }
        self.clocks.insert(place, clock);
        let reached = Checkpoint { stream: last.stream, sequence: stored.sequence, hash, clock };
        self.now.insert(stored.stream.clone(), reached);
        self.outcome.applied += 1;
        Ok(())
    }

    /// Takes the steps that the event makes and collects its rows. `Some`: why it changes nothing.
    async fn fold(
        &mut self,
        write: &mut Write,
        entry: &Entry,
        clock: i64,
    ) -> Result<Option<(Mark, String)>, LedgerError> {
        if let Some(fault) = &entry.fault {
            return Ok(Some((Mark::Invalid, fault.clone())));
        }
        let (Some(event), Some(log)) = (&entry.event, entry.log) else {
            let name = entry.envelope.as_ref().map_or("", |envelope| envelope.event_type.as_str());
            return Ok(Some((Mark::Unknown, format!("this version knows no event `{name}`"))));
        };
        let stored = &entry.stored;
        let fact =
            Fact { stream: &stored.stream, sequence: stored.sequence, log, time: entry.time(), clock, event };
        let changes = fold(&fact);
        if changes.iter().any(names_too_long) {
            return Ok(Some((Mark::Invalid, format!("a key or task is longer than {MAX_NAME_BYTES} bytes"))));
        }
        for change in &changes {
            if let Change::Status(change) = change
                && let Some(refusal) = take_step(write, change).await?
            {
                return Ok(Some((Mark::StateMismatch, refusal)));
            }
        }
        for change in changes {
            if let Change::Row(change) = change {
                self.rows.add(change);
            }
        }
        Ok(None)
    }

    async fn finish(mut self, write: &mut Write) -> Result<ApplyOutcome, LedgerError> {
        self.rows.flush(write).await?;
        for chunk in self.events.chunks(CHUNK * EVENT_WIDTH) {
            let values = placeholders(chunk.len() / EVENT_WIDTH, EVENT_WIDTH);
            let sql = format!("INSERT INTO events ({EVENT_COLUMNS}) VALUES {values}");
            write.execute(&sql, chunk.to_vec()).await?;
        }
        for (stream, checkpoint) in &self.now {
            let before = self.before.get(stream);
            if before != Some(checkpoint) {
                advance(write, before, checkpoint).await?;
                self.outcome.checkpoints.insert(stream.clone(), checkpoint.sequence);
            }
        }
        Ok(self.outcome)
    }
}

/// Moves a checkpoint, if nobody else has.
async fn advance(
    write: &mut Write,
    before: Option<&Checkpoint>,
    now: &Checkpoint,
) -> Result<(), LedgerError> {
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
    if write.execute(sql, values).await? == 1 {
        Ok(())
    } else {
        Err(LedgerError::Overtaken { stream: now.stream.clone() })
    }
}

async fn checkpoints(write: &mut Write) -> Result<BTreeMap<String, Checkpoint>, LedgerError> {
    let rows = write.fetch("SELECT stream, sequence, hash, clock FROM checkpoints", Vec::new()).await?;
    let read = rows.iter().map(Checkpoint::read);
    read.map(|found| found.map(|found| (found.stream.clone(), found))).collect()
}

/// The clocks of all causes that the ledger has already.
async fn causes(write: &mut Write, entries: &[Entry]) -> Result<HashMap<Cause, i64>, LedgerError> {
    let mut causes: Vec<&Cause> = entries.iter().filter_map(Entry::cause).collect();
    causes.sort();
    causes.dedup();
    let mut clocks = HashMap::new();
    for chunk in causes.chunks(CHUNK) {
        let sql = format!(
            "SELECT stream, sequence, clock FROM events WHERE (stream, sequence) IN (VALUES {})",
            placeholders(chunk.len(), 2)
        );
        let values = chunk.iter().flat_map(|cause| [Value::from(&cause.stream), cause.sequence.into()]);
        for row in write.fetch(&sql, values.collect()).await? {
            clocks.insert(Cause::new(row.text("stream")?, row.count("sequence")?), row.int("clock")?);
        }
    }
    Ok(clocks)
}

fn event_values(
    entry: &Entry,
    hash: &str,
    clock: i64,
    mark: Option<&(Mark, String)>,
) -> [Value; EVENT_WIDTH] {
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
        clock.into(),
        envelope.map_or("", |envelope| envelope.id.as_str()).into(),
        envelope.map_or("", |envelope| envelope.event_type.as_str()).into(),
        task(entry).into(),
        envelope.map_or(0, |envelope| envelope.run).into(),
        cause.map_or("", |cause| cause.stream.as_str()).into(),
        cause.map_or(0, |cause| cause.sequence).into(),
        i64::from(entry.cause_missing).into(),
        mark.map_or("", |(mark, _)| mark.name()).into(),
        mark.map_or("", |(_, note)| note.as_str()).into(),
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

fn names_too_long(change: &Change) -> bool {
    let too_long = |value: &Value| matches!(value, Value::Text(text) if text.len() > MAX_NAME_BYTES);
    match change {
        Change::Status(change) => change.task.len() > MAX_NAME_BYTES,
        Change::Row(change) => {
            let task = change.columns.iter().find(|(column, ..)| *column == "task");
            change.key.iter().chain(task.map(|(.., value)| value)).any(too_long)
        }
    }
}
