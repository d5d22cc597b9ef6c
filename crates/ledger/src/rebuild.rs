//! A fresh ledger from the logs.

use std::collections::BTreeMap;

use crate::{CauseOrder, Entry, Ledger, LedgerError, StreamReader};

/// Events of one stream that are held in memory at most, and events that are applied at a time.
const WINDOW: usize = 1_000;

/// What was rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Rebuilt {
    /// Events that were applied.
    pub events: u64,
    /// Events that were stored but changed nothing.
    pub marked: u64,
    /// The last applied sequence of each stream.
    pub applied: BTreeMap<String, u64>,
}

/// Applies all events of `streams` to `target`, which is migrated first: up to the sequences in `until`, or
/// to where each stream ends now. On a target that holds something already it goes on from there.
pub async fn rebuild(
    target: &Ledger,
    reader: &dyn StreamReader,
    streams: &[String],
    until: Option<&BTreeMap<String, u64>>,
) -> Result<Rebuilt, LedgerError> {
    target.migrate().await?;
    let applied = target.applied().await?;
    let mut order = CauseOrder::new(streams.iter().map(String::as_str), &applied);
    let mut sources = Vec::new();
    for stream in streams {
        let extent = reader.extent(stream).await?;
        let end = until.map_or(extent.last, |until| until.get(stream).copied().unwrap_or(0).min(extent.last));
        let next = applied.get(stream).copied().unwrap_or(0) + 1;
        sources.push(Source { stream, next: next.max(extent.first), end });
    }
    let mut rebuilt = Rebuilt { events: 0, marked: 0, applied };
    loop {
        for source in &mut sources {
            source.fill(&mut order, reader).await?;
        }
        let batch = order.take(WINDOW);
        if batch.is_empty() {
            if order.is_empty() {
                return Ok(rebuilt);
            }
            // Nothing can move: the cause lies behind what the streams hold, or in a circle that only a
            // restored stream can make.
            let ends: BTreeMap<_, _> = sources.iter().map(|source| (source.stream, source.end)).collect();
            let waiting = order.waiting();
            let beyond = |cause: &str, sequence: u64| ends.get(cause).is_none_or(|end| sequence > *end);
            let stuck = waiting.iter().find(|head| beyond(&head.cause.stream, head.cause.sequence));
            if let Some(head) = stuck.or(waiting.first()) {
                order.release(&head.stream);
            }
            continue;
        }
        let outcome = target.apply_entries(&batch).await?;
        rebuilt.events += outcome.applied;
        rebuilt.marked += outcome.marked.len() as u64;
        rebuilt.applied.extend(outcome.checkpoints);
    }
}

struct Source<'a> {
    stream: &'a str,
    next: u64,
    end: u64,
}

impl Source<'_> {
    async fn fill(&mut self, order: &mut CauseOrder, reader: &dyn StreamReader) -> Result<(), LedgerError> {
        while self.next <= self.end && order.queued(self.stream) < WINDOW {
            let found = reader.read(self.stream, self.next, WINDOW).await?;
            let Some(last) = found.last() else {
                // The stream says that it goes on, but holds nothing there.
                self.next = self.end + 1;
                break;
            };
            self.next = last.sequence + 1;
            found.into_iter().filter(|event| event.sequence <= self.end).map(Entry::read).for_each(|entry| {
                order.push(entry);
            });
        }
        Ok(())
    }
}
