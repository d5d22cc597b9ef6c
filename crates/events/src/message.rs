//! A message of a log, in whichever of the CloudEvents modes it was written: services write the protobuf
//! format; producers and operators may also write JSON, or the binary mode with `ce-` headers. DESIGN
//! section 3.

use millrace_decider::Timestamp;
use serde_json::{Map, Value};

use crate::envelope::{CONTENT_TYPE_JSON, CONTENT_TYPE_PROTOBUF, Envelope, EnvelopeError, JsonEventError};
use crate::{Key, Log};

/// Content types of the data in binary mode.
const DATA_JSON: &str = "application/json";
const DATA_PROTOBUF: [&str; 2] = ["application/protobuf", "application/x-protobuf"];

/// Why a message of a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Not the protobuf format, or an attribute is unusable.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Not an event that a producer may send.
    #[error(transparent)]
    Producer(#[from] JsonEventError),
    /// Not JSON.
    #[error("the bytes are no JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reads a message of `log`. `header` looks a header up by its exact name, for NATS header names are
/// case-sensitive; `stored` is when the broker stored it. A `cause` from outside is ignored.
pub fn read_message<'a>(
    log: Log,
    header: impl Fn(&str) -> Option<&'a str>,
    payload: &[u8],
    stored: Timestamp,
) -> Result<Envelope, MessageError> {
    if !log.has_message_ids() {
        return Ok(Envelope::decode(payload)?);
    }
    // Parameters such as a charset say nothing that we do not know.
    let content_type = header("Content-Type").and_then(|value| value.split(';').next()).map(str::trim);
    let mut envelope = match content_type {
        Some(CONTENT_TYPE_JSON) => {
            Envelope::from_producer_json(log, &serde_json::from_slice(payload)?, stored)?
        }
        Some(CONTENT_TYPE_PROTOBUF) | None if header("ce-id").is_none() => Envelope::decode(payload)?,
        content_type => binary(log, header, content_type, payload, stored)?,
    };
    envelope.cause = None;
    Ok(envelope)
}

/// The binary mode: attributes in headers, data in the payload.
fn binary<'a>(
    log: Log,
    header: impl Fn(&str) -> Option<&'a str>,
    content_type: Option<&str>,
    payload: &[u8],
    stored: Timestamp,
) -> Result<Envelope, MessageError> {
    let mut event = Map::new();
    for name in ["specversion", "id", "source", "type", "subject", "time", "traceparent", "tracestate"] {
        if let Some(value) = header(&format!("ce-{name}")) {
            event.insert(name.to_owned(), Value::String(value.to_owned()));
        }
    }
    match content_type {
        Some(DATA_JSON) => {
            event.insert("data".to_owned(), serde_json::from_slice(payload)?);
            Ok(Envelope::from_producer_json(log, &Value::Object(event), stored)?)
        }
        Some(other) if DATA_PROTOBUF.contains(&other) => {
            // The attributes are checked as those of JSON are; the data is what it is.
            let envelope = Envelope::from_producer_json(log, &Value::Object(event), stored)?;
            Ok(Envelope { data: payload.to_vec(), ..envelope })
        }
        other => {
            let problem = format!(
                "`{}` is not understood; send {CONTENT_TYPE_PROTOBUF} or {CONTENT_TYPE_JSON}, or `ce-` headers with {DATA_JSON} or {}",
                other.unwrap_or("no content type"),
                DATA_PROTOBUF.first().copied().unwrap_or_default(),
            );
            Err(JsonEventError { field: "Content-Type".to_owned(), problem }.into())
        }
    }
}

/// The key that a message stands under, checked against its subject.
pub fn key_in_subject(log: Log, subject: &str, envelope: &Envelope) -> Result<Key, String> {
    let key = log.key(subject).ok_or_else(|| format!("`{subject}` is no subject of the catalogue"))?;
    if key == envelope.key {
        Ok(key)
    } else {
        Err(format!("the event is about `{}` but stands under `{key}`", envelope.key))
    }
}
