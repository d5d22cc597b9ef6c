//! The seam to the two databases: one SQL text, values and rows that fit both.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value as Json;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Postgres, Row as _, Sqlite, SqlitePool, Transaction,
};

use crate::LedgerError;
use crate::fold::Value;

/// How long to wait for a connection, and for another writer of the same SQLite file.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest statement on PostgreSQL; SQLite's are bounded by their pages.
const STATEMENT_TIMEOUT_MS: &str = "60000";
/// Readers at a time.
const READERS: u32 = 8;
/// One writer at a time, among all projectors of one PostgreSQL ledger: rows appear in the order of their
/// ids, so whoever watches by id misses none.
const WRITER_LOCK: i64 = 0x6d69_6c6c_7261_6365;

/// Connections to one database.
pub(crate) enum Database {
    /// One connection that writes, several that read.
    Sqlite { writer: SqlitePool, readers: SqlitePool },
    /// One pool.
    Postgres(PgPool),
}

/// A transaction that writes. Dropping it rolls it back.
pub(crate) enum Write {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// A row of either database.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! bound {
    ($sql:expr, $values:expr) => {{
        // All values go through binding; the text is put together from names in this crate only.
        let mut query = sqlx::query(AssertSqlSafe($sql));
        for value in $values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Int(int) => query.bind(int),
                Value::Bytes(bytes) => query.bind(bytes),
                Value::Null => query.bind(None::<i64>),
            };
        }
        query
    }};
}

impl Database {
    /// Connects. `sqlite://<path>` makes the file if it is missing.
    pub(crate) async fn open(url: &str) -> Result<Self, LedgerError> {
        if url.starts_with("sqlite:") {
            open_sqlite(url).await
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            open_postgres(url).await
        } else {
            // No more than the scheme: the rest may hold a password.
            Err(LedgerError::Url(url.split(':').next().unwrap_or_default().chars().take(40).collect()))
        }
    }

    pub(crate) const fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Reads, outside any transaction.
    pub(crate) async fn fetch(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, LedgerError> {
        match self {
            Self::Sqlite { readers, .. } => {
                rows(bound!(sql, values).fetch_all(readers).await, Row::Sqlite, sql)
            }
            Self::Postgres(pool) => rows(bound!(sql, values).fetch_all(pool).await, Row::Postgres, sql),
        }
    }

    /// Runs one statement on its own; for tests and tools that go past the ledger.
    pub(crate) async fn execute(&self, sql: &str) -> Result<u64, LedgerError> {
        let none: [Value; 0] = [];
        match self {
            Self::Sqlite { writer, .. } => {
                bound!(sql, none).execute(writer).await.map(|done| done.rows_affected())
            }
            Self::Postgres(pool) => bound!(sql, none).execute(pool).await.map(|done| done.rows_affected()),
        }
        .map_err(LedgerError::database(shortened(sql)))
    }

    /// Begins to write, as the only one.
    pub(crate) async fn begin(&self) -> Result<Write, LedgerError> {
        let failed = || LedgerError::database("begin to write");
        match self {
            Self::Sqlite { writer, .. } => {
                writer.begin_with("BEGIN IMMEDIATE").await.map(Write::Sqlite).map_err(failed())
            }
            Self::Postgres(pool) => {
                let mut write = Write::Postgres(pool.begin().await.map_err(failed())?);
                write.fetch("SELECT pg_advisory_xact_lock($1)", vec![Value::Int(WRITER_LOCK)]).await?;
                Ok(write)
            }
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Write {
    /// Runs a statement; how many rows it touched.
    pub(crate) async fn execute(&mut self, sql: &str, values: Vec<Value>) -> Result<u64, LedgerError> {
        match self {
            Self::Sqlite(tx) => bound!(sql, values).execute(&mut **tx).await.map(|done| done.rows_affected()),
            Self::Postgres(tx) => {
                bound!(sql, values).execute(&mut **tx).await.map(|done| done.rows_affected())
            }
        }
        .map_err(LedgerError::database(shortened(sql)))
    }

    /// Reads what the transaction sees.
    pub(crate) async fn fetch(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, LedgerError> {
        match self {
            Self::Sqlite(tx) => rows(bound!(sql, values).fetch_all(&mut **tx).await, Row::Sqlite, sql),
            Self::Postgres(tx) => rows(bound!(sql, values).fetch_all(&mut **tx).await, Row::Postgres, sql),
        }
    }

    /// Makes it last.
    pub(crate) async fn commit(self) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
        .map_err(LedgerError::database("commit"))
    }
}

impl Row {
    pub(crate) fn text(&self, column: &str) -> Result<String, LedgerError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(LedgerError::database(column))
    }

    pub(crate) fn int(&self, column: &str) -> Result<i64, LedgerError> {
        Ok(self.maybe_int(column)?.unwrap_or_default())
    }

    pub(crate) fn maybe_int(&self, column: &str) -> Result<Option<i64>, LedgerError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(LedgerError::database(column))
    }

    /// A count or sequence.
    pub(crate) fn count(&self, column: &str) -> Result<u64, LedgerError> {
        Ok(u64::try_from(self.int(column)?).unwrap_or(0))
    }

    /// A small count, such as a run.
    pub(crate) fn small(&self, column: &str) -> Result<u32, LedgerError> {
        Ok(u32::try_from(self.int(column)?).unwrap_or(0))
    }

    /// All columns but `left_out`, as JSON: numbers, texts and null.
    pub(crate) fn all(&self, left_out: &[&str]) -> Result<BTreeMap<String, Json>, LedgerError> {
        let names: Vec<String> = match self {
            Self::Sqlite(row) => row.columns().iter().map(|column| column.name().to_owned()).collect(),
            Self::Postgres(row) => row.columns().iter().map(|column| column.name().to_owned()).collect(),
        };
        let kept = names.into_iter().filter(|name| !left_out.contains(&name.as_str()));
        kept.map(|name| {
            // Columns are numbers or texts; a text does not read as a number.
            let value = match self.maybe_int(&name) {
                Ok(int) => Json::from(int),
                Err(_) => Json::from(self.text(&name)?),
            };
            Ok((name, value))
        })
        .collect()
    }

    pub(crate) fn bytes(&self, column: &str) -> Result<Vec<u8>, LedgerError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(LedgerError::database(column))
    }
}

async fn open_sqlite(url: &str) -> Result<Database, LedgerError> {
    let failed = || LedgerError::database("open the SQLite file");
    let options = SqliteConnectOptions::from_str(url)
        .map_err(failed())?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // An acknowledged event may not be lost to a power cut (reliability: FULL kept all, NORMAL did not).
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(ACQUIRE_TIMEOUT);
    let pool =
        SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).idle_timeout(None).max_lifetime(None);
    // A full disk makes SQLite roll back by itself, and sqlx then counts on a transaction that is not there:
    // such a connection would refuse to begin another one for ever. It is replaced.
    let writer = pool
        .clone()
        .max_connections(1)
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        .connect_with(options.clone())
        .await
        .map_err(failed())?;
    // `query_only`, not a read-only file: a reader of a WAL must be able to touch its shared memory.
    let readers = pool
        .max_connections(READERS)
        .connect_with(options.pragma("query_only", "ON"))
        .await
        .map_err(failed())?;
    Ok(Database::Sqlite { writer, readers })
}

async fn open_postgres(url: &str) -> Result<Database, LedgerError> {
    let failed = || LedgerError::database("connect to PostgreSQL");
    let options = PgConnectOptions::from_str(url)
        .map_err(failed())?
        .application_name("millrace")
        .options([("statement_timeout", STATEMENT_TIMEOUT_MS)]);
    let pool = PgPoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).max_connections(READERS + 2);
    Ok(Database::Postgres(pool.connect_with(options).await.map_err(failed())?))
}

fn rows<R>(
    found: Result<Vec<R>, sqlx::Error>,
    wrap: fn(R) -> Row,
    sql: &str,
) -> Result<Vec<Row>, LedgerError> {
    Ok(found.map_err(LedgerError::database(shortened(sql)))?.into_iter().map(wrap).collect())
}

fn shortened(sql: &str) -> String {
    sql.chars().take(160).collect()
}
