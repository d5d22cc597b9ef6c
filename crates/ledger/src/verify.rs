//! Walks streams and ledger side by side and names the first entry that differs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use millrace_decider::Timestamp;

use crate::database::Row;
use crate::{Checkpoint, GENESIS, Ledger, LedgerError, StoredEvent, link};

/// Events that are compared at a time.
const PAGE: usize = 500;

/// Reads the streams of the logs.
#[async_trait]
pub trait StreamReader: Send + Sync {
    /// Up to `limit` messages from `from` (inclusive) on, in order.
    async fn read(&self, stream: &str, from: u64, limit: usize) -> Result<Vec<StoredEvent>, ReadError>;
    /// What the stream holds.
    async fn extent(&self, stream: &str) -> Result<Extent, ReadError>;
}

/// Why a stream could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the stream could not be read")]
pub struct ReadError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// First and last sequence of a stream; both 0 when it never held anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// The first that is still held.
    pub first: u64,
    /// The last that was ever given.
    pub last: u64,
}

/// The first place where ledger and stream, or ledger and chain, differ.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// The stream.
    pub stream: String,
    /// The sequence.
    pub sequence: u64,
    /// What differs: `subject`, `headers`, `payload`, `message` (it is not there), `sequence`, `hash`,
    /// `checkpoint` or `last_sequence`.
    pub field: &'static str,
    /// What the ledger has.
    pub ledger: String,
    /// What the stream, or the recomputed chain, has.
    pub stream_has: String,
}

/// What a walk found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Events that were compared before the walk ended.
    pub events: u64,
    /// Every stream that holds, up to which sequence, and the head of its chain.
    pub heads: BTreeMap<String, (u64, String)>,
    /// The first difference; `None`: all is as it was written.
    pub difference: Option<Difference>,
}

/// Recomputes every chain of `ledger` and compares every event with its stream. What a stream no longer
/// holds because its beginning was archived is checked by the chain alone.
pub async fn verify(ledger: &Ledger, reader: &dyn StreamReader) -> Result<Verified, LedgerError> {
    let mut verified = Verified { events: 0, heads: BTreeMap::new(), difference: None };
    for checkpoint in ledger.checkpoints().await? {
        let difference = stream(ledger, reader, &checkpoint, &mut verified.events).await?;
        if difference.is_some() {
            verified.difference = difference;
            return Ok(verified);
        }
        verified.heads.insert(checkpoint.stream, (checkpoint.sequence, checkpoint.hash));
    }
    Ok(verified)
}

/// Compares one stream with the ledger, from its first event to the ledger's checkpoint.
pub async fn verify_stream(
    ledger: &Ledger,
    reader: &dyn StreamReader,
    stream: &str,
) -> Result<Option<Difference>, LedgerError> {
    let checkpoint = ledger.checkpoints().await?.into_iter().find(|found| found.stream == stream);
    match checkpoint {
        Some(checkpoint) => self::stream(ledger, reader, &checkpoint, &mut 0).await,
        None => Ok(None),
    }
}

async fn stream(
    ledger: &Ledger,
    reader: &dyn StreamReader,
    checkpoint: &Checkpoint,
    events: &mut u64,
) -> Result<Option<Difference>, LedgerError> {
    let extent = reader.extent(&checkpoint.stream).await?;
    let mut walk = Walk::new(&checkpoint.stream);
    loop {
        let before = walk.after;
        let difference = walk.step(ledger, reader, extent, PAGE, checkpoint.sequence).await?;
        *events += walk.after.saturating_sub(before);
        if difference.is_some() {
            return Ok(difference);
        }
        if walk.after == before {
            break;
        }
    }
    let Walk { after: last, hash, .. } = walk;
    let differs = |sequence: u64, field: &'static str, ledger: String, stream_has: String| {
        Some(Difference { stream: checkpoint.stream.clone(), sequence, field, ledger, stream_has })
    };
    if (last, &hash) != (checkpoint.sequence, &checkpoint.hash) {
        let kept = format!("{} {}", checkpoint.sequence, checkpoint.hash);
        return Ok(differs(checkpoint.sequence, "checkpoint", kept, format!("{last} {hash}")));
    }
    if extent.last < checkpoint.sequence {
        let (ours, theirs) = (checkpoint.sequence.to_string(), extent.last.to_string());
        return Ok(differs(extent.last + 1, "last_sequence", ours, theirs));
    }
    Ok(None)
}

/// A walk along the chain of one stream that can be taken in steps.
#[derive(Debug, Clone)]
pub struct Walk {
    stream: String,
    /// The last sequence that was compared, and the hash of the chain there.
    after: u64,
    hash: String,
}

impl Walk {
    /// From the first event on.
    pub fn new(stream: impl Into<String>) -> Self {
        Self { stream: stream.into(), after: 0, hash: GENESIS.to_owned() }
    }

    /// The stream that it walks along.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The last sequence that was compared; 0 before the first.
    pub fn after(&self) -> u64 {
        self.after
    }

    /// Compares the next `limit` events of the ledger, up to `until`, with their chain and with the stream,
    /// whose extent was read before. It has not moved: there are no more.
    pub async fn step(
        &mut self,
        ledger: &Ledger,
        reader: &dyn StreamReader,
        extent: Extent,
        limit: usize,
        until: u64,
    ) -> Result<Option<Difference>, LedgerError> {
        let mut page = ledger.stored_events(&self.stream, self.after, limit).await?;
        page.retain(|(event, _)| event.sequence <= until);
        if page.is_empty() {
            return Ok(None);
        }
        let messages = messages(reader, &page, extent).await?;
        for (event, kept_hash) in &page {
            let at = event.sequence;
            let differs = |sequence: u64, field: &'static str, ledger: String, stream_has: String| {
                Some(Difference { stream: event.stream.clone(), sequence, field, ledger, stream_has })
            };
            if self.after > 0 && at != self.after + 1 {
                let expected = self.after + 1;
                return Ok(differs(expected, "sequence", at.to_string(), expected.to_string()));
            }
            if at >= extent.first && at <= extent.last {
                let Some(message) = messages.get(&at) else {
                    return Ok(differs(at, "message", event.subject.clone(), "nothing".to_owned()));
                };
                if let Some((field, ours, theirs)) = compare(event, message) {
                    return Ok(differs(at, field, ours, theirs));
                }
            }
            let hash = link(&self.hash, event);
            if hash != *kept_hash {
                return Ok(differs(at, "hash", kept_hash.clone(), hash));
            }
            (self.after, self.hash) = (at, hash);
        }
        Ok(None)
    }
}

/// The stream's messages from the beginning of `page` to its end, as far as the stream reaches.
pub(crate) async fn messages(
    reader: &dyn StreamReader,
    page: &[(StoredEvent, String)],
    extent: Extent,
) -> Result<BTreeMap<u64, StoredEvent>, LedgerError> {
    let mut messages = BTreeMap::new();
    let (Some((first, _)), Some((end, _))) = (page.first(), page.last()) else { return Ok(messages) };
    let mut from = first.sequence.max(extent.first);
    while from <= end.sequence.min(extent.last) {
        let wanted = usize::try_from(end.sequence - from + 1).unwrap_or(PAGE).min(PAGE);
        let found = reader.read(&end.stream, from, wanted).await?;
        let Some(last) = found.last() else { break };
        from = last.sequence + 1;
        messages.extend(found.into_iter().map(|message| (message.sequence, message)));
    }
    Ok(messages)
}

/// What differs first between the ledger's event and the stream's message: field, ours, theirs.
pub(crate) fn compare(event: &StoredEvent, message: &StoredEvent) -> Option<(&'static str, String, String)> {
    if event.subject != message.subject {
        return Some(("subject", event.subject.clone(), message.subject.clone()));
    }
    let mut headers = message.headers.clone();
    headers.sort();
    if event.headers != headers {
        return Some(("headers", format!("{:?}", event.headers), format!("{headers:?}")));
    }
    if event.payload != message.payload {
        return Some(("payload", digest(&event.payload), digest(&message.payload)));
    }
    None
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    format!("{} bytes, SHA-256 {}", bytes.len(), hex::encode(sha2::Sha256::digest(bytes)))
}

impl Ledger {
    /// Up to `limit` events of a stream behind `after`, with their hashes, as they were stored. A lost stream
    /// can be seeded again from them.
    pub async fn stored_events(
        &self,
        stream: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(StoredEvent, String)>, LedgerError> {
        let sql = "SELECT stream, sequence, subject, headers, payload, stored_at, hash FROM events \
                   WHERE stream = $1 AND sequence > $2 ORDER BY sequence LIMIT $3";
        let values = vec![stream.into(), after.into(), (limit as u64).into()];
        self.database().fetch(sql, values).await?.iter().map(stored).collect()
    }
}

fn stored(row: &Row) -> Result<(StoredEvent, String), LedgerError> {
    // Headers that are no JSON any more were tampered with: the chain says so.
    let headers = serde_json::from_str(&row.text("headers")?).unwrap_or_default();
    let event = StoredEvent {
        stream: row.text("stream")?,
        subject: row.text("subject")?,
        sequence: row.count("sequence")?,
        time: Timestamp::from_micros(row.int("stored_at")?),
        headers,
        payload: row.bytes("payload")?,
    };
    Ok((event, row.text("hash")?))
}
