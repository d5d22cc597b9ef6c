//! Which dead letter a request to read it again is about, and the event that it becomes.

use millrace_decider::{Cause, Timestamp};
use millrace_events::{Code, Envelope, Key, Log, Service, submission_id, v1 as events};
use millrace_rpc::v1;

use super::RequestError;
use super::request::reason;

/// The place that a request names.
pub(crate) fn place(position: Option<&v1::Position>) -> Result<Cause, RequestError> {
    match position {
        Some(position) if !position.stream.is_empty() && position.sequence > 0 => {
            Ok(Cause::new(position.stream.clone(), position.sequence))
        }
        _ => Err(RequestError::Field("position", "names no message: a stream and a sequence".to_owned())),
    }
}

/// The letter that is meant, of those that are recorded for one message: the named service's, or the only
/// one that is not handled. `None`: there is none.
pub(crate) fn meant<'a>(
    letters: &'a [v1::DeadLetter],
    service: &str,
) -> Result<Option<&'a v1::DeadLetter>, RequestError> {
    let is_open = |letter: &&v1::DeadLetter| letter.state() != v1::DeadLetterState::Handled;
    let candidates: Vec<&v1::DeadLetter> =
        letters.iter().filter(|letter| service.is_empty() || letter.service == service).collect();
    let open: Vec<&v1::DeadLetter> = candidates.iter().copied().filter(is_open).collect();
    match (candidates.as_slice(), open.as_slice()) {
        ([], _) => Ok(None),
        (_, [letter]) => Ok(Some(letter)),
        ([handled, ..], []) => {
            let place = handled.position.clone().unwrap_or_default();
            let sentence = format!("{}:{} is handled already", place.stream, place.sequence);
            Err(RequestError::Refused(Code::StateMismatch, sentence))
        }
        (_, several) => {
            let names: Vec<&str> = several.iter().map(|letter| letter.service.as_str()).collect();
            let problem = format!("several gave up on this message, name one: {}", names.join(", "));
            Err(RequestError::Field("service", problem))
        }
    }
}

/// The event that asks the letter's service to read the message again. Its id is made of the letter and of
/// how often it was given up: a resend before the answer is the same request, and the next one is not.
pub(crate) fn replay_event(
    message: &Cause,
    letter: &v1::DeadLetter,
    text: &str,
    actor: &str,
    now: Timestamp,
) -> Result<Envelope, RequestError> {
    let key = Key::dead_letter(message, &letter.service);
    let id = submission_id(Log::Operator.name(), &format!("{key}\nreplay\n{}", letter.failures));
    let event = events::DeadLetterReplayRequested {
        stream: message.stream.clone(),
        sequence: message.sequence,
        service: letter.service.clone(),
        actor: actor.to_owned(),
        reason: reason(text)?,
    };
    Ok(Envelope::new(id.to_string(), Service::Query.source(), key, now, &event.into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn letter(service: &str, state: v1::DeadLetterState) -> v1::DeadLetter {
        v1::DeadLetter {
            position: Some(v1::Position { stream: "MILLRACE_WORKER_0".to_owned(), sequence: 7 }),
            service: service.to_owned(),
            state: state as i32,
            failures: 1,
            ..v1::DeadLetter::default()
        }
    }

    #[test]
    fn the_only_open_letter_needs_no_name() {
        use v1::DeadLetterState::{Handled, Open, ReplayRequested};
        let letters = [letter("validator", Handled), letter("deployer", Open)];
        assert_eq!(meant(&letters, "").unwrap().unwrap().service, "deployer");
        assert_eq!(meant(&letters, "worker").unwrap(), None);
        let handled = meant(&letters, "validator").unwrap_err();
        assert!(matches!(&handled, RequestError::Refused(Code::StateMismatch, sentence)
            if sentence == "MILLRACE_WORKER_0:7 is handled already"));
        let letters = [letter("validator", ReplayRequested), letter("deployer", Open)];
        let several = meant(&letters, "").unwrap_err();
        assert!(matches!(several, RequestError::Field("service", problem)
            if problem.ends_with("validator, deployer")));
    }

    #[test]
    fn a_resend_is_the_same_request_until_it_has_failed_again() {
        let message = Cause::new("MILLRACE_WORKER_0", 7);
        let mut asked = letter("deployer", v1::DeadLetterState::Open);
        let event = |letter: &v1::DeadLetter, at: i64| {
            replay_event(&message, letter, "mended", "ada", Timestamp::from_millis(at)).unwrap()
        };
        let first = event(&asked, 1);
        assert_eq!(first.id, event(&asked, 2).id);
        assert_eq!(first.key, Key::dead_letter(&message, "deployer"));
        asked.failures = 2;
        assert_ne!(first.id, event(&asked, 3).id);
    }
}
