//! The canonical dump.

use super::support::{Kind, Logs, acknowledged, completed, failed, happy_path, scheduled};
use millrace_events::{Code, v1};
use millrace_ledger::{Ledger, rebuild};

on_both!(s0_5_5_rebuilt_and_live_ledgers_dump_the_same_bytes, the_order_between_logs_leaves_no_trace);

/// Tasks that end in every way, with refused transitions and late news.
fn logs() -> Logs {
    let mut logs = Logs::default();
    for number in 1..=30 {
        happy_path(&mut logs, &format!("VTID-{number:05}"));
    }
    for number in 31..=40 {
        let task = format!("VTID-{number:05}");
        let cause = logs.append(&task, None, scheduled(&task, 1));
        let cause = logs.append(&task, Some(&cause), failed(&task, 1, Code::ExecutionTimeout));
        logs.append(&task, Some(&cause), completed(&task, 1));
        let cause = logs.append(&task, Some(&cause), scheduled(&task, 2));
        // Late, and of run 1: may be applied before or after run 2 was opened.
        logs.append(&task, None, acknowledged(&task, 1));
        logs.append(&task, Some(&cause), acknowledged(&task, 2));
        logs.append(&task, None, v1::PauseRequested { task: task.clone(), run: 2, ..Default::default() });
    }
    let insight = v1::InsightPublished { group: "group-1".to_owned(), count: 10, ..Default::default() };
    logs.append("group-1", None, insight);
    logs
}

async fn dump(ledger: &Ledger) -> String {
    let mut bytes = Vec::new();
    let lines = ledger.export(&mut bytes).await.unwrap().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.lines().count() as u64, lines);
    text.lines().for_each(|line| assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}"));
    text
}

async fn s0_5_5_rebuilt_and_live_ledgers_dump_the_same_bytes(kind: &Kind) {
    let logs = logs();
    let live = kind.ledger().await;
    for batch in logs.entries(false).chunks(13) {
        let _ = live.apply_entries(batch).await.unwrap();
    }
    let fresh = Ledger::open(&kind.url()).await.unwrap();
    let rebuilt = rebuild(&fresh, &logs, &logs.names(), None).await.unwrap();
    assert_eq!(rebuilt.applied, live.applied().await.unwrap());
    let first = dump(&live).await;
    assert_eq!(dump(&fresh).await, first);
    assert!(first.contains("STATE_MISMATCH"));

    // The other database, and a rebuild in two steps.
    let folder = tempfile::tempdir().unwrap();
    let other = match kind {
        Kind::Sqlite(_) => Kind::Postgres,
        Kind::Postgres => Kind::Sqlite(folder),
    };
    let other = other.ledger().await;
    let half = live.applied().await.unwrap().into_iter().map(|(stream, last)| (stream, last / 2)).collect();
    let _ = rebuild(&other, &logs, &logs.names(), Some(&half)).await.unwrap();
    assert_ne!(dump(&other).await, first);
    let _ = rebuild(&other, &logs, &logs.names(), None).await.unwrap();
    // What waited for a cause behind the half way is the only thing that may look different: it does not.
    assert_eq!(dump(&other).await, first);
}

async fn the_order_between_logs_leaves_no_trace(kind: &Kind) {
    let logs = logs();
    let (one, two) = (kind.ledger().await, kind.ledger().await);
    let (forth, back) = (logs.entries(false), logs.entries(true));
    let places = |entries: &[millrace_ledger::Entry]| -> Vec<_> {
        entries.iter().map(|entry| (entry.stored.stream.clone(), entry.stored.sequence)).collect()
    };
    assert_ne!(places(&forth), places(&back), "two different orders");
    let _ = one.apply_entries(&forth).await.unwrap();
    for batch in back.chunks(5) {
        let _ = two.apply_entries(batch).await.unwrap();
    }
    assert_eq!(dump(&one).await, dump(&two).await);
}
