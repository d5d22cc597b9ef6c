//! A stream and a consumer as we want them, and the JSON in which JetStream is told so.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// A stream: file storage, limits retention, direct reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDeclaration {
    /// Its name.
    pub name: String,
    /// The subjects that it stores.
    pub subjects: Vec<String>,
    /// How many of the newest messages of a subject stay; `None`: all.
    pub keep_per_subject: Option<u32>,
    /// How long a message stays; `None`: for ever.
    pub max_age: Option<Duration>,
    /// Largest message, headers included, in bytes; `None`: what the server takes.
    pub max_message_bytes: Option<usize>,
    /// How long message ids are remembered. At least 100 ms, at most `max_age` (rules of the server).
    pub duplicate_window: Duration,
    /// No single message can be deleted. Cannot be switched off again.
    pub deny_delete: bool,
    /// Takes scheduled messages and life spans of single messages. The server allows that only together
    /// with `discard: old` and roll-ups (NATS ADR-51). Cannot be switched off again.
    pub schedules: bool,
    /// Takes life spans of single messages (NATS ADR-43). Cannot be switched off again.
    pub lives: bool,
    /// Takes roll-ups, as the key-value tools of NATS expect of a bucket.
    pub rollups: bool,
    /// Takes atomic batches.
    pub batches: bool,
    /// 1 on one machine, 3 in a cluster.
    pub replicas: u8,
}

/// A durable pull consumer with explicit acknowledgement and no limit to deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerDeclaration {
    /// The stream that it reads.
    pub stream: String,
    /// Its name.
    pub durable: String,
    /// The one subject pattern that it sees.
    pub filter: String,
    /// How long a delivery may stay unanswered before it comes again.
    pub ack_wait: Duration,
    /// How many deliveries may be unanswered at a time.
    pub max_ack_pending: u32,
}

impl StreamDeclaration {
    /// A stream that keeps everything and takes only plain messages.
    pub fn new(name: impl Into<String>, subjects: Vec<String>) -> Self {
        Self {
            name: name.into(),
            subjects,
            keep_per_subject: None,
            max_age: None,
            max_message_bytes: None,
            duplicate_window: Duration::from_secs(120),
            deny_delete: true,
            schedules: false,
            lives: false,
            rollups: false,
            batches: false,
            replicas: 1,
        }
    }

    pub(crate) fn takes_lives(&self) -> bool {
        self.lives || self.schedules
    }

    /// Every field that we rest on, as `STREAM.CREATE` takes it and `STREAM.INFO` echoes it.
    pub(crate) fn config(&self) -> Map<String, Value> {
        let config = json!({
            "name": self.name,
            "subjects": self.subjects,
            "retention": "limits",
            "storage": "file",
            "discard": if self.schedules { "old" } else { "new" },
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msgs_per_subject": self.keep_per_subject.map_or(-1, i64::from),
            "max_age": self.max_age.map_or(0, nanoseconds),
            "max_msg_size": self.max_message_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(-1)),
            "duplicate_window": nanoseconds(self.duplicate_window),
            "deny_delete": self.deny_delete,
            "deny_purge": false,
            "allow_rollup_hdrs": self.rollups || self.schedules,
            "allow_msg_ttl": self.takes_lives(),
            "allow_msg_schedules": self.schedules,
            "allow_atomic": self.batches,
            "allow_direct": true,
            "sealed": false,
            "num_replicas": self.replicas,
        });
        object(config)
    }
}

impl ConsumerDeclaration {
    /// Every field that we rest on, as `CONSUMER.CREATE` takes it and `CONSUMER.INFO` echoes it.
    pub(crate) fn config(&self) -> Map<String, Value> {
        let config = json!({
            "durable_name": self.durable,
            "name": self.durable,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": nanoseconds(self.ack_wait),
            "max_deliver": -1,
            "max_ack_pending": self.max_ack_pending,
            "filter_subject": self.filter,
            "replay_policy": "instant",
        });
        object(config)
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
