//! The way back of a stream that has lost events: from the bytes and headers that the ledger keeps.
//!
//! Nothing is ever written over: a stream that lacks only its end gets it back behind what it holds. A stream
//! that holds something else than the ledger remembers is surveyed here, and replaced by whoever may.

use async_trait::async_trait;

use crate::verify::{compare, messages};
use crate::{Checkpoint, Extent, GENESIS, Ledger, LedgerError, StoredEvent, StreamReader, link};

/// Events that are compared or written at a time.
const PAGE: usize = 200;

/// Writes to the streams of the logs.
#[async_trait]
pub trait StreamWriter: Send + Sync {
    /// Appends the event with its subject, headers and bytes, unless it stands at its sequence already; the
    /// sequence that it has got.
    async fn write(&self, event: &StoredEvent) -> Result<u64, WriteError>;
}

/// Why an event could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the event could not be written")]
pub struct WriteError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// How a stream stands against the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The stream.
    pub stream: String,
    /// How far the ledger has it.
    pub ledger: u64,
    /// What the stream holds.
    pub extent: Extent,
    /// Where the stream holds something else than the ledger, or nothing, in order; not what it lacks at its
    /// end.
    pub diverged: Vec<Diverged>,
    /// The last sequence that an event of any log names as its cause.
    pub named: u64,
}

/// A place where a stream is not what the ledger remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diverged {
    /// The sequence.
    pub sequence: u64,
    /// Another message stands there; `false`: nothing does, or nothing that the server can read.
    pub holds: bool,
}

impl Survey {
    /// First and last sequence of the ledger that the stream lacks at its end.
    pub fn lacking(&self) -> Option<(u64, u64)> {
        (self.extent.last < self.ledger).then_some((self.extent.last + 1, self.ledger))
    }

    /// Whether the stream holds all that the ledger has of it, and nothing else up to there.
    pub fn is_whole(&self) -> bool {
        self.diverged.is_empty() && self.lacking().is_none()
    }

    /// Whether the stream goes on behind what the ledger has, on the same history.
    pub fn goes_on(&self) -> bool {
        self.extent.last > self.ledger
            && self.diverged.last().is_none_or(|diverged| diverged.sequence != self.ledger)
    }

    /// First and last sequence that other logs speak of, and that neither stream nor ledger has.
    pub fn lost_for_good(&self) -> Option<(u64, u64)> {
        let known = self.ledger.max(self.extent.last);
        (self.named > known).then_some((known + 1, self.named))
    }
}

/// Why a stream was not brought back.
#[derive(Debug, thiserror::Error)]
pub enum ReseedError {
    /// The ledger could not be read, or the stream.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger's own chain is broken: what it would write is not what was stored.
    #[error("the ledger itself was changed at {stream}:{sequence}; nothing can be written back from it")]
    Damaged {
        /// The stream.
        stream: String,
        /// The first event whose hash is wrong.
        sequence: u64,
    },
    /// The stream refused an event.
    #[error("{stream}:{sequence} could not be written back")]
    Write {
        /// The stream.
        stream: String,
        /// The sequence that was to be written.
        sequence: u64,
        /// Why.
        source: WriteError,
    },
    /// Somebody else wrote to the stream meanwhile.
    #[error("{stream}:{sequence} was written at {found}: somebody else writes to the stream")]
    Elsewhere {
        /// The stream.
        stream: String,
        /// Where it belongs.
        sequence: u64,
        /// Where it stands now.
        found: u64,
    },
}

/// Compares a whole stream with the ledger, whose own chain is checked on the way.
pub async fn survey(ledger: &Ledger, reader: &dyn StreamReader, stream: &str) -> Result<Survey, ReseedError> {
    let checkpoint = ledger.checkpoints().await?.into_iter().find(|found| found.stream == stream);
    let extent = reader.extent(stream).await.map_err(LedgerError::from)?;
    let named = ledger.last_named(stream).await?;
    let mut survey = Survey { stream: stream.to_owned(), ledger: 0, extent, diverged: Vec::new(), named };
    let Some(Checkpoint { sequence, .. }) = checkpoint else { return Ok(survey) };
    survey.ledger = sequence;
    let (mut after, mut hash) = (0, GENESIS.to_owned());
    while after < sequence {
        let page = ledger.stored_events(stream, after, PAGE).await?;
        if page.is_empty() {
            break;
        }
        let held = messages(reader, &page, extent).await?;
        for (event, kept_hash) in page.iter().take_while(|(event, _)| event.sequence <= sequence) {
            hash = link(&hash, event);
            if hash != *kept_hash || (after > 0 && event.sequence != after + 1) {
                return Err(ReseedError::Damaged { stream: stream.to_owned(), sequence: event.sequence });
            }
            after = event.sequence;
            if after < extent.first || after > extent.last {
                continue;
            }
            let message = held.get(&after);
            if message.is_none_or(|message| compare(event, message).is_some()) {
                survey.diverged.push(Diverged { sequence: after, holds: message.is_some() });
            }
        }
        if page.last().is_some_and(|(last, _)| last.sequence >= sequence) {
            break;
        }
    }
    Ok(survey)
}

/// Writes what a surveyed stream lacks at its end, in order, each event at the sequence that it had. How many
/// were written; `progress` hears of each. Cut short anywhere, a new survey goes on from there.
///
/// The caller has seen that nothing diverges.
pub async fn append_missing(
    ledger: &Ledger,
    writer: &dyn StreamWriter,
    survey: &Survey,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<u64, ReseedError> {
    let Some((first, last)) = survey.lacking() else { return Ok(0) };
    let (mut after, mut written) = (first.saturating_sub(1), 0);
    while after < last {
        let page = ledger.stored_events(&survey.stream, after, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for (event, _) in page.iter().take_while(|(event, _)| event.sequence <= last) {
            let (stream, sequence) = (event.stream.clone(), event.sequence);
            let found = writer.write(event).await.map_err(|source| ReseedError::Write {
                stream: stream.clone(),
                sequence,
                source,
            })?;
            if found != sequence {
                return Err(ReseedError::Elsewhere { stream, sequence, found });
            }
            (after, written) = (sequence, written + 1);
            progress(sequence);
        }
    }
    Ok(written)
}
