//! What can be set.

use std::time::Duration;

use millrace_runtime::settings::Settings;

/// Settings of the query service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryConfig {
    /// The name that operator events carry, until callers authenticate themselves. Clients cannot choose it.
    pub actor: String,
    /// Partitions of every log.
    pub partitions: u32,
    /// How long a read waits for its `min_sequence`.
    pub read_wait: Duration,
    /// How often a watch looks for changes.
    pub watch_period: Duration,
    /// Watches that may be open at the same time.
    pub max_watches: usize,
}

impl QueryConfig {
    /// Its share of the settings.
    pub fn from_settings(settings: &Settings) -> Self {
        Self { actor: settings.operator.clone(), partitions: settings.nats.partitions, ..Self::default() }
    }
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            actor: "local".to_owned(),
            partitions: 1,
            read_wait: Duration::from_secs(5),
            watch_period: Duration::from_millis(200),
            max_watches: 64,
        }
    }
}
