//! The ledger's rows in memory: the same batches, transactions and guard as in a database, without SQL.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use millrace_decider::Cause;
use millrace_ledger::{
    Checkpoint, LedgerError, Linked, RowChange, Status, StatusChange, Step, Store, Table, Transaction, Value,
};
use tokio::sync::OwnedMutexGuard;

use crate::gate::Gate;

/// Everything that a ledger holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Image {
    /// Rows of all tables but the tasks' status.
    pub rows: BTreeMap<(Table, Vec<Value>), BTreeMap<&'static str, Value>>,
    /// Status and run of each task, with the columns that go with them.
    pub tasks: BTreeMap<String, TaskRow>,
    /// Events by place.
    pub events: BTreeMap<Cause, EventRow>,
    /// Checkpoints by stream.
    pub checkpoints: BTreeMap<String, Checkpoint>,
}

/// The part of a task's row that only moves under the guard.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRow {
    /// Status.
    pub status: Status,
    /// Run.
    pub run: u32,
    /// The other columns.
    pub columns: BTreeMap<&'static str, Value>,
}

/// A stored event.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Hash of the chain up to it.
    pub hash: String,
    /// Logical clock.
    pub clock: i64,
    /// Why it changed nothing, by name.
    pub mark: Option<(&'static str, String)>,
    /// Its cause was not there.
    pub cause_missing: bool,
}

/// The transitions of the database's guard (migrations, trigger `tasks_status`).
pub fn may_become(from: (Status, u32), to: (Status, u32)) -> bool {
    use Status::{Active, Blocked, Cancelled, Complete, Failed, Pending};
    let ((from, run), (to, next)) = (from, to);
    if next == run + 1 {
        return matches!(from, Failed | Cancelled | Blocked) && to == Pending;
    }
    let is_step = match from {
        Pending => matches!(to, Active | Failed | Blocked | Cancelled),
        Active => matches!(to, Complete | Failed | Blocked | Cancelled),
        Blocked => matches!(to, Active | Failed | Cancelled),
        Complete | Failed | Cancelled => false,
    };
    next == run && is_step
}

/// A ledger that outlives its projectors.
#[derive(Clone, Default)]
pub struct MemoryLedger {
    image: Arc<Mutex<Image>>,
    writer: Arc<tokio::sync::Mutex<()>>,
}

impl MemoryLedger {
    /// What it holds now.
    pub fn image(&self) -> Image {
        self.lock().clone()
    }

    /// Where each stream stands, with the hash of its chain.
    pub fn checkpoints(&self) -> BTreeMap<String, Checkpoint> {
        self.lock().checkpoints.clone()
    }

    /// Where each stream stands.
    pub fn applied(&self) -> BTreeMap<String, u64> {
        self.lock().checkpoints.iter().map(|(stream, found)| (stream.clone(), found.sequence)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ledger as one life of one projector reaches it; without a gate nothing happens to it.
pub struct Connection {
    /// The ledger.
    pub ledger: MemoryLedger,
    /// Who writes.
    pub gate: Option<Gate>,
}

/// What is about to be written.
pub struct Pending {
    ledger: MemoryLedger,
    gate: Option<Gate>,
    tasks: BTreeMap<String, TaskRow>,
    rows: Vec<RowChange>,
    events: Vec<(Cause, EventRow)>,
    checkpoints: Vec<Checkpoint>,
    _writer: OwnedMutexGuard<()>,
}

#[async_trait]
impl Store for Connection {
    type Transaction = Pending;

    async fn begin(&self) -> Result<Pending, LedgerError> {
        step(self.gate.as_ref(), "before the ledger").await;
        let writer = self.ledger.writer.clone().lock_owned().await;
        let tasks = self.ledger.lock().tasks.clone();
        Ok(Pending {
            ledger: self.ledger.clone(),
            gate: self.gate.clone(),
            tasks,
            rows: Vec::new(),
            events: Vec::new(),
            checkpoints: Vec::new(),
            _writer: writer,
        })
    }
}

async fn step(gate: Option<&Gate>, place: &'static str) {
    if let Some(gate) = gate {
        gate.step(place).await;
    }
}

impl Pending {
    fn take(&mut self, change: &StatusChange) -> Result<(), String> {
        // In run 1, as a row that another log has made.
        let new = || TaskRow { status: Status::Pending, run: 1, columns: BTreeMap::new() };
        let mut row = self.tasks.get(&change.task).cloned().unwrap_or_else(new);
        let step_to = |row: &mut TaskRow, status: Status, run: u32| {
            let (from, to) = ((row.status, row.run), (status, run));
            if !may_become(from, to) {
                return Err(format!("STATE_MISMATCH: {from:?} > {to:?} is not allowed"));
            }
            (row.status, row.run) = to;
            Ok(())
        };
        if change.step != Step::Stay && row.run != change.run {
            step_to(&mut row, Status::Pending, change.run)?;
        }
        if row.run != change.run {
            return Err(not_present(change));
        }
        match change.step {
            Step::Continue if row.status != Status::Active => step_to(&mut row, Status::Active, change.run)?,
            Step::Become(status) => step_to(&mut row, status, change.run)?,
            // The trigger `tasks_finished`: the columns of a run that is over stay as they are.
            _ if row.status.is_final() && !change.columns.is_empty() => {
                return Err(format!("STATE_MISMATCH: run {} of {} is over", row.run, change.task));
            }
            Step::Open | Step::Continue | Step::Stay => {}
        }
        row.columns.extend(change.columns.iter().cloned());
        self.tasks.insert(change.task.clone(), row);
        Ok(())
    }
}

fn not_present(change: &StatusChange) -> String {
    format!("STATE_MISMATCH: run {} of {} is not its present run", change.run, change.task)
}

#[async_trait]
impl Transaction for Pending {
    async fn checkpoints(&mut self) -> Result<BTreeMap<String, Checkpoint>, LedgerError> {
        Ok(self.ledger.lock().checkpoints.clone())
    }

    async fn clocks(&mut self, places: &[&Cause]) -> Result<BTreeMap<Cause, i64>, LedgerError> {
        let image = self.ledger.lock();
        let known =
            places.iter().filter_map(|place| Some(((*place).clone(), image.events.get(*place)?.clock)));
        Ok(known.collect())
    }

    async fn take_step(&mut self, change: &StatusChange) -> Result<Option<String>, LedgerError> {
        Ok(self.take(change).err())
    }

    async fn write_rows(&mut self, rows: Vec<RowChange>) -> Result<(), LedgerError> {
        step(self.gate.as_ref(), "before rows are written").await;
        self.rows.extend(rows);
        Ok(())
    }

    async fn write_events(&mut self, events: &[Linked<'_>]) -> Result<(), LedgerError> {
        step(self.gate.as_ref(), "before events are written").await;
        for Linked { entry, hash, clock, mark } in events {
            let place = Cause::new(&entry.stored.stream, entry.stored.sequence);
            if self.ledger.lock().events.contains_key(&place) {
                // A database refuses it by its key.
                return Err(LedgerError::Gap {
                    stream: place.stream,
                    expected: place.sequence + 1,
                    found: place.sequence,
                });
            }
            let mark = mark.as_ref().map(|(mark, note)| (mark.name(), note.clone()));
            let row =
                EventRow { hash: hash.clone(), clock: *clock, mark, cause_missing: entry.cause_missing };
            self.events.push((place, row));
        }
        Ok(())
    }

    async fn advance(&mut self, before: Option<&Checkpoint>, now: &Checkpoint) -> Result<bool, LedgerError> {
        step(self.gate.as_ref(), "before a checkpoint").await;
        let stands = self.ledger.lock().checkpoints.get(&now.stream) == before;
        if stands {
            self.checkpoints.push(now.clone());
        }
        Ok(stands)
    }

    async fn commit(self) -> Result<(), LedgerError> {
        step(self.gate.as_ref(), "before a commit").await;
        {
            let mut image = self.ledger.lock();
            image.tasks = self.tasks;
            for change in self.rows {
                let row = image.rows.entry((change.table, change.key)).or_default();
                for (column, merge, value) in change.columns {
                    if row.get(column).is_none_or(|held| merge.replaces(held, &value)) {
                        row.insert(column, value);
                    }
                }
            }
            image.events.extend(self.events);
            let moved = self.checkpoints.into_iter().map(|found| (found.stream.clone(), found));
            image.checkpoints.extend(moved);
        }
        step(self.gate.as_ref(), "after a commit").await;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The guard of the migrations, read from the schema itself.
    #[test]
    fn the_guard_is_that_of_the_migrations() {
        let schema = include_str!("../../../migrations/sqlite/0002_tasks.sql");
        let guard = schema.split("TRIGGER tasks_status").nth(1).unwrap();
        let (same, next) = guard.split_once("OLD.run + 1").unwrap();
        let (next, _) = next.split_once("BEGIN").unwrap();
        for from in Status::ALL {
            for to in Status::ALL {
                let pair = format!("('{}', '{}')", from.name(), to.name());
                assert_eq!(may_become((from, 1), (to, 1)), same.contains(&pair), "{pair} in one run");
                assert_eq!(may_become((from, 1), (to, 2)), next.contains(&pair), "{pair} to the next run");
            }
        }
    }
}
