//! A task's events in plain English. Pure: from the API's messages to text.

mod data;
mod describe;
mod timeline;
mod why;

pub(crate) use describe::describe;
pub(crate) use timeline::timeline;
pub(crate) use why::why;

/// A full SHA as people say it.
pub(crate) fn short(sha: &str) -> &str {
    sha.get(..10).unwrap_or(sha)
}

/// A duration as people say it: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`.
pub(crate) fn duration(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0..=9 => format!("{}.{} s", seconds, millis % 1_000 / 100),
        10..=59 => format!("{seconds} s"),
        60..=3_599 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (millis, text) in [
            (0, "0.0 s"),
            (450, "0.4 s"),
            (12_300, "12 s"),
            (185_000, "3 min 5 s"),
            (7_800_000, "2 h 10 min"),
        ] {
            assert_eq!(duration(millis), text);
        }
    }
}
