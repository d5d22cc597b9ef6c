//! I1 and I2: what a writer was told is stored stands there; a key is one chain.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_events::{Envelope, Log};

use crate::evidence::Evidence;

const EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";
const MESSAGE_ID: &str = "Nats-Msg-Id";
/// How long message ids are remembered.
const WINDOW: Duration = Duration::from_secs(120);

/// I1: every append that was acknowledged to its writer is in the stream, with the same bytes.
pub fn acknowledged_appends_are_stored(evidence: &Evidence) -> Result<(), String> {
    for told in &evidence.acknowledged {
        let Some(messages) = evidence.streams.get(&told.stream) else { continue };
        let stored = messages.iter().find(|stored| stored.sequence == told.sequence);
        let place =
            format!("{}:{} ({}, written by {})", told.stream, told.sequence, told.subject, told.process);
        match stored {
            None => return Err(format!("{place} was acknowledged and is not there")),
            Some(stored) if stored.subject != told.subject || stored.payload != told.payload => {
                // The same message id inside the window may name bytes of an earlier time.
                if stored.header(MESSAGE_ID).is_none() {
                    return Err(format!("{place} was acknowledged and holds other bytes"));
                }
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// I2: in a service's log every message follows the one before it on its subject, as it was written to.
pub fn every_key_is_one_chain(evidence: &Evidence) -> Result<(), String> {
    for log in own_logs() {
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for stored in evidence.messages(log) {
            let before = last.insert(&stored.subject, stored.sequence).unwrap_or(0);
            let expected = stored.header(EXPECTED_LAST).and_then(|text| text.parse::<u64>().ok());
            if expected != Some(before) {
                return Err(format!(
                    "{}:{} on {} follows {before}, but was written after {expected:?}",
                    stored.stream, stored.sequence, stored.subject
                ));
            }
        }
    }
    Ok(())
}

/// I2: one decision is one message, and a message id inside its window is one message.
pub fn every_event_is_written_once(evidence: &Evidence) -> Result<(), String> {
    for log in own_logs() {
        let mut ids = BTreeSet::new();
        for stored in evidence.messages(log) {
            let Ok(envelope) = Envelope::decode(&stored.payload) else {
                return Err(format!("{}:{} is no event", stored.stream, stored.sequence));
            };
            if !ids.insert(envelope.id.clone()) {
                return Err(format!(
                    "{}:{} ({}) has the id of an earlier event",
                    stored.stream,
                    stored.sequence,
                    envelope.name()
                ));
            }
        }
    }
    for log in Log::ALL.into_iter().filter(|log| log.has_message_ids()) {
        let mut seen = BTreeMap::new();
        for stored in evidence.messages(log) {
            let Some(id) = stored.header(MESSAGE_ID) else { continue };
            if let Some(earlier) = seen.insert(id, stored.time)
                && stored.time.since(earlier) < WINDOW
            {
                return Err(format!("{}:{} repeats the message id {id}", stored.stream, stored.sequence));
            }
        }
    }
    Ok(())
}

/// Logs that rest on the expected sequence.
fn own_logs() -> impl Iterator<Item = Log> {
    let is_own = |log: &Log| !log.has_message_ids() && !matches!(log, Log::DeadLetter | Log::Projector);
    Log::ALL.into_iter().filter(is_own)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::history::Acknowledged;
    use crate::invariants::test_kit::{History, issued};

    #[test]
    fn an_acknowledged_append_that_is_gone_or_changed_is_found() {
        let mut evidence = History::new().event("VTID-01001", issued("o", 1)).evidence();
        let stored = evidence.messages(Log::Dispatcher)[0].clone();
        let told = Acknowledged {
            process: "dispatcher".to_owned(),
            stream: stored.stream.clone(),
            subject: stored.subject.clone(),
            sequence: 1,
            payload: stored.payload.clone(),
        };
        evidence.acknowledged.push(told.clone());
        assert_eq!(acknowledged_appends_are_stored(&evidence), Ok(()));
        evidence.acknowledged.push(Acknowledged { payload: b"other".to_vec(), ..told.clone() });
        assert!(acknowledged_appends_are_stored(&evidence).unwrap_err().contains("other bytes"));
        evidence.acknowledged = vec![Acknowledged { sequence: 2, ..told }];
        assert!(acknowledged_appends_are_stored(&evidence).unwrap_err().contains("not there"));
    }

    #[test]
    fn a_fork_in_a_key_is_found() {
        let history = History::new().event("VTID-01001", issued("o", 1)).event("VTID-01001", issued("p", 1));
        assert_eq!(every_key_is_one_chain(&history.clone().evidence()), Ok(()));
        let mut evidence = history.evidence();
        let stream = Log::Dispatcher.stream(0);
        evidence.streams.get_mut(&stream).unwrap()[1].headers[0].1 = "0".to_owned();
        assert!(every_key_is_one_chain(&evidence).unwrap_err().contains("follows 1"));
    }

    #[test]
    fn a_decision_that_was_written_twice_is_found() {
        let mut evidence =
            History::new().event("VTID-01001", issued("o", 1)).event("VTID-01001", issued("p", 1)).evidence();
        assert_eq!(every_event_is_written_once(&evidence), Ok(()));
        let stream = evidence.streams.get_mut(&Log::Dispatcher.stream(0)).unwrap();
        stream[1].payload = stream[0].payload.clone();
        assert!(every_event_is_written_once(&evidence).unwrap_err().contains("earlier event"));
    }
}
