//! What becomes of dead letters.

use std::collections::{BTreeMap, BTreeSet};

use millrace_decider::Cause;
use millrace_events::{Event, Log, OperatorEvent};

use crate::evidence::{Evidence, letters};

/// A dead letter begins with a failure; each replay that somebody asked for has one answer at most, in their order;
/// one that was handled is done with. What lies in a log can be handled: its bytes are good.
pub fn a_dead_letter_is_handled_once(evidence: &Evidence) -> Result<(), String> {
    let mut asked: BTreeMap<(Cause, String), BTreeSet<u64>> = BTreeMap::new();
    for logged in evidence.events(Log::Operator) {
        if let Event::Operator(OperatorEvent::DeadLetterReplayRequested(event)) = logged.event {
            let letter = (Cause::new(event.stream, event.sequence), event.service);
            asked.entry(letter).or_default().insert(logged.sequence);
        }
    }
    for letter in letters(evidence.messages(Log::DeadLetter)).into_values() {
        let name = format!("the dead letter {} of {}", letter.message, letter.service);
        let is_of_a_log = Log::from_stream(&letter.message.stream).is_some();
        if letter.goes_on {
            return Err(format!("{name} was handled, and more is recorded: {:?}", letter.records));
        }
        if letter.records.first() != Some(&0) || !letter.records.is_sorted_by(|one, next| one < next) {
            return Err(format!("{name} has records of {:?}", letter.records));
        }
        let failed = letter.records.len() - usize::from(letter.handled);
        if is_of_a_log && failed > 1 {
            return Err(format!("{name} could not be handled again: {:?}", letter.records));
        }
        let asked = asked.get(&(letter.message, letter.service));
        let is_asked_for = |replay: &&u64| asked.is_some_and(|asked| asked.contains(replay));
        if let Some(replay) = letter.records.iter().skip(1).find(|replay| !is_asked_for(replay)) {
            return Err(format!("{name} answers {replay}, and nobody asked"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::test_kit::{History, asked_to_replay, given_up, replayed};

    #[test]
    fn a_letter_that_is_handled_twice_or_unasked_is_found() {
        let dead = History::new().event("letter", given_up(0));
        assert_eq!(a_dead_letter_is_handled_once(&dead.clone().evidence()), Ok(()));
        let unasked = dead.clone().event("letter", replayed(1)).evidence();
        assert!(a_dead_letter_is_handled_once(&unasked).is_err());
        let asked = dead.event("letter", asked_to_replay()).event("letter", asked_to_replay());
        let once = asked.clone().event("letter", replayed(1));
        assert_eq!(a_dead_letter_is_handled_once(&once.clone().evidence()), Ok(()));
        let twice = once.event("letter", replayed(2)).evidence();
        assert!(a_dead_letter_is_handled_once(&twice).is_err());
        let failed = asked.event("letter", given_up(1)).evidence();
        assert!(a_dead_letter_is_handled_once(&failed).is_err());
    }
}
