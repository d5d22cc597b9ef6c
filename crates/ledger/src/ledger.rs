//! A ledger: one database with the schema of `migrations/`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::LedgerError;
use crate::database::{Database, Row};
use crate::schema;

/// How often somebody who waits looks again, when another process writes.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// An open ledger. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    /// Counts the batches that this process has written.
    written: watch::Sender<u64>,
}

/// How far a stream has been applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The stream.
    pub stream: String,
    /// Last applied sequence.
    pub sequence: u64,
    /// Hash of its chain up to and with that sequence, in hex.
    pub hash: String,
    /// Logical clock of that event.
    pub clock: i64,
}

impl Ledger {
    /// Connects: `sqlite://<path>` (made if it is missing) or `postgres://<user>@<host>/<database>`. Does not
    /// touch the schema; see [`Ledger::migrate`].
    pub async fn open(url: &str) -> Result<Self, LedgerError> {
        let database = Database::open(url).await?;
        Ok(Self { inner: Arc::new(Inner { database, written: watch::Sender::new(0) }) })
    }

    /// Brings the schema up to date and checks it. A second run changes nothing (S0-1.a).
    pub async fn migrate(&self) -> Result<(), LedgerError> {
        schema::migrate(self.database()).await?;
        self.check_schema().await.map(|_| ())
    }

    /// Names of the tables and triggers that stand; an error when a core one is missing (S2-C5).
    pub async fn check_schema(&self) -> Result<Vec<String>, LedgerError> {
        schema::check(self.database()).await
    }

    /// SHA-256 over the definitions of all tables, indexes and triggers, in hex.
    pub async fn schema_hash(&self) -> Result<String, LedgerError> {
        schema::hash(self.database()).await
    }

    /// Runs one statement as it is, past the ledger but not past the database's guards: for drills and for
    /// tests of those guards. How many rows it touched.
    pub async fn execute_raw(&self, sql: &str) -> Result<u64, LedgerError> {
        self.database().execute(sql).await
    }

    /// Every stream with its checkpoint.
    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>, LedgerError> {
        let sql = "SELECT stream, sequence, hash, clock FROM checkpoints ORDER BY stream";
        self.database().fetch(sql, Vec::new()).await?.iter().map(Checkpoint::read).collect()
    }

    /// The last applied sequence of each stream: what every answer reflects.
    pub async fn applied(&self) -> Result<BTreeMap<String, u64>, LedgerError> {
        Ok(self.checkpoints().await?.into_iter().map(|found| (found.stream, found.sequence)).collect())
    }

    /// Waits until `stream` is applied up to `sequence`; `false` when `bound` passes first. For
    /// read-your-writes (S2-F2).
    pub async fn wait_for(&self, stream: &str, sequence: u64, bound: Duration) -> Result<bool, LedgerError> {
        let deadline = Instant::now() + bound;
        let mut written = self.written();
        loop {
            written.mark_unchanged();
            let applied = self.applied().await?;
            if applied.get(stream).is_some_and(|applied| *applied >= sequence) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            // Either this process writes, or the time to look again has come.
            let _woken = timeout(left.min(LOOK_AGAIN), written.changed()).await;
        }
    }

    /// Changes with every batch that this process writes, for those who watch.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.inner.written.subscribe()
    }

    /// Closes its connections; queries that run are finished first.
    pub async fn close(&self) {
        self.database().close().await;
    }

    pub(crate) fn database(&self) -> &Database {
        &self.inner.database
    }

    pub(crate) fn announce(&self) {
        self.inner.written.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.database().is_postgres() { "postgres" } else { "sqlite" };
        f.debug_struct("Ledger").field("database", &kind).finish_non_exhaustive()
    }
}

impl Checkpoint {
    pub(crate) fn read(row: &Row) -> Result<Self, LedgerError> {
        Ok(Self {
            stream: row.text("stream")?,
            sequence: row.count("sequence")?,
            hash: row.text("hash")?,
            clock: row.int("clock")?,
        })
    }
}
