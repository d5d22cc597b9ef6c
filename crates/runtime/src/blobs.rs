//! Long and free text, content-addressed and erasable: spec bytes, prompts, answers, output, diffs,
//! evidence. Events carry the digest. DESIGN section 2.
//!
//! A blob is cut into chunks, `millrace.blobs.<sha256>.<index>`, written in order with the expected
//! sequence 0: writing what is there changes nothing. The last chunk says how many there are, so a blob
//! without it is an upload that a crash cut short; a later upload of the same bytes completes it.

use std::sync::Arc;

use millrace_events::catalogue::{BLOB_STREAM, BLOB_SUBJECTS};
use millrace_events::v1;
use sha2::{Digest, Sha256};

use crate::broker::{Append, AppendError, Broker, BrokerError, Stored};

/// Bytes in a chunk: well below the largest message of a server, 1 MiB.
const CHUNK_BYTES: usize = 256 * 1024;
/// On the last chunk: the number of chunks, and of bytes in all.
const CHUNKS: &str = "Millrace-Blob-Chunks";
const SIZE: &str = "Millrace-Blob-Size";

/// The store.
#[derive(Clone)]
pub struct Blobs {
    broker: Arc<dyn Broker>,
    max_bytes: usize,
}

/// Why a blob was not stored or not read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Larger than allowed.
    #[error("a blob of {bytes} bytes; at most {max_bytes} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// Not a SHA-256 in hex.
    #[error("`{0}` is no SHA-256 in lower-case hex")]
    NotADigest(String),
    /// What is stored is not what the digest names.
    #[error("the stored bytes of blob {digest} are damaged: they do not have that SHA-256")]
    Damaged {
        /// The digest.
        digest: String,
    },
    /// A chunk was not appended.
    #[error("a chunk of blob {digest} was not stored")]
    Append {
        /// The digest.
        digest: String,
        /// Why.
        source: AppendError,
    },
    /// The broker failed.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl Blobs {
    /// The store on `broker`; no blob may be larger than `max_bytes`.
    pub fn new(broker: Arc<dyn Broker>, max_bytes: usize) -> Self {
        Self { broker, max_bytes }
    }

    /// Stores bytes, unless they are there. Their SHA-256 in hex.
    pub async fn put(&self, bytes: &[u8]) -> Result<String, BlobError> {
        if bytes.len() > self.max_bytes {
            return Err(BlobError::TooLarge { bytes: bytes.len(), max_bytes: self.max_bytes });
        }
        let digest = digest_of(bytes);
        let chunks: Vec<&[u8]> =
            if bytes.is_empty() { vec![bytes] } else { bytes.chunks(CHUNK_BYTES).collect() };
        let last = chunks.len() - 1;
        if self.chunk(&digest, last).await?.is_some_and(|chunk| extent(&chunk).is_some()) {
            return Ok(digest);
        }
        for (index, chunk) in chunks.iter().enumerate() {
            let mut append = Append::new(BLOB_STREAM, subject(&digest, index), chunk.to_vec()).expecting(0);
            if index == last {
                append.headers.push((CHUNKS.into(), chunks.len().to_string()));
                append.headers.push((SIZE.into(), bytes.len().to_string()));
            }
            match self.broker.append(&append).await {
                // A conflict: the chunk is there, from another writer or an upload that was cut short.
                Ok(_) | Err(AppendError::Conflict { .. }) => {}
                Err(source) => return Err(BlobError::Append { digest, source }),
            }
        }
        Ok(digest)
    }

    /// Stores bytes and describes them as events do.
    pub async fn put_named(
        &self,
        name: impl Into<String>,
        media_type: impl Into<String>,
        bytes: &[u8],
    ) -> Result<v1::Blob, BlobError> {
        let sha256 = self.put(bytes).await?;
        Ok(v1::Blob { name: name.into(), media_type: media_type.into(), sha256, size: bytes.len() as u64 })
    }

    /// The bytes; `None` when they were never stored completely, or erased.
    pub async fn get(&self, digest: &str) -> Result<Option<Vec<u8>>, BlobError> {
        check_digest(digest)?;
        let pattern = subject(digest, "*");
        let most_chunks = self.max_bytes / CHUNK_BYTES + 1;
        let mut chunks = self.broker.read(BLOB_STREAM, Some(&pattern), 1, most_chunks).await?;
        if !is_complete(&chunks) {
            // A follower may have answered that has not heard of the newest chunks: ask the leader.
            chunks.clear();
            while chunks.len() < most_chunks && !is_complete(&chunks) {
                let Some(chunk) = self.chunk(digest, chunks.len()).await? else { return Ok(None) };
                chunks.push(chunk);
            }
        }
        let bytes: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.payload.iter().copied()).collect();
        if bytes.len() > self.max_bytes || !is_complete(&chunks) {
            return Err(BlobError::TooLarge { bytes: bytes.len(), max_bytes: self.max_bytes });
        }
        if digest_of(&bytes) == digest {
            Ok(Some(bytes))
        } else {
            Err(BlobError::Damaged { digest: digest.to_owned() })
        }
    }

    /// Erases a blob for good. Needs the permission to purge. Erasing what is not there changes nothing.
    pub async fn delete(&self, digest: &str) -> Result<(), BlobError> {
        check_digest(digest)?;
        Ok(self.broker.purge_subject(BLOB_STREAM, &subject(digest, "*")).await?)
    }

    async fn chunk(&self, digest: &str, index: usize) -> Result<Option<Stored>, BrokerError> {
        self.broker.last(BLOB_STREAM, &subject(digest, index)).await
    }
}

/// The SHA-256 of bytes, as the store and the events have it: lower-case hex.
pub fn digest_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn subject(digest: &str, index: impl std::fmt::Display) -> String {
    let space = BLOB_SUBJECTS.trim_end_matches('>');
    format!("{space}{digest}.{index}")
}

/// Chunks and bytes in all, as the last chunk says.
fn extent(chunk: &Stored) -> Option<(usize, usize)> {
    Some((chunk.header(CHUNKS)?.parse().ok()?, chunk.header(SIZE)?.parse().ok()?))
}

/// Chunks are stored in order, so they are all there when the last one is and the count is right.
fn is_complete(chunks: &[Stored]) -> bool {
    chunks.last().and_then(extent).is_some_and(|(count, _)| count == chunks.len())
}

fn check_digest(text: &str) -> Result<(), BlobError> {
    let is_digest = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_digest { Ok(()) } else { Err(BlobError::NotADigest(text.chars().take(80).collect())) }
}
