//! Whether a stream still holds what the ledger has of it.

use millrace_ledger::{GENESIS, Missing, StoredEvent, link};

use crate::adapters::stored_event;
use crate::domain::Lost;
use crate::effects::ReadFailure;
use crate::projection::Projector;

/// Tasks that a notice names.
const NAMED_TASKS: u32 = 20;

/// What a difference between a stream and the ledger is.
pub(crate) enum Confirmed {
    /// The stream has lost something.
    Lost(Lost),
    /// The ledger's own chain is broken there.
    LedgerChanged,
    /// None: a follower of the stream had not got the message yet.
    Nothing,
}

impl Projector {
    /// Compares a stream's end, and its message at the ledger's checkpoint, with what the ledger remembers.
    /// A stream that is not there is an error: a server that is being stopped or has just started says so.
    pub(crate) async fn look_at_end(&self, stream: &str) -> Result<Option<Lost>, ReadFailure> {
        // Before the stream's end is read, so that an event that is applied meanwhile is no loss.
        let Some(applied) = self.ledger.applied().await?.get(stream).copied() else { return Ok(None) };
        let last = self.broker.stream_state(stream).await?.last;
        self.compare_end(stream, applied, last).await
    }

    /// What a stream that is not there any more has lost; `None`: the ledger has nothing of it.
    pub(crate) async fn look_at_nothing(&self, stream: &str) -> Result<Option<Lost>, ReadFailure> {
        match self.ledger.applied().await?.get(stream).copied() {
            Some(applied) => self.compare_end(stream, applied, 0).await,
            None => Ok(None),
        }
    }

    async fn compare_end(&self, stream: &str, applied: u64, last: u64) -> Result<Option<Lost>, ReadFailure> {
        let message =
            if last < applied { None } else { self.broker.get(stream, applied).await?.map(stored_event) };
        let found = self.ledger.regression(stream, last, message.as_ref()).await?;
        // Where the checkpoint has moved since, the next look tells.
        if let Some(found) = found.filter(|found| found.ledger_sequence == applied) {
            let mut lost = Lost {
                stream: found.stream,
                ledger_sequence: applied,
                stream_sequence: last,
                message: found.message,
                tasks: String::new(),
            };
            if last < applied {
                let missing = self.ledger.missing(stream, last + 1, applied, NAMED_TASKS).await?;
                lost.message = format!(
                    "{}; {} events are missing, {} to {applied}",
                    lost.message,
                    missing.events,
                    last + 1
                );
                lost.tasks = names(&missing);
            }
            return Ok(Some(lost));
        }
        let next = self.broker.read(stream, None, applied + 1, 1).await;
        let next = next?.first().map_or(applied + 1, |next| next.sequence);
        Ok((next > applied + 1).then(|| Lost {
            stream: stream.to_owned(),
            ledger_sequence: applied,
            stream_sequence: last,
            message: format!("{stream} holds {next}, but nothing from {} on before it", applied + 1),
            tasks: String::new(),
        }))
    }

    /// A place where a walk has found a difference, looked at again at the stream's leader.
    pub(crate) async fn confirm(&self, stream: &str, sequence: u64) -> Result<Confirmed, ReadFailure> {
        let kept = self.ledger.stored_events(stream, sequence.saturating_sub(2), 2).await?;
        let before = kept.iter().find(|(kept, _)| kept.sequence + 1 == sequence);
        let before = before.map_or(GENESIS, |(_, hash)| hash.as_str());
        let Some((kept, hash)) = kept.iter().find(|(kept, _)| kept.sequence == sequence) else {
            return Ok(Confirmed::LedgerChanged);
        };
        if link(before, kept) != *hash {
            return Ok(Confirmed::LedgerChanged);
        }
        let message = self.broker.get(stream, sequence).await?.map(stored_event);
        let problem = match &message {
            Some(message) if is_same(kept, message) => return Ok(Confirmed::Nothing),
            Some(_) => "is not the message that had been stored and applied there",
            None => "had been stored and applied, and cannot be read any more",
        };
        let missing = self.ledger.missing(stream, sequence, sequence, NAMED_TASKS).await?;
        Ok(Confirmed::Lost(Lost {
            stream: stream.to_owned(),
            ledger_sequence: self.ledger.applied().await?.get(stream).copied().unwrap_or(0),
            stream_sequence: self.broker.stream_state(stream).await?.last,
            message: format!("{stream}:{sequence} {problem}"),
            tasks: names(&missing),
        }))
    }

    /// Whether a message that comes again is the one that the ledger has at its sequence.
    pub(crate) async fn is_known(&self, message: &StoredEvent) -> Result<bool, ReadFailure> {
        let before = message.sequence.saturating_sub(1);
        let kept = self.ledger.stored_events(&message.stream, before, 1).await?;
        let kept = kept.into_iter().find(|(kept, _)| kept.sequence == message.sequence);
        // What is read and not yet applied is compared when it comes again after that.
        Ok(kept.is_none_or(|(kept, _)| is_same(&kept, message)))
    }

    /// A stream that has lost something is left alone until the watchdog has seen it whole.
    pub(crate) fn leave_alone(&self, stream: &str) {
        let is_new = self.status.send_if_modified(|status| status.regressed.insert(stream.to_owned()));
        if is_new {
            tracing::error!(stream, "the stream is not what the ledger remembers; it is not followed");
        }
    }
}

fn is_same(kept: &StoredEvent, message: &StoredEvent) -> bool {
    let mut headers = message.headers.clone();
    headers.sort();
    kept.subject == message.subject && kept.headers == headers && kept.payload == message.payload
}

fn names(missing: &Missing) -> String {
    let names = missing.tasks.join(", ");
    if missing.tasks.len() < NAMED_TASKS as usize { names } else { format!("{names} and perhaps more") }
}
