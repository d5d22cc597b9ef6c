//! The ledger: the read model of all logs, in SQLite or PostgreSQL, and the only crate that knows SQL.
//!
//! ```text
//! events of the logs -> CauseOrder (no effect before its cause) -> fold (pure: row changes)
//!                    -> apply (rows and checkpoints in one transaction) -> queries
//! ```
//! Every event is kept with its original headers and bytes and a hash chain per stream, so that a lost
//! stream can be seeded again and a changed one is found. DESIGN section 7.

mod apply;
mod batch;
mod cause_order;
mod chain;
mod database;
mod entry;
mod error;
mod export;
mod fold;
mod ledger;
mod read;
mod rebuild;
mod regression;
mod reseed;
mod schema;
mod verify;
mod write;

pub use batch::{ApplyOutcome, Linked, Mark, Store, Transaction, apply};
pub use cause_order::{CauseOrder, Waiting};
pub use chain::{GENESIS, link};
pub use entry::{Entry, StoredEvent};
pub use error::LedgerError;
pub use fold::{Change, Fact, Merge, RowChange, Stage, Status, StatusChange, Step, Table, Value, fold};
pub use ledger::{Checkpoint, Ledger};
pub use read::{
    DeadLetterFilter, DeadLetterRow, EventRow, FailureFilter, FailureRow, InsightRow, OverdueTask, Page,
    PageTokenError, PhaseRow, SpecRow, TaskFilter, TaskRow, WorkOrderFilter, WorkOrderRow,
};
pub use rebuild::{Rebuilt, rebuild};
pub use regression::{Missing, Regression};
pub use reseed::{Diverged, ReseedError, StreamWriter, Survey, WriteError, append_missing, survey};
pub use schema::{CORE_TABLES, CORE_TRIGGERS};
pub use verify::{Difference, Extent, ReadError, StreamReader, Verified, Walk, verify, verify_stream};
