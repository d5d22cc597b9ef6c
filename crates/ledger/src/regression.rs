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
            return Ok(regressed(format!(
                "{stream}:{sequence} had been stored and applied, and is not there"
            )));
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

/// Events of the ledger that a stream does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missing {
    /// How many.
    pub events: u64,
    /// The tasks that they are about, sorted; at most as many as were asked for.
    pub tasks: Vec<String>,
}

impl Ledger {
    /// Counts the ledger's events of `stream` from `first` to `last`, and names up to `limit` tasks.
    pub async fn missing(
        &self,
        stream: &str,
        first: u64,
        last: u64,
        limit: u32,
    ) -> Result<Missing, LedgerError> {
        let place = || vec![stream.into(), first.into(), last.into()];
        let between = "FROM events WHERE stream = $1 AND sequence >= $2 AND sequence <= $3";
        let counted = self.database().fetch(&format!("SELECT COUNT(*) AS n {between}"), place()).await?;
        let events = counted.first().map_or(Ok(0), |row| row.count("n"))?;
        let sql = format!("SELECT DISTINCT task {between} AND task <> '' ORDER BY task LIMIT {limit}");
        let rows = self.database().fetch(&sql, place()).await?;
        let tasks = rows.iter().map(|row| row.text("task")).collect::<Result<_, _>>()?;
        Ok(Missing { events, tasks })
    }

    /// The last sequence of `stream` that an event of any log names as its cause; 0: none. Where the stream
    /// and the ledger both end before it, events are lost for good.
    pub async fn last_named(&self, stream: &str) -> Result<u64, LedgerError> {
        let sql = "SELECT cause_sequence AS n FROM events WHERE cause_stream = $1 \
                   ORDER BY cause_sequence DESC LIMIT 1";
        let rows = self.database().fetch(sql, vec![stream.into()]).await?;
        rows.first().map_or(Ok(0), |row| row.count("n"))
    }
}
