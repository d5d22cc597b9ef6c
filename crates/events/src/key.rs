//! Keys of aggregates and ids of tasks.

use std::fmt;

use millrace_decider::Cause;

use crate::event_id;

/// Longest key, in characters.
const MAX_KEY_LENGTH: usize = 64;

/// What the events of one subject are about: a task id, or a catalogued aggregate such as `req-…`.
/// Matches `[A-Za-z0-9_-]{1,64}`, so it is a single subject token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

/// A text that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no key: 1 to 64 letters, digits, `_` or `-`")]
pub struct KeyError(String);

impl Key {
    /// Checks and wraps a key.
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        let fits = (1..=MAX_KEY_LENGTH).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if fits { Ok(Self(text)) } else { Err(KeyError(text.chars().take(80).collect())) }
    }

    /// The key of what is recorded about one message that one service could not handle: a UUID that follows
    /// from both.
    pub fn dead_letter(message: &Cause, service: &str) -> Self {
        Self(event_id(message, service, "DeadLettered", 0).to_string())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which of `partitions` partitions holds it: FNV-1a of the key, modulo the count. The count is fixed
    /// at installation, for a key must never move.
    pub fn partition(&self, partitions: u32) -> u32 {
        if partitions <= 1 {
            return 0;
        }
        let hash = self
            .0
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        hash % partitions
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a task: a prefix, a dash, 4 or more digits, such as `VTID-01213`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(String);

/// A text that is no task id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no task id: a prefix of capital letters, a dash, and 4 or more digits, such as VTID-01213")]
pub struct TaskIdError(String);

impl TaskId {
    /// Checks a full id. Prefix: 1 to 16 letters or digits, the first a letter; digits: 4 to 12.
    pub fn parse(text: &str) -> Result<Self, TaskIdError> {
        let refused = || TaskIdError(text.chars().take(80).collect());
        let (prefix, digits) = text.rsplit_once('-').ok_or_else(refused)?;
        let prefix_fits = (1..=16).contains(&prefix.len())
            && prefix.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
            && prefix.starts_with(|c: char| c.is_ascii_uppercase());
        let digits_fit = (4..=12).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if prefix_fits && digits_fit { Ok(Self(text.to_owned())) } else { Err(refused()) }
    }

    /// The id that an allocation gives: `prefix` and `number`, padded to 5 digits.
    pub fn allocated(prefix: &str, number: u64) -> Result<Self, TaskIdError> {
        Self::parse(&format!("{prefix}-{number:05}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of the task's events: the id itself.
    pub fn key(&self) -> Key {
        // Every task id is a key: at most 16 + 1 + 12 letters, digits and a dash.
        Key(self.0.clone())
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_single_subject_tokens() {
        for good in ["VTID-01213", "req-1", "a", &"x".repeat(64)] {
            assert!(Key::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a.b", "a b", "a*", ">", "ä", &"x".repeat(65)] {
            assert!(Key::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn task_ids_have_a_prefix_and_four_digits() {
        for good in ["VTID-01213", "VTID-0001", "BACK-5601", "A1-123456"] {
            assert_eq!(TaskId::parse(good).unwrap().as_str(), good);
            assert!(Key::new(good).is_ok());
        }
        for bad in ["VTID-123", "01213", "VTID_01213", "vtid-01213", "VTID-XXXXX", "-01213", "1A-0001"] {
            assert!(TaskId::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(TaskId::allocated("VTID", 7).unwrap().as_str(), "VTID-00007");
    }

    #[test]
    fn partitions_spread_and_stay() {
        let keys: Vec<Key> = (0..1_000).map(|n| Key::new(format!("VTID-{n:05}")).unwrap()).collect();
        for partition in 0..4 {
            let held = keys.iter().filter(|key| key.partition(4) == partition).count();
            assert!(held > 150, "partition {partition} holds {held} of 1000");
        }
        assert_eq!(Key::new("VTID-01213").unwrap().partition(1), 0);
    }
}
