//! The headers that an [`Append`] has on the wire. One place, so that both brokers store the same.

use std::time::Duration;

use millrace_decider::Timestamp;

use super::Append;

pub(crate) const CONTENT_TYPE: &str = "Content-Type";
pub(crate) const EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";
pub(crate) const MESSAGE_ID: &str = "Nats-Msg-Id";
pub(crate) const SCHEDULE: &str = "Nats-Schedule";
pub(crate) const SCHEDULE_TARGET: &str = "Nats-Schedule-Target";
pub(crate) const TTL: &str = "Nats-TTL";
pub(crate) const SCHEDULE_TTL: &str = "Nats-Schedule-TTL";

/// The headers of a message, sorted by name.
pub(crate) fn headers(append: &Append) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> =
        append.headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    let mut add = |name: &str, value: String| headers.push((name.to_owned(), value));
    if let Some(content_type) = append.content_type {
        add(CONTENT_TYPE, content_type.to_owned());
    }
    if let Some(sequence) = append.expected_last {
        add(EXPECTED_LAST, sequence.to_string());
    }
    if let Some(id) = &append.message_id {
        add(MESSAGE_ID, id.clone());
    }
    if let Some(schedule) = &append.schedule {
        add(SCHEDULE, format!("@at {}", whole_second(schedule.at)));
        add(SCHEDULE_TARGET, schedule.target.clone());
        add(SCHEDULE_TTL, time_to_live(schedule.keep));
    }
    headers.sort();
    headers
}

/// The next whole second: schedules know no finer time (NATS ADR-51), and early would be wrong.
pub(crate) fn whole_second(at: Timestamp) -> Timestamp {
    const SECOND_MICROS: i64 = 1_000_000;
    let seconds = at.as_micros().div_euclid(SECOND_MICROS);
    let seconds = if at.as_micros().rem_euclid(SECOND_MICROS) == 0 { seconds } else { seconds + 1 };
    Timestamp::from_micros(seconds.saturating_mul(SECOND_MICROS))
}

/// A life span in whole seconds, rounded up; one second is the shortest that the server takes.
pub(crate) fn time_to_live(keep: Duration) -> String {
    let seconds = keep.as_secs() + u64::from(keep.subsec_nanos() > 0);
    format!("{}s", seconds.max(1))
}

/// The life span that headers ask for, as [`time_to_live`] writes it.
pub(crate) fn life(headers: &[(String, String)]) -> Option<Duration> {
    let (_, value) = headers.iter().find(|(name, _)| name == TTL)?;
    value.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Schedule;

    #[test]
    fn a_schedule_is_rounded_up_to_whole_seconds() {
        let at = Timestamp::from_millis(1_790_000_000_001);
        let schedule = Schedule { at, target: "due".to_owned(), keep: Duration::from_millis(1_500) };
        let headers = headers(&Append::new("S", "timer", Vec::new()).expecting(7).scheduled(schedule));
        let expected = [
            ("Nats-Expected-Last-Subject-Sequence", "7"),
            ("Nats-Schedule", "@at 2026-09-21T14:13:21.000000Z"),
            ("Nats-Schedule-TTL", "2s"),
            ("Nats-Schedule-Target", "due"),
        ];
        let found: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, expected);
        assert_eq!(whole_second(Timestamp::from_millis(2_000)), Timestamp::from_millis(2_000));
    }
}
