//! Streams that are behind the ledger: they have lost acknowledged events.

use crate::{Checkpoint, GENESIS, Ledger, LedgerError, StoredEvent, link};

/// A stream that is not what the ledger remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regression {
    /// The stream.
    pub stream: String,
    /// How far the ledger has applied it.
    pub ledger_sequence: u64,
    /// The stream's last sequence.
    pub stream_sequence: u64,
    /// What is wrong, in a sentence.
    pub message: String,
}

impl Ledger {
    /// Compares what the ledger remembers of `stream` with the stream: its last sequence, and the message
    /// that it holds at the ledger's checkpoint (`None` when it holds none there).
    pub async fn regression(
        &self,
        stream: &str,
        last: u64,
        at_checkpoint: Option<&StoredEvent>,
    ) -> Result<Option<Regression>, LedgerError> {
        let Some(checkpoint) = self.checkpoints().await?.into_iter().find(|found| found.stream == stream)
        else {
            return Ok(None);
        };
        let Checkpoint { sequence, hash, .. } = checkpoint;
        let regressed = |message: String| {
            Some(Regression {
                stream: stream.to_owned(),
                ledger_sequence: sequence,
                stream_sequence: last,
                message,
            })
        };
        if last < sequence {
            return Ok(regressed(format!(
                "{stream} ends at {last}, but {sequence} had been stored and applied"
            )));
        }
        let Some(message) = at_checkpoint.filter(|message| message.sequence == sequence) else {
            return Ok(None);
        };
        let before = self.stored_events(stream, sequence.saturating_sub(2), 1).await?;
        let before = before.into_iter().find(|(event, _)| event.sequence + 1 == sequence);
        let before = before.map_or_else(|| GENESIS.to_owned(), |(_, hash)| hash);
        if link(&before, message) == hash {
            return Ok(None);
        }
        Ok(regressed(format!(
            "{stream}:{sequence} is not the message that had been stored and applied there"
        )))
    }
}
