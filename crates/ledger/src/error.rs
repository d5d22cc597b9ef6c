//! What can go wrong with a ledger.

/// Why the ledger did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The URL names no database that the ledger knows.
    #[error("`{0}` is no ledger: expected sqlite://<path> or postgres://<host>/<database>")]
    Url(String),
    /// The database refused or did not answer.
    #[error("the ledger's database: {operation}")]
    Database {
        /// What was asked of it.
        operation: String,
        /// What it answered.
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("the ledger's schema could not be migrated")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A core table or trigger is missing after the migration (S2-C5).
    #[error("the ledger's schema lacks {}", .0.join(", "))]
    Schema(Vec<String>),
    /// Somebody else has advanced the checkpoint meanwhile; nothing was written. Read the checkpoints again.
    #[error("another projector has advanced {stream}; nothing was written")]
    Overtaken {
        /// The stream.
        stream: String,
    },
    /// The events do not follow the checkpoint; nothing was written.
    #[error("{stream}: expected sequence {expected}, got {found}; events in between are missing")]
    Gap {
        /// The stream.
        stream: String,
        /// The sequence after the checkpoint.
        expected: u64,
        /// The sequence that came.
        found: u64,
    },
    /// A page token of another query, or none of ours.
    #[error(transparent)]
    PageToken(#[from] crate::PageTokenError),
    /// The stream of a log could not be read.
    #[error("a log could not be read")]
    Read(#[from] crate::ReadError),
}

impl LedgerError {
    /// For `map_err`: what was asked for, with the database's answer.
    pub(crate) fn database(operation: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Self {
        let operation = operation.into();
        move |source| Self::Database { operation, source }
    }

    /// Whether the ledger's own guard refused it: a transition of status that is not allowed. The sentence.
    pub(crate) fn refusal(&self) -> Option<String> {
        let Self::Database { source: sqlx::Error::Database(error), .. } = self else { return None };
        // PostgreSQL: our own SQLSTATE. SQLite: SQLITE_CONSTRAINT_TRIGGER with our prefix.
        let from_guard = matches!(error.code().as_deref(), Some("MR001" | "1811"));
        let message = error.message();
        (from_guard && message.starts_with("STATE_MISMATCH")).then(|| message.to_owned())
    }
}
