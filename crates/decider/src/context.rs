//! What a decision may know besides state and input.

use std::fmt;

use crate::Timestamp;

/// The position of a log message: the cause of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cause {
    /// Stream name.
    pub stream: String,
    /// Stream sequence, from 1.
    pub sequence: u64,
}

impl Cause {
    /// The message `sequence` of `stream`.
    pub fn new(stream: impl Into<String>, sequence: u64) -> Self {
        Self { stream: stream.into(), sequence }
    }

    /// Reads `<stream>:<sequence>`, the form in an envelope.
    pub fn parse(text: &str) -> Option<Self> {
        let (stream, sequence) = text.rsplit_once(':')?;
        if stream.is_empty() {
            return None;
        }
        Some(Self::new(stream, sequence.parse().ok()?))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.stream, self.sequence)
    }
}

/// Everything from outside that a decision may depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The decision's now. It becomes the event's time.
    pub now: Timestamp,
    /// The log message that led here; for an effect's outcome, the message that made the effect due.
    pub cause: Cause,
}

/// An event as it stands in the service's own log.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a, Event> {
    /// The event.
    pub event: &'a Event,
    /// Its stream sequence.
    pub sequence: u64,
    /// When it was decided.
    pub time: Timestamp,
    /// What it was decided on, unless it is the first of its kind.
    pub cause: Option<&'a Cause>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_survives_its_text_form() {
        let cause = Cause::new("STREAM_0", 42);
        assert_eq!(Cause::parse(&cause.to_string()).unwrap(), cause);
        for bad in ["", "x", ":1", "x:", "x:-1", "x:y"] {
            assert_eq!(Cause::parse(bad), None, "{bad}");
        }
    }
}
