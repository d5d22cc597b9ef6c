//! Everything that Millrace keeps on a server, derived from the catalogue. DESIGN section 2.

use std::time::Duration;

use millrace_events::catalogue::{
    BLOB_STREAM, BLOB_SUBJECTS, HEALTH_BUCKET, LEASE_BUCKET, MODEL_SWITCH_BUCKET, MODEL_USE_BUCKET,
    QUEUE_BUCKET, SLOT_BUCKET, TARGET_BUCKET,
};
use millrace_events::{Log, MAX_EVENT_BYTES, Service};

use super::{ConsumerDeclaration, StreamDeclaration};
use crate::permissions::Access;

/// Room for headers beside the largest event.
const HEADER_BYTES: usize = 64 * 1024;
/// The window of streams that rest on the expected sequence. The server takes no shorter one.
const SHORTEST_WINDOW: Duration = Duration::from_millis(100);
/// The window of streams on which message ids count, and the default of NATS.
const PRODUCERS_WINDOW: Duration = Duration::from_secs(120);

/// What was spent on a task is forgotten so long after the last call for it.
const MODEL_USE: Duration = Duration::from_secs(90 * 24 * 3600);

/// Deliveries of one consumer that may be unanswered at a time, unless an installation says otherwise: as many
/// runs may be held in one log. For the server that is an entry of a map each; for a service nothing.
pub const MAX_ACK_PENDING: u32 = 65_536;

/// The few things in which installations differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Partitions of every log. Fixed once there are events.
    pub partitions: u32,
    /// Copies of every stream: 1 on one machine, 3 in a cluster.
    pub replicas: u8,
    /// How long a delivery may stay unanswered.
    pub ack_wait: Duration,
    /// How many deliveries of a consumer may be unanswered at a time.
    pub max_ack_pending: u32,
    /// How long a lease lives without renewal.
    pub lease: Duration,
    /// How long a process counts as alive after its last sign.
    pub health: Duration,
}

impl Default for Installation {
    fn default() -> Self {
        Self {
            partitions: 1,
            replicas: 1,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: MAX_ACK_PENDING,
            lease: Duration::from_secs(30),
            health: Duration::from_secs(15),
        }
    }
}

/// The streams and consumers that must exist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Declared {
    /// Streams: logs, deadlines, blobs, buckets.
    pub streams: Vec<StreamDeclaration>,
    /// Durable consumers of these streams.
    pub consumers: Vec<ConsumerDeclaration>,
}

impl Declared {
    /// Everything.
    pub fn of(installation: &Installation) -> Self {
        let mut streams = Vec::new();
        for log in Log::ALL {
            streams.extend((0..installation.partitions).map(|partition| log_stream(log, partition)));
        }
        streams.extend(deciders().map(timer_stream));
        streams.push(blob_stream());
        streams.push(bucket(LEASE_BUCKET, Some(installation.lease)));
        streams.push(bucket(TARGET_BUCKET, None));
        // Its markers are forgotten one by one: every task that ever waited leaves one.
        streams.push(StreamDeclaration { lives: true, ..bucket(QUEUE_BUCKET, None) });
        streams.push(bucket(SLOT_BUCKET, None));
        streams.push(bucket(MODEL_SWITCH_BUCKET, None));
        streams.push(bucket(MODEL_USE_BUCKET, Some(MODEL_USE)));
        streams.push(bucket(HEALTH_BUCKET, Some(installation.health)));
        for stream in &mut streams {
            stream.replicas = installation.replicas;
        }
        let consumers = Service::ALL.into_iter().flat_map(|service| consumers(service, installation));
        Self { streams, consumers: consumers.collect() }
    }

    /// What one service needs of it: the streams that it may touch, and its own consumers.
    pub fn for_service(installation: &Installation, service: Service) -> Self {
        let access = Access::of(service, installation);
        let mut declared = Self::of(installation);
        declared.streams.retain(|stream| access.knows(&stream.name));
        declared.consumers = consumers(service, installation);
        declared
    }
}

/// The log under whose name it is reported when a stream is not as declared: its own; for deadlines, buckets
/// and texts that of a service that cannot work without them.
pub fn reported_under(stream: &str) -> Log {
    let of_timers = || deciders().find(|service| service.timer_stream() == stream)?.own_log();
    let of_bucket = || {
        let buckets = [
            (LEASE_BUCKET, Log::Worker),
            (TARGET_BUCKET, Log::Deployer),
            (QUEUE_BUCKET, Log::Dispatcher),
            (SLOT_BUCKET, Log::Dispatcher),
            (MODEL_SWITCH_BUCKET, Log::Worker),
            (MODEL_USE_BUCKET, Log::Worker),
        ];
        buckets.into_iter().find(|(name, _)| crate::bucket::stream(name) == stream).map(|(_, log)| log)
    };
    let of_texts = || (stream == BLOB_STREAM).then_some(Log::SpecRegistry);
    Log::from_stream(stream).or_else(of_timers).or_else(of_bucket).or_else(of_texts).unwrap_or(Log::Projector)
}

/// The services that decide about tasks, and so have deadlines.
pub(crate) fn deciders() -> impl Iterator<Item = Service> {
    Service::ALL.into_iter().filter(|service| !matches!(service, Service::Projector | Service::Query))
}

fn log_stream(log: Log, partition: u32) -> StreamDeclaration {
    StreamDeclaration {
        max_message_bytes: Some(MAX_EVENT_BYTES + HEADER_BYTES),
        duplicate_window: if log.has_message_ids() { PRODUCERS_WINDOW } else { SHORTEST_WINDOW },
        batches: true,
        ..StreamDeclaration::new(log.stream(partition), vec![log.subjects(partition)])
    }
}

fn timer_stream(service: Service) -> StreamDeclaration {
    StreamDeclaration {
        keep_per_subject: Some(1),
        duplicate_window: SHORTEST_WINDOW,
        schedules: true,
        ..StreamDeclaration::new(service.timer_stream(), service.timer_subjects().to_vec())
    }
}

fn blob_stream() -> StreamDeclaration {
    StreamDeclaration {
        keep_per_subject: Some(1),
        duplicate_window: SHORTEST_WINDOW,
        ..StreamDeclaration::new(BLOB_STREAM, vec![BLOB_SUBJECTS.to_owned()])
    }
}

/// As the key-value tools of NATS make a bucket without history.
fn bucket(name: &str, max_age: Option<Duration>) -> StreamDeclaration {
    StreamDeclaration {
        keep_per_subject: Some(1),
        max_age,
        duplicate_window: max_age.map_or(PRODUCERS_WINDOW, |age| age.min(PRODUCERS_WINDOW)),
        rollups: true,
        ..StreamDeclaration::new(crate::bucket::stream(name), vec![crate::bucket::subject(name, ">")])
    }
}

fn consumers(service: Service, installation: &Installation) -> Vec<ConsumerDeclaration> {
    let consumer = |stream: String, filter: String| ConsumerDeclaration {
        stream,
        durable: service.durable().to_owned(),
        filter,
        ack_wait: installation.ack_wait,
        max_ack_pending: installation.max_ack_pending,
    };
    let mut consumers = Vec::new();
    for log in service.consumes() {
        let of_partition = |partition| consumer(log.stream(partition), log.subjects(partition));
        consumers.extend((0..installation.partitions).map(of_partition));
    }
    if deciders().any(|decider| decider == service) {
        let [_, due] = service.timer_subjects();
        consumers.push(consumer(service.timer_stream(), due));
    }
    consumers
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn every_consumer_has_its_stream() {
        let installation = Installation { partitions: 2, ..Installation::default() };
        let declared = Declared::of(&installation);
        for consumer in &declared.consumers {
            let stream = declared.streams.iter().find(|stream| stream.name == consumer.stream).unwrap();
            assert!(
                stream.subjects.contains(&consumer.filter),
                "{} on {}",
                consumer.durable,
                consumer.stream
            );
        }
        for service in Service::ALL {
            let own = Declared::for_service(&installation, service);
            for consumer in own.consumers {
                assert!(own.streams.iter().any(|stream| stream.name == consumer.stream), "{consumer:?}");
            }
        }
    }

    #[test]
    fn every_stream_is_reported_under_a_log() {
        let under: Vec<_> = Declared::of(&Installation::default())
            .streams
            .iter()
            .map(|stream| (stream.name.clone(), reported_under(&stream.name)))
            .filter(|(stream, _)| Log::from_stream(stream).is_none())
            .collect();
        for (stream, log) in [
            ("MILLRACE_WORKER_TIMERS", Log::Worker),
            ("MILLRACE_BLOBS", Log::SpecRegistry),
            ("KV_MILLRACE_LEASES", Log::Worker),
            ("KV_MILLRACE_HEALTH", Log::Projector),
        ] {
            assert!(under.contains(&(stream.to_owned(), log)), "{stream}: {under:?}");
        }
    }

    #[test]
    fn logs_keep_everything_and_cannot_lose_single_messages() {
        let declared = Declared::of(&Installation::default());
        for log in Log::ALL {
            let stream = declared.streams.iter().find(|stream| stream.name == log.stream(0)).unwrap();
            let config = stream.config();
            assert_eq!(config["max_age"], 0);
            assert_eq!(config["max_msgs_per_subject"], -1);
            assert_eq!(config["discard"], "new");
            assert_eq!(config["deny_delete"], true);
        }
    }
}
