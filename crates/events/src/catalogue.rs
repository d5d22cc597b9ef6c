//! The catalogue: every log, who writes it, who reads it, and the names that follow from that. Nobody
//! else spells a subject or a stream name. DESIGN section 2.

use crate::Key;

/// First token of every subject.
pub const NAMESPACE: &str = "millrace";
/// Prefix of every stream.
pub const STREAM_PREFIX: &str = "MILLRACE_";
/// The content-addressed store: `millrace.blobs.<sha256>.<chunk>`.
pub const BLOB_STREAM: &str = "MILLRACE_BLOBS";
/// Subject space of the content-addressed store.
pub const BLOB_SUBJECTS: &str = "millrace.blobs.>";
/// Leases of work orders; entries expire with the lease.
pub const LEASE_BUCKET: &str = "MILLRACE_LEASES";
/// Who releases to which target, and which commits a target refuses; entries do not expire.
pub const TARGET_BUCKET: &str = "MILLRACE_TARGETS";
/// Tasks that wait to be dispatched; an entry goes when its task is dispatched or ends.
pub const QUEUE_BUCKET: &str = "MILLRACE_QUEUE";
/// Which tasks use up the concurrency limits of repositories and domains.
pub const SLOT_BUCKET: &str = "MILLRACE_SLOTS";
/// Whether models may be asked: the kill switch. Its entry does not expire.
pub const MODEL_SWITCH_BUCKET: &str = "MILLRACE_MODEL_SWITCH";
/// What is spent on models and reserved, and how much is asked of each; entries that nobody touches expire.
pub const MODEL_USE_BUCKET: &str = "MILLRACE_MODEL_USE";
/// One entry per running process; entries expire when it falls silent.
pub const HEALTH_BUCKET: &str = "MILLRACE_HEALTH";

/// A log: one stream per partition, one subject per key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Log {
    /// What producers ask for.
    Intake,
    /// What people with the operator role decide.
    Operator,
    /// Which specs are known.
    SpecRegistry,
    /// The life cycle of every task.
    Dispatcher,
    /// Who took which work order, and what came of it.
    Worker,
    /// Verdicts on pull requests.
    Validator,
    /// Pull requests, merges, releases.
    Deployer,
    /// What failures have in common.
    FailureAnalyzer,
    /// What the ledger noticed.
    Projector,
    /// What could not be handled.
    DeadLetter,
}

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Knows the specs.
    SpecRegistry,
    /// Owns the life cycle.
    Dispatcher,
    /// Does the work.
    Worker,
    /// Judges pull requests.
    Validator,
    /// Writes to forges and targets.
    Deployer,
    /// Groups failures.
    FailureAnalyzer,
    /// Writes the ledger.
    Projector,
    /// Answers questions.
    Query,
}

impl Log {
    /// All logs, in the order in which a task meets them.
    pub const ALL: [Self; 10] = [
        Self::Intake,
        Self::Operator,
        Self::SpecRegistry,
        Self::Dispatcher,
        Self::Worker,
        Self::Validator,
        Self::Deployer,
        Self::FailureAnalyzer,
        Self::Projector,
        Self::DeadLetter,
    ];

    /// The name, as in subjects and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Operator => "operator",
            Self::SpecRegistry => "spec-registry",
            Self::Dispatcher => "dispatcher",
            Self::Worker => "worker",
            Self::Validator => "validator",
            Self::Deployer => "deployer",
            Self::FailureAnalyzer => "failure-analyzer",
            Self::Projector => "projector",
            Self::DeadLetter => "dead-letter",
        }
    }

    /// The log of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|log| log.name() == name)
    }

    /// The stream that holds one partition.
    pub fn stream(self, partition: u32) -> String {
        format!("{STREAM_PREFIX}{}_{partition}", self.name().to_uppercase().replace('-', "_"))
    }

    /// The log that a stream holds a partition of.
    pub fn from_stream(stream: &str) -> Option<Self> {
        let (name, partition) = stream.strip_prefix(STREAM_PREFIX)?.rsplit_once('_')?;
        partition.parse::<u32>().ok()?;
        Self::from_name(&name.to_lowercase().replace('_', "-"))
    }

    /// The subjects of one partition.
    pub fn subjects(self, partition: u32) -> String {
        format!("{NAMESPACE}.{}.{partition}.>", self.name())
    }

    /// The subjects of every partition.
    pub fn all_subjects(self) -> String {
        format!("{NAMESPACE}.{}.*.>", self.name())
    }

    /// The one subject of all events of `key`.
    pub fn subject(self, key: &Key, partitions: u32) -> String {
        format!("{NAMESPACE}.{}.{}.{key}", self.name(), key.partition(partitions))
    }

    /// The key in a subject of this log.
    pub fn key(self, subject: &str) -> Option<Key> {
        let rest = subject.strip_prefix(NAMESPACE)?.strip_prefix('.')?;
        let rest = rest.strip_prefix(self.name())?.strip_prefix('.')?;
        let (partition, key) = rest.split_once('.')?;
        partition.parse::<u32>().ok()?;
        Key::new(key).ok()
    }

    /// Whether producers' message ids are honoured, so that a resend inside two minutes is one message.
    /// The services' own logs rest on the expected sequence instead.
    pub const fn has_message_ids(self) -> bool {
        matches!(self, Self::Intake | Self::Operator)
    }
}

impl Service {
    /// All services, in the order of a task's way.
    pub const ALL: [Self; 8] = [
        Self::SpecRegistry,
        Self::Dispatcher,
        Self::Worker,
        Self::Validator,
        Self::Deployer,
        Self::FailureAnalyzer,
        Self::Projector,
        Self::Query,
    ];

    /// The name, as in sources, permissions and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SpecRegistry => "spec-registry",
            Self::Dispatcher => "dispatcher",
            Self::Worker => "worker",
            Self::Validator => "validator",
            Self::Deployer => "deployer",
            Self::FailureAnalyzer => "failure-analyzer",
            Self::Projector => "projector",
            Self::Query => "query",
        }
    }

    /// The service of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// The logs that it alone, or among others, writes (beside `dead-letter`, which all do).
    pub const fn writes(self) -> &'static [Log] {
        match self {
            // The registry's scan is a producer; webhooks will be too.
            Self::SpecRegistry => &[Log::SpecRegistry, Log::Intake],
            Self::Dispatcher => &[Log::Dispatcher],
            Self::Worker => &[Log::Worker],
            Self::Validator => &[Log::Validator],
            Self::Deployer => &[Log::Deployer],
            Self::FailureAnalyzer => &[Log::FailureAnalyzer],
            Self::Projector => &[Log::Projector],
            Self::Query => &[Log::Operator, Log::Intake],
        }
    }

    /// The log that holds its own decisions, for the services that decide.
    pub const fn own_log(self) -> Option<Log> {
        match self {
            Self::SpecRegistry => Some(Log::SpecRegistry),
            Self::Dispatcher => Some(Log::Dispatcher),
            Self::Worker => Some(Log::Worker),
            Self::Validator => Some(Log::Validator),
            Self::Deployer => Some(Log::Deployer),
            Self::FailureAnalyzer => Some(Log::FailureAnalyzer),
            Self::Projector => Some(Log::Projector),
            Self::Query => None,
        }
    }

    /// The logs it reads, each with a durable consumer of its own.
    pub const fn consumes(self) -> &'static [Log] {
        match self {
            Self::SpecRegistry => &[Log::Intake, Log::Operator],
            Self::Dispatcher => &[
                Log::SpecRegistry,
                Log::Worker,
                Log::Validator,
                Log::Deployer,
                Log::Operator,
                Log::Projector,
            ],
            Self::Worker => &[Log::Dispatcher, Log::Operator],
            Self::Validator => &[Log::Deployer, Log::Worker, Log::Operator],
            Self::Deployer => &[Log::Worker, Log::Validator, Log::Dispatcher, Log::Operator],
            Self::FailureAnalyzer => &[Log::Dispatcher, Log::SpecRegistry, Log::Operator],
            Self::Projector => &Log::ALL,
            Self::Query => &[],
        }
    }

    /// Name of its durable consumer on each log that it reads.
    pub const fn durable(self) -> &'static str {
        self.name()
    }

    /// The stream of its deadlines, for services that decide about tasks.
    pub fn timer_stream(self) -> String {
        format!("{STREAM_PREFIX}{}_TIMERS", self.name().to_uppercase().replace('-', "_"))
    }

    /// Where a deadline waits.
    pub fn timer_subject(self, key: &Key, name: &str) -> String {
        format!("{NAMESPACE}.{}.timers.{key}.{name}", self.name())
    }

    /// Where it arrives when it fires.
    pub fn due_subject(self, key: &Key, name: &str) -> String {
        format!("{NAMESPACE}.{}.due.{key}.{name}", self.name())
    }

    /// Both kinds of subject of all its deadlines.
    pub fn timer_subjects(self) -> [String; 2] {
        [format!("{NAMESPACE}.{}.timers.>", self.name()), format!("{NAMESPACE}.{}.due.>", self.name())]
    }

    /// The key and name in the subject of a fired deadline.
    pub fn fired(self, subject: &str) -> Option<(Key, String)> {
        let rest = subject.strip_prefix(NAMESPACE)?.strip_prefix('.')?;
        let rest = rest.strip_prefix(self.name())?.strip_prefix(".due.")?;
        let (key, name) = rest.split_once('.')?;
        Some((Key::new(key).ok()?, name.to_owned()))
    }

    /// The attribute `source` of its events.
    pub fn source(self) -> String {
        format!("/millrace/{}", self.name())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_what_they_name() {
        let key = Key::new("VTID-01213").unwrap();
        for log in Log::ALL {
            assert_eq!(Log::from_name(log.name()), Some(log));
            assert_eq!(Log::from_stream(&log.stream(3)), Some(log));
            assert_eq!(log.key(&log.subject(&key, 1)), Some(key.clone()));
            assert!(log.stream(0).len() < 32, "{} is longer than NATS advises", log.stream(0));
        }
        for service in Service::ALL {
            assert_eq!(Service::from_name(service.name()), Some(service));
            let (found, name) = service.fired(&service.due_subject(&key, "lease")).unwrap();
            assert_eq!((found, name.as_str()), (key.clone(), "lease"));
        }
        assert_eq!(Log::Worker.subject(&key, 1), "millrace.worker.0.VTID-01213");
        assert_eq!(Log::SpecRegistry.stream(0), "MILLRACE_SPEC_REGISTRY_0");
    }

    #[test]
    fn every_service_log_has_one_writer() {
        for log in Log::ALL {
            let writers = Service::ALL.iter().filter(|s| s.writes().contains(&log)).count();
            let expected = match log {
                Log::DeadLetter => 0,
                Log::Intake => 2,
                _ => 1,
            };
            assert_eq!(writers, expected, "{}", log.name());
        }
    }
}
