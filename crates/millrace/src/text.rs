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
