//! Points in time as RFC 3339 texts.

use millrace_decider::Timestamp;
use serde::Serializer;

/// A point in time.
pub(crate) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(time)
}

/// A point in time that may not have come.
pub(crate) mod maybe {
    use super::{Serializer, Timestamp};

    #[expect(clippy::ref_option, reason = "the shape that serde asks for")]
    pub(crate) fn serialize<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.collect_str(time),
            None => to.serialize_none(),
        }
    }
}
