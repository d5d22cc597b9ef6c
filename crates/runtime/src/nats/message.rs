//! Three shapes in which the server hands out a stored message, one shape in which we have it.

use async_nats::{HeaderMap, Message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_decider::Timestamp;
use serde::Deserialize;

use crate::broker::Stored;

/// What a direct read adds to the headers of the message itself.
const ADDED_BY_DIRECT_READ: [&str; 6] = [
    "Nats-Stream",
    "Nats-Subject",
    "Nats-Sequence",
    "Nats-Time-Stamp",
    "Nats-Num-Pending",
    "Nats-Last-Sequence",
];

/// `message` in the answer to `STREAM.MSG.GET`.
#[derive(Deserialize)]
pub(super) struct RawMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: Option<String>,
    #[serde(default)]
    data: Option<String>,
    time: String,
}

impl RawMessage {
    pub(super) fn into_stored(self, stream: &str) -> Option<Stored> {
        let block = STANDARD.decode(self.hdrs.unwrap_or_default()).ok()?;
        Some(Stored {
            stream: stream.to_owned(),
            subject: self.subject,
            sequence: self.seq,
            time: Timestamp::parse(&self.time)?,
            headers: parse_headers(&String::from_utf8_lossy(&block)),
            payload: STANDARD.decode(self.data.unwrap_or_default()).ok()?,
        })
    }
}

/// A message of a direct read.
pub(super) fn from_direct(stream: &str, message: &Message) -> Option<Stored> {
    let added = message.headers.as_ref()?;
    let value = |name: &str| added.get_last(name).map(async_nats::HeaderValue::as_str);
    let mut headers = sorted(Some(added));
    headers.retain(|(name, _)| !ADDED_BY_DIRECT_READ.contains(&name.as_str()));
    Some(Stored {
        stream: stream.to_owned(),
        subject: value("Nats-Subject")?.to_owned(),
        sequence: value("Nats-Sequence")?.parse().ok()?,
        time: Timestamp::parse(value("Nats-Time-Stamp")?)?,
        headers,
        payload: message.payload.to_vec(),
    })
}

/// A message that a consumer delivered; sequence and time stand in its acknowledgement subject.
pub(super) fn from_delivery(stream: &str, message: &Message) -> Option<Stored> {
    let (sequence, time) = acknowledgement(message.reply.as_ref()?.as_str())?;
    Some(Stored {
        stream: stream.to_owned(),
        subject: message.subject.to_string(),
        sequence,
        time,
        headers: sorted(message.headers.as_ref()),
        payload: message.payload.to_vec(),
    })
}

/// Whether a message was delivered before.
pub(super) fn is_redelivered(message: &Message) -> bool {
    let deliveries = message.reply.as_ref().and_then(|reply| number_in(reply.as_str(), 0));
    deliveries.is_some_and(|deliveries| deliveries > 1)
}

/// Stream sequence and time of storage in
/// `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>`, or in the
/// second form, in which domain and account hash stand before the stream and more may follow (NATS ADR-15).
fn acknowledgement(subject: &str) -> Option<(u64, Timestamp)> {
    let (sequence, nanos) = (number_in(subject, 1)?, number_in(subject, 3)?);
    Some((sequence, Timestamp::from_micros(i64::try_from(nanos / 1_000).ok()?)))
}

/// One of its numbers: 0 the deliveries, 1 the stream sequence, 3 the time.
fn number_in(subject: &str, offset: usize) -> Option<u64> {
    let tokens: Vec<&str> = subject.strip_prefix("$JS.ACK.")?.split('.').collect();
    let first_number = match tokens.len() {
        7 => 2,
        9.. => 4,
        _ => return None,
    };
    tokens.get(first_number + offset)?.parse().ok()
}

fn sorted(headers: Option<&HeaderMap>) -> Vec<(String, String)> {
    let mut sorted = Vec::new();
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        sorted.extend(values.iter().map(|value| (name.to_string(), value.as_str().to_owned())));
    }
    sorted.sort();
    sorted
}

/// A header block as stored: a version line, then `Name: value` lines.
fn parse_headers(block: &str) -> Vec<(String, String)> {
    let lines = block.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let mut headers: Vec<_> = lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    headers.sort();
    headers
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_acknowledgement_subject_are_read() {
        let time = Timestamp::from_micros(1_795_165_517_496_428);
        let first = "$JS.ACK.MILLRACE_WORKER_0.dispatcher.1.42.7.1795165517496428028.5";
        assert_eq!(acknowledgement(first).unwrap(), (42, time));
        let second = "$JS.ACK._.szMpdrwD.MILLRACE_WORKER_0.dispatcher.1.42.7.1795165517496428028.5";
        assert_eq!(acknowledgement(second).unwrap(), (42, time));
        assert_eq!(acknowledgement(&format!("{second}.token")).unwrap(), (42, time));
        assert_eq!(acknowledgement("$JS.ACK.too.short"), None);
        assert_eq!(acknowledgement("_INBOX.1"), None);
    }

    #[test]
    fn a_header_block_is_read_and_sorted() {
        let headers = parse_headers("NATS/1.0\r\nX: 1: 2\r\nA:b\r\n\r\n");
        assert_eq!(headers, [("A".to_owned(), "b".to_owned()), ("X".to_owned(), "1: 2".to_owned())]);
        assert!(parse_headers("").is_empty());
    }
}
