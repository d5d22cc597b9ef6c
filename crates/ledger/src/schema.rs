//! The schema: migrated from one place, checked after every migration.

use sha2::{Digest as _, Sha256};
use sqlx::migrate::Migrator;

use crate::LedgerError;
use crate::database::{Database, Row};

static SQLITE: Migrator = sqlx::migrate!("../../migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("../../migrations/postgres");

/// Tables without which there is no ledger.
pub const CORE_TABLES: [&str; 13] = [
    "checkpoints",
    "dead_letters",
    "events",
    "failures",
    "insights",
    "model_calls",
    "operator_actions",
    "phases",
    "runs",
    "specs",
    "tasks",
    "transition_refusals",
    "work_orders",
];

/// Triggers without which it has no guards.
pub const CORE_TRIGGERS: [&str; 6] =
    ["events_fixed", "events_keep", "tasks_begin", "tasks_finished", "tasks_keep", "tasks_status"];

pub(crate) async fn migrate(database: &Database) -> Result<(), LedgerError> {
    match database {
        Database::Sqlite { writer, .. } => SQLITE.run(writer).await?,
        Database::Postgres(pool) => POSTGRES.run(pool).await?,
    }
    Ok(())
}

pub(crate) async fn check(database: &Database) -> Result<Vec<String>, LedgerError> {
    let sql = if database.is_postgres() {
        "SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema() \
         UNION SELECT t.tgname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
         WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND c.relnamespace = current_schema()::regnamespace \
         ORDER BY 1"
    } else {
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'trigger') ORDER BY name"
    };
    let found = names(&database.fetch(sql, Vec::new()).await?)?;
    let core = CORE_TABLES.iter().chain(&CORE_TRIGGERS);
    let missing: Vec<String> = core
        .filter(|name| !found.iter().any(|found| found == *name))
        .map(|name| (*name).to_owned())
        .collect();
    if missing.is_empty() { Ok(found) } else { Err(LedgerError::Schema(missing)) }
}

pub(crate) async fn hash(database: &Database) -> Result<String, LedgerError> {
    let sql = if database.is_postgres() {
        "SELECT name FROM ( \
            SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable \
                || ' ' || COALESCE(column_default, '') || ' ' || COALESCE(generation_expression, '') \
                || ' ' || COALESCE(collation_name, '') AS name \
            FROM information_schema.columns WHERE table_schema = current_schema() \
                AND table_name <> '_sqlx_migrations' \
            UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = current_schema() \
                AND tablename <> '_sqlx_migrations' \
            UNION ALL SELECT 'trigger ' || pg_get_triggerdef(t.oid) FROM pg_trigger t \
                JOIN pg_class c ON c.oid = t.tgrelid \
                WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace \
            UNION ALL SELECT 'function ' || pg_get_functiondef(p.oid) FROM pg_proc p \
                WHERE p.pronamespace = current_schema()::regnamespace AND p.prokind = 'f' \
         ) AS parts ORDER BY name COLLATE \"C\""
    } else {
        "SELECT type || ' ' || name || ' ' || COALESCE(sql, '') AS name FROM sqlite_master \
         WHERE tbl_name <> '_sqlx_migrations' ORDER BY name"
    };
    let mut hash = Sha256::new();
    for name in names(&database.fetch(sql, Vec::new()).await?)? {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name.as_bytes());
    }
    Ok(hex::encode(hash.finalize()))
}

fn names(rows: &[Row]) -> Result<Vec<String>, LedgerError> {
    rows.iter().map(|row| row.text("name")).collect()
}
