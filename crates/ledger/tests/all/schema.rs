//! Migrations.

use super::support::Kind;
use millrace_ledger::{CORE_TABLES, CORE_TRIGGERS, Ledger, LedgerError};

on_both!(
    s0_1_a_a_second_migration_changes_nothing,
    s2_c5_core_tables_and_triggers_are_listed_and_missed,
    events_are_only_appended,
);

async fn s0_1_a_a_second_migration_changes_nothing(kind: &Kind) {
    let ledger = Ledger::open(&kind.url()).await.unwrap();
    let empty = ledger.schema_hash().await.unwrap();
    ledger.migrate().await.unwrap();
    let first = ledger.schema_hash().await.unwrap();
    ledger.migrate().await.unwrap();
    assert_eq!(ledger.schema_hash().await.unwrap(), first);
    assert_ne!(first, empty);
    // The same from another empty database; and the hash sees a change.
    let other = kind.ledger().await;
    assert_eq!(other.schema_hash().await.unwrap(), first);
    other.execute_raw("CREATE INDEX extra ON tasks (title)").await.unwrap();
    assert_ne!(other.schema_hash().await.unwrap(), first);
}

async fn s2_c5_core_tables_and_triggers_are_listed_and_missed(kind: &Kind) {
    let ledger = kind.ledger().await;
    let found = ledger.check_schema().await.unwrap();
    for name in CORE_TABLES.iter().chain(&CORE_TRIGGERS) {
        assert!(found.iter().any(|found| found == name), "{name} in {found:?}");
    }
    let drop = match kind {
        Kind::Sqlite(_) => "DROP TRIGGER tasks_status",
        Kind::Postgres => "DROP TRIGGER tasks_status ON tasks",
    };
    ledger.execute_raw(drop).await.unwrap();
    let error = ledger.check_schema().await.unwrap_err();
    assert!(matches!(&error, LedgerError::Schema(missing) if missing == &["tasks_status"]), "{error}");
}

async fn events_are_only_appended(kind: &Kind) {
    let ledger = kind.ledger().await;
    let mut logs = super::support::Logs::default();
    super::support::happy_path(&mut logs, "VTID-00001");
    let _ = ledger.apply_entries(&logs.entries(false)).await.unwrap();
    for sql in ["UPDATE events SET note = 'x'", "DELETE FROM events"] {
        let error =
            std::error::Error::source(&ledger.execute_raw(sql).await.unwrap_err()).unwrap().to_string();
        assert!(error.contains("only appended"), "{sql}: {error}");
    }
}
