//! Words, tones and times that several commands share.

use millrace_decider::Timestamp;
use millrace_rpc::v1::{Task, TaskStatus};

use crate::output::Tone;

/// The status as people say it.
pub(crate) const fn status(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Unspecified => "unknown",
        TaskStatus::Pending => "pending",
        TaskStatus::Active => "active",
        TaskStatus::Complete => "complete",
        TaskStatus::Failed => "failed",
        TaskStatus::Blocked => "blocked",
        TaskStatus::Cancelled => "cancelled",
    }
}

pub(crate) const fn tone(status: TaskStatus) -> Option<Tone> {
    match status {
        TaskStatus::Complete => Some(Tone::Good),
        TaskStatus::Failed | TaskStatus::Cancelled => Some(Tone::Bad),
        TaskStatus::Blocked | TaskStatus::Active => Some(Tone::Waiting),
        TaskStatus::Pending | TaskStatus::Unspecified => None,
    }
}

/// Status, and whom it waits for.
pub(crate) fn state(task: &Task) -> String {
    match task.waiting.as_str() {
        "approval" => format!("{} (waits for approval)", status(task.status())),
        "resume" => format!("{} (paused)", status(task.status())),
        _ => status(task.status()).to_owned(),
    }
}

/// A time in the reader's own zone, to the second; `-` for none.
pub(crate) fn time(wire: Option<&prost_types::Timestamp>) -> String {
    local(wire, "%Y-%m-%d %H:%M:%S")
}

/// The time of day in the reader's own zone.
pub(crate) fn time_of_day(wire: Option<&prost_types::Timestamp>) -> String {
    local(wire, "%H:%M:%S")
}

fn local(wire: Option<&prost_types::Timestamp>, format: &str) -> String {
    let zoned = wire.and_then(|wire| {
        let time = jiff::Timestamp::new(wire.seconds, wire.nanos).ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::system()))
    });
    zoned.map_or_else(|| "-".to_owned(), |zoned| zoned.strftime(format).to_string())
}

/// Milliseconds from one time to another; `None` when one is missing or the order is the other way round.
pub(crate) fn millis_between(
    from: Option<&prost_types::Timestamp>,
    to: Option<&prost_types::Timestamp>,
) -> Option<u64> {
    let instant = |wire: Option<&prost_types::Timestamp>| -> Option<Timestamp> {
        wire.map(|wire| millrace_events::from_wire_time(Some(wire)))
    };
    let (from, to) = (instant(from)?, instant(to)?);
    u64::try_from(to.as_micros().checked_sub(from.as_micros())? / 1_000).ok()
}

/// The first 256 bytes, 16 on a line: offset, hex, and what can be read of it.
pub(crate) fn hex_dump(bytes: &[u8]) -> Vec<String> {
    const SHOWN: usize = 256;
    const ON_A_LINE: usize = 16;
    let shown = bytes.get(..SHOWN).unwrap_or(bytes);
    let mut lines: Vec<String> = shown
        .chunks(ON_A_LINE)
        .enumerate()
        .map(|(index, chunk)| {
            let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            let readable = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
            let text: String = chunk.iter().map(readable).collect();
            format!("{:04x}  {:<47}  {text}", index * ON_A_LINE, hex.join(" "))
        })
        .collect();
    if bytes.len() > SHOWN {
        lines.push(format!("… and {} more bytes", bytes.len() - SHOWN));
    }
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_aligned_and_ends_after_256_bytes() {
        let lines = hex_dump(b"nonsense\x1b[31m, and more");
        assert_eq!(lines[0], "0000  6e 6f 6e 73 65 6e 73 65 1b 5b 33 31 6d 2c 20 61  nonsense.[31m,.a");
        assert_eq!(lines[1], format!("0010  {:<47}  nd.more", "6e 64 20 6d 6f 72 65"));
        let long = hex_dump(&[0; 300]);
        assert_eq!((long.len(), long[16].as_str()), (17, "… and 44 more bytes"));
        assert!(hex_dump(b"").is_empty());
    }
}
