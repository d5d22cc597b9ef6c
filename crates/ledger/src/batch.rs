//! One batch of events in one transaction: what stands in which row, where each stream's chain and checkpoint
//! are, what is refused. Pure but for the [`Transaction`] that it is written in, which is SQL in the ledger and
//! memory in simulations. DESIGN section 7.

use std::collections::BTreeMap;

use async_trait::async_trait;
use millrace_decider::Cause;

use crate::fold::{Change, Fact, Merge, RowChange, StatusChange, Table, Value, fold};
use crate::{Checkpoint, Entry, GENESIS, LedgerError, link};

/// Longest text in an index. PostgreSQL refuses rows of an index beyond 2,704 bytes, and one such event would
/// stop the ledger for good.
const MAX_NAME_BYTES: usize = 512;

/// Where rows and checkpoints are kept.
#[async_trait]
pub trait Store: Sync {
    /// A transaction of it.
    type Transaction: Transaction;

    /// Begins to write, as the only one.
    ///
    /// # Errors
    /// The store does not answer.
    async fn begin(&self) -> Result<Self::Transaction, LedgerError>;
}

/// What is written stands whole after the commit. Dropped without it, nothing of it stands.
#[async_trait]
pub trait Transaction: Send + Sized {
    /// Every stream's checkpoint.
    ///
    /// # Errors
    /// The store does not answer, here and below.
    async fn checkpoints(&mut self) -> Result<BTreeMap<String, Checkpoint>, LedgerError>;

    /// The logical clocks of those of these events that are stored.
    ///
    /// # Errors
    /// As above.
    async fn clocks(&mut self, places: &[&Cause]) -> Result<BTreeMap<Cause, i64>, LedgerError>;

    /// Takes a step in the life of a task. `Some`: the guard of transitions refused it, with its sentence, and
    /// nothing of the step is written.
    ///
    /// # Errors
    /// As above.
    async fn take_step(&mut self, change: &StatusChange) -> Result<Option<String>, LedgerError>;

    /// Writes rows, each at most once, merged with what stands there.
    ///
    /// # Errors
    /// As above.
    async fn write_rows(&mut self, rows: Vec<RowChange>) -> Result<(), LedgerError>;

    /// Stores events that are not stored yet.
    ///
    /// # Errors
    /// As above, and where one is stored already.
    async fn write_events(&mut self, events: &[Linked<'_>]) -> Result<(), LedgerError>;

    /// Moves a stream's checkpoint. `false`: it is not at `before` any more.
    ///
    /// # Errors
    /// As above.
    async fn advance(&mut self, before: Option<&Checkpoint>, now: &Checkpoint) -> Result<bool, LedgerError>;

    /// Makes it last.
    ///
    /// # Errors
    /// As above; it may have been made to last all the same.
    async fn commit(self) -> Result<(), LedgerError>;
}

/// An event with its place in the chain and in the logical order.
#[derive(Debug, Clone)]
pub struct Linked<'a> {
    /// The event.
    pub entry: &'a Entry,
    /// Hash of its stream's chain up to and with it.
    pub hash: String,
    /// Its logical clock.
    pub clock: i64,
    /// Why it changed nothing.
    pub mark: Option<(Mark, String)>,
}

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

/// Applies events of any streams, each stream in its order and no effect before its cause, in one
/// transaction: rows and checkpoints together, or nothing. Events up to a checkpoint are passed over.
///
/// # Errors
/// [`LedgerError::Overtaken`] when another projector was faster, [`LedgerError::Gap`] when events are missing
/// in between; nothing is written then.
pub async fn apply<S: Store>(store: &S, entries: &[Entry]) -> Result<ApplyOutcome, LedgerError> {
    let mut write = store.begin().await?;
    let before = write.checkpoints().await?;
    let mut causes: Vec<&Cause> = entries.iter().filter_map(Entry::cause).collect();
    causes.sort();
    causes.dedup();
    let clocks = write.clocks(&causes).await?;
    let now = before.clone();
    let mut batch = Batch { before, now, clocks, ..Batch::default() };
    for entry in entries {
        batch.take(&mut write, entry).await?;
    }
    let Batch { before, now, rows, events, mut outcome, .. } = batch;
    write.write_rows(rows.changes()).await?;
    write.write_events(&events).await?;
    for (stream, checkpoint) in &now {
        let before = before.get(stream);
        if before == Some(checkpoint) {
            continue;
        }
        if !write.advance(before, checkpoint).await? {
            return Err(LedgerError::Overtaken { stream: stream.clone() });
        }
        outcome.checkpoints.insert(stream.clone(), checkpoint.sequence);
    }
    write.commit().await?;
    Ok(outcome)
}

#[derive(Default)]
struct Batch<'a> {
    before: BTreeMap<String, Checkpoint>,
    now: BTreeMap<String, Checkpoint>,
    clocks: BTreeMap<Cause, i64>,
    rows: Rows,
    events: Vec<Linked<'a>>,
    outcome: ApplyOutcome,
}

impl<'a> Batch<'a> {
    async fn take(&mut self, write: &mut impl Transaction, entry: &'a Entry) -> Result<(), LedgerError> {
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
        let place = Cause::new(&stored.stream, stored.sequence);
        if let Some((mark, note)) = &mark {
            self.outcome.marked.push((place.clone(), *mark, note.clone()));
        }
        self.clocks.insert(place, clock);
        self.events.push(Linked { entry, hash: hash.clone(), clock, mark });
        let reached = Checkpoint { stream: last.stream, sequence: stored.sequence, hash, clock };
        self.now.insert(stored.stream.clone(), reached);
        self.outcome.applied += 1;
        Ok(())
    }

    /// Takes the steps that the event makes and collects its rows. `Some`: why it changes nothing.
    async fn fold(
        &mut self,
        write: &mut impl Transaction,
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
                && let Some(refusal) = write.take_step(change).await?
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
}

/// Values of a row by column, and how each meets what stands there.
type Columns = BTreeMap<&'static str, (Merge, Value)>;

/// Row changes, merged into one per row, in memory first.
#[derive(Default)]
struct Rows {
    rows: BTreeMap<(Table, Vec<Value>), Columns>,
}

impl Rows {
    fn add(&mut self, change: RowChange) {
        let row = self.rows.entry((change.table, change.key)).or_default();
        for (column, merge, value) in change.columns {
            match row.entry(column) {
                std::collections::btree_map::Entry::Vacant(free) => {
                    free.insert((merge, value));
                }
                std::collections::btree_map::Entry::Occupied(mut held) => {
                    if merge.replaces(&held.get().1, &value) {
                        held.insert((merge, value));
                    }
                }
            }
        }
    }

    fn changes(self) -> Vec<RowChange> {
        let change = |((table, key), columns): ((Table, Vec<Value>), BTreeMap<_, _>)| RowChange {
            table,
            key,
            columns: columns.into_iter().map(|(column, (merge, value))| (column, merge, value)).collect(),
        };
        self.rows.into_iter().map(change).collect()
    }
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
