//! A small projector: reads all logs, orders by cause, applies in batches of any size. The order and the
//! batches are the ledger's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_events::Log;
use millrace_ledger::{CauseOrder, Entry, LedgerError, StoredEvent, apply};
use millrace_runtime::broker::{Broker, BrokerError, Stored};

use crate::gate::Gate;
use crate::ledger::{Connection, MemoryLedger};

/// Messages read at once.
const WINDOW: usize = 64;

/// Every stream of every log.
pub fn streams() -> Vec<String> {
    Log::ALL.into_iter().map(|log| log.stream(0)).collect()
}

/// A message as the ledger takes it.
pub fn stored_event(stored: &Stored) -> StoredEvent {
    StoredEvent {
        stream: stored.stream.clone(),
        subject: stored.subject.clone(),
        sequence: stored.sequence,
        time: stored.time,
        headers: stored.headers.clone(),
        payload: stored.payload.clone(),
    }
}

/// One life of a projector.
pub async fn run(broker: Arc<dyn Broker>, ledger: MemoryLedger, gate: Gate) {
    let streams = streams();
    let applied = ledger.applied();
    let mut next: BTreeMap<String, u64> = streams
        .iter()
        .map(|stream| (stream.clone(), applied.get(stream).copied().unwrap_or(0) + 1))
        .collect();
    let mut order = CauseOrder::new(streams.iter().map(String::as_str), &applied);
    let connection = Connection { ledger, gate: Some(gate.clone()) };
    while !gate.stop().is_cancelled() {
        let mut moved = false;
        for stream in &streams {
            let from = next.get(stream).copied().unwrap_or(1);
            let Ok(found) = broker.read(stream, None, from, WINDOW).await else { continue };
            for stored in found {
                next.insert(stream.clone(), stored.sequence + 1);
                order.push(Entry::read(stored_event(&stored)));
                moved = true;
            }
            // Not all are read before the first are applied.
            if gate.dice().chance(2_000) {
                break;
            }
        }
        let limit = 1 + usize::try_from(gate.dice().below(30)).unwrap_or(0);
        let batch = order.take(limit);
        if !batch.is_empty() {
            apply_all(&connection, &mut order, batch, &gate).await;
        } else if !moved {
            release(broker.as_ref(), &mut order).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            gate.pass().await;
        }
    }
}

async fn apply_all(connection: &Connection, order: &mut CauseOrder, mut batch: Vec<Entry>, gate: &Gate) {
    while !batch.is_empty() {
        match apply(connection, &batch).await {
            Ok(outcome) => {
                gate.weather()
                    .history
                    .tell(gate.name(), || format!("applied up to {:?}", outcome.checkpoints));
                return;
            }
            Err(LedgerError::Overtaken { .. }) => {
                let applied = connection.ledger.applied();
                let is_new = |entry: &Entry| {
                    applied.get(&entry.stored.stream).is_none_or(|applied| entry.stored.sequence > *applied)
                };
                batch.retain(is_new);
                order.skip_to(&applied);
            }
            Err(error) => {
                gate.weather().history.trouble(gate.name(), format!("the ledger refuses a batch: {error}"));
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Lets go of heads whose cause is not in its stream and will not come.
async fn release(broker: &dyn Broker, order: &mut CauseOrder) {
    for head in order.waiting() {
        let gone = match broker.stream_state(&head.cause.stream).await {
            Ok(state) => head.cause.sequence > state.last,
            Err(BrokerError::Missing { .. }) => true,
            Err(_) => false,
        };
        if gone {
            order.release(&head.stream);
        }
    }
}
