//! The kill switch: one entry that every router looks at before a request and every second while one is under way.

use serde::{Deserialize, Serialize};

/// The key of the switch.
pub const SWITCH_KEY: &str = "switch";

/// Whether models may be asked. Where there is no entry they may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Switch {
    /// They may not.
    pub off: bool,
    /// Why, in the words of who switched.
    pub reason: String,
    /// Who switched.
    pub by: String,
    /// When, in microseconds since 1970.
    pub since: i64,
}
