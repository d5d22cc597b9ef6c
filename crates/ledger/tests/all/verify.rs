//! Chains, tampering and lost streams.

use super::support::{Kind, Logs, happy_path};
use millrace_events::Log;
use millrace_ledger::{Ledger, verify};

on_both!(
    s4_ci4_an_altered_row_is_found_by_position,
    an_altered_stream_is_found_by_position_and_field,
    a_stream_that_lost_events_is_found,
);

async fn ledger(kind: &Kind, logs: &Logs) -> Ledger {
    let ledger = kind.ledger().await;
    let _ = ledger.apply_entries(&logs.entries(false)).await.unwrap();
    ledger
}

fn logs() -> Logs {
    let mut logs = Logs::default();
    (1..=5).for_each(|number| {
        happy_path(&mut logs, &format!("VTID-{number:05}"));
    });
    logs
}

async fn s4_ci4_an_altered_row_is_found_by_position(kind: &Kind) {
    let logs = logs();
    let ledger = ledger(kind, &logs).await;
    let good = verify(&ledger, &logs).await.unwrap();
    assert_eq!((good.events, good.difference), (50, None));
    // Somebody with the rights to it switches the guard off and changes a row.
    let (off, stream) = match kind {
        Kind::Sqlite(_) => ("DROP TRIGGER events_fixed", Log::Worker.stream(0)),
        Kind::Postgres => ("ALTER TABLE events DISABLE TRIGGER events_fixed", Log::Worker.stream(0)),
    };
    ledger.execute_raw(off).await.unwrap();
    let alter = format!("UPDATE events SET headers = '[]' WHERE stream = '{stream}' AND sequence = 3");
    ledger.execute_raw(&alter).await.unwrap();
    let found = verify(&ledger, &logs).await.unwrap().difference.unwrap();
    assert_eq!((found.stream.as_str(), found.sequence, found.field), (stream.as_str(), 3, "headers"));
    // Also where the stream is gone and only the chain can tell.
    let mut archived = logs.clone();
    archived.streams.get_mut(&stream).unwrap().drain(..5);
    let found = verify(&ledger, &archived).await.unwrap().difference.unwrap();
    assert_eq!((found.stream.as_str(), found.sequence, found.field), (stream.as_str(), 3, "hash"));
}

async fn an_altered_stream_is_found_by_position_and_field(kind: &Kind) {
    let logs = logs();
    let ledger = ledger(kind, &logs).await;
    let stream = Log::Deployer.stream(0);
    let mut altered = logs.clone();
    altered.streams.get_mut(&stream).unwrap()[6].payload.push(0);
    let found = verify(&ledger, &altered).await.unwrap().difference.unwrap();
    assert_eq!((found.stream.as_str(), found.sequence, found.field), (stream.as_str(), 7, "payload"));
    let mut holed = logs.clone();
    holed.streams.get_mut(&stream).unwrap().remove(6);
    let found = verify(&ledger, &holed).await.unwrap().difference.unwrap();
    assert_eq!((found.sequence, found.field), (7, "message"));
}

async fn a_stream_that_lost_events_is_found(kind: &Kind) {
    let mut logs = logs();
    let ledger = ledger(kind, &logs).await;
    let stream = Log::Dispatcher.stream(0);
    let at = |logs: &Logs, sequence: u64| logs.streams[&stream].get(sequence as usize - 1).cloned();
    assert_eq!(ledger.regression(&stream, 10, at(&logs, 10).as_ref()).await.unwrap(), None);
    let held = logs.streams.get_mut(&stream).unwrap();
    held.truncate(8);
    let regression = ledger.regression(&stream, 8, None).await.unwrap().unwrap();
    assert_eq!((regression.ledger_sequence, regression.stream_sequence), (10, 8));
    let found = verify(&ledger, &logs).await.unwrap().difference.unwrap();
    assert_eq!((found.stream.as_str(), found.sequence, found.field), (stream.as_str(), 9, "last_sequence"));
    // Grown again past the checkpoint with other events.
    for number in 91..=92 {
        happy_path(&mut logs, &format!("VTID-{number:05}"));
    }
    let regression = ledger.regression(&stream, 12, at(&logs, 10).as_ref()).await.unwrap();
    assert!(regression.unwrap().message.contains("is not the message"));
}
