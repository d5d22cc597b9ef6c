//! The hash chain of a stream. DESIGN section 7.

use sha2::{Digest as _, Sha256};

use crate::StoredEvent;

/// The hash before a stream's first event.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The next hash of a chain, in hex: SHA-256 of the previous hash, then subject, sequence, headers sorted
/// by name and value, and payload, each with its length before it (64 bits, big endian), the headers with
/// their number.
pub fn link(previous: &str, event: &StoredEvent) -> String {
    let mut headers: Vec<_> = event.headers.iter().collect();
    headers.sort();
    let mut hash = Sha256::new();
    hash.update(previous.as_bytes());
    feed(&mut hash, event.subject.as_bytes());
    feed(&mut hash, &event.sequence.to_be_bytes());
    hash.update((headers.len() as u64).to_be_bytes());
    for (name, value) in headers {
        feed(&mut hash, name.as_bytes());
        feed(&mut hash, value.as_bytes());
    }
    feed(&mut hash, &event.payload);
    hex::encode(hash.finalize())
}

fn feed(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use millrace_decider::Timestamp;

    fn event() -> StoredEvent {
        StoredEvent {
            stream: "MILLRACE_WORKER_0".to_owned(),
            subject: "millrace.worker.0.VTID-00001".to_owned(),
            sequence: 7,
            time: Timestamp::from_millis(1),
            headers: vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())],
            payload: b"bytes".to_vec(),
        }
    }

    #[test]
    fn every_part_is_in_the_hash_and_the_order_of_headers_is_not() {
        let base = link(GENESIS, &event());
        let mut turned = event();
        turned.headers.reverse();
        assert_eq!(link(GENESIS, &turned), base);
        let changes: [fn(&mut StoredEvent); 5] = [
            |e| e.subject.push('x'),
            |e| e.sequence += 1,
            |e| e.headers[0].1.push('x'),
            |e| e.headers[0] = ("A1".to_owned(), String::new()),
            |e| e.payload.push(0),
        ];
        for change in changes {
            let mut other = event();
            change(&mut other);
            assert_ne!(link(GENESIS, &other), base, "{other:?}");
        }
        assert_ne!(link(&base, &event()), base);
    }
}
