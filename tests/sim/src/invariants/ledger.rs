//! I4 and I5: the ledger follows from the logs, however they were read.

use futures::FutureExt as _;
use millrace_events::Log;
use millrace_ledger::{CauseOrder, Entry, GENESIS, Mark, apply, link};

use crate::evidence::Evidence;
use crate::ledger::{Connection, Image, MemoryLedger};
use crate::projector::{stored_event, streams};

/// I4: the ledger that was written live, with every crash and in whatever batches, is the one that is made anew
/// from the first event on.
pub fn the_live_ledger_is_the_rebuilt_one(evidence: &Evidence) -> Result<(), String> {
    let rebuilt = rebuilt(evidence)?;
    let live = &evidence.ledger;
    for (place, row) in &rebuilt.events {
        match live.events.get(place) {
            Some(found) if found == row => {}
            found => return Err(format!("event {place} is {found:?} live and {row:?} rebuilt")),
        }
    }
    for (task, row) in &rebuilt.tasks {
        if live.tasks.get(task) != Some(row) {
            return Err(format!("{task} is {:?} live and {row:?} rebuilt", live.tasks.get(task)));
        }
    }
    for (key, row) in &rebuilt.rows {
        if live.rows.get(key) != Some(row) {
            return Err(format!("{key:?} is {:?} live and {row:?} rebuilt", live.rows.get(key)));
        }
    }
    if *live == rebuilt { Ok(()) } else { Err("the live ledger has more than the rebuilt one".to_owned()) }
}

/// I5: the chain of each log, made anew from its messages, is the one in the ledger.
pub fn chains_verify(evidence: &Evidence) -> Result<(), String> {
    for (stream, messages) in &evidence.streams {
        let mut hash = GENESIS.to_owned();
        let reached = evidence.ledger.checkpoints.get(stream);
        let up_to = reached.map_or(0, |found| found.sequence);
        for stored in messages.iter().filter(|stored| stored.sequence <= up_to) {
            hash = link(&hash, &stored_event(stored));
        }
        if let Some(reached) = reached.filter(|reached| reached.hash != hash) {
            return Err(format!("the chain of {stream} is {} at {up_to}, not {hash}", reached.hash));
        }
    }
    Ok(())
}

/// I6: no event in the logs is one that the ledger's guard refuses, and none lacks its cause.
pub fn the_ledger_refused_nothing(evidence: &Evidence) -> Result<(), String> {
    for (place, row) in &evidence.ledger.events {
        if let Some((mark, note)) = &row.mark {
            let is_alarm = *mark == Mark::StateMismatch.name() || *mark == Mark::Invalid.name();
            if is_alarm {
                return Err(format!("{place} is marked {mark}: {note}"));
            }
        }
        // The cause of a deadline's dead letter stands in no log.
        if row.cause_missing && Log::from_stream(&place.stream) != Some(Log::DeadLetter) {
            return Err(format!("the cause of {place} was never there"));
        }
    }
    Ok(())
}

fn rebuilt(evidence: &Evidence) -> Result<Image, String> {
    let names = streams();
    let mut order = CauseOrder::new(names.iter().map(String::as_str), &Default::default());
    for messages in evidence.streams.values() {
        for stored in messages {
            order.push(Entry::read(stored_event(stored)));
        }
    }
    let ledger = MemoryLedger::default();
    let connection = Connection { ledger: ledger.clone(), gate: None };
    loop {
        let batch = order.take(usize::MAX);
        if batch.is_empty() {
            let Some(head) = order.waiting().into_iter().next() else { return Ok(ledger.image()) };
            order.release(&head.stream);
            continue;
        }
        // Without a gate nothing in it waits.
        match apply(&connection, &batch).now_or_never() {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(format!("the logs cannot be applied anew: {error}")),
            None => return Err("the rebuild stood still".to_owned()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::invariants::test_kit::{History, completed, scheduled};
    use crate::ledger::TaskRow;
    use millrace_ledger::Status;

    fn good() -> Evidence {
        let history = History::new().event("VTID-01001", scheduled(1)).event("VTID-01001", completed(1));
        let mut evidence = history.evidence();
        evidence.ledger = rebuilt(&evidence).unwrap();
        evidence
    }

    #[test]
    fn a_ledger_that_lacks_or_has_other_rows_is_found() {
        assert_eq!(the_live_ledger_is_the_rebuilt_one(&good()), Ok(()));
        let mut lacks = good();
        lacks.ledger.events.pop_last();
        assert!(the_live_ledger_is_the_rebuilt_one(&lacks).is_err());
        let mut differs = good();
        let row = TaskRow { status: Status::Failed, run: 1, columns: Default::default() };
        differs.ledger.tasks.insert("VTID-01001".to_owned(), row);
        assert!(the_live_ledger_is_the_rebuilt_one(&differs).is_err());
    }

    #[test]
    fn a_changed_message_breaks_its_chain() {
        assert_eq!(chains_verify(&good()), Ok(()));
        let mut changed = good();
        for stored in changed.streams.values_mut().flatten() {
            stored.payload.push(0);
        }
        assert!(chains_verify(&changed).is_err());
    }

    #[test]
    fn a_transition_that_the_guard_refused_is_found() {
        assert_eq!(the_ledger_refused_nothing(&good()), Ok(()));
        let history = History::new().event("VTID-01001", completed(1)).event("VTID-01001", completed(1));
        let mut evidence = history.evidence();
        evidence.ledger = rebuilt(&evidence).unwrap();
        assert!(the_ledger_refused_nothing(&evidence).unwrap_err().contains("STATE_MISMATCH"));
    }
}
