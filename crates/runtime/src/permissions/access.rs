//! Which streams and buckets a service touches, and how.

use std::collections::BTreeSet;

use millrace_events::catalogue::{
    BLOB_STREAM, HEALTH_BUCKET, LEASE_BUCKET, MODEL_SWITCH_BUCKET, MODEL_USE_BUCKET, QUEUE_BUCKET,
    SLOT_BUCKET, TARGET_BUCKET,
};
use millrace_events::{Log, Service};

use crate::bootstrap::Installation;
use crate::bucket;

/// What a service may do, in terms of streams and of the subjects that it writes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Access {
    /// Streams of which it may read the messages.
    pub(crate) reads: BTreeSet<String>,
    /// Streams of which it may read the configuration and the extent.
    pub(crate) inspects: BTreeSet<String>,
    /// Streams from which it may remove messages.
    pub(crate) purges: BTreeSet<String>,
    /// Subjects on which it may publish.
    pub(crate) writes: BTreeSet<String>,
}

impl Access {
    /// The table of who may touch what.
    pub(crate) fn of(service: Service, installation: &Installation) -> Self {
        let mut access = Self::default();
        access.logs(service, installation.partitions);
        access.deadlines(service);
        access.blobs(service);
        access.buckets(service);
        access
    }

    /// Whether the stream concerns it at all.
    pub(crate) fn knows(&self, stream: &str) -> bool {
        self.inspects.contains(stream)
    }

    fn logs(&mut self, service: Service, partitions: u32) {
        for partition in 0..partitions {
            for log in service.writes().iter().chain(&[Log::DeadLetter]) {
                self.writes.insert(log.subjects(partition));
                self.inspects.insert(log.stream(partition));
            }
            for log in service.own_log().iter().chain(service.consumes()) {
                self.read(log.stream(partition));
            }
            if crate::bootstrap::deciders().any(|decider| decider == service) {
                // Whether a replay that is asked for has an answer.
                self.read(Log::DeadLetter.stream(partition));
            }
            if service == Service::Query {
                // It shows how far the ledger lags behind every log, and verifies the ledger against them.
                for log in Log::ALL {
                    self.read(log.stream(partition));
                }
            }
        }
    }

    fn deadlines(&mut self, service: Service) {
        if crate::bootstrap::deciders().all(|decider| decider != service) {
            return;
        }
        let [timers, _due] = service.timer_subjects();
        self.writes.insert(timers);
        self.read(service.timer_stream());
        self.purges.insert(service.timer_stream());
    }

    fn blobs(&mut self, service: Service) {
        let (reads, writes) = match service {
            Service::SpecRegistry | Service::Worker | Service::Deployer => (true, true),
            Service::Validator | Service::Query | Service::Projector => (true, false),
            Service::Dispatcher | Service::FailureAnalyzer => (false, false),
        };
        if reads {
            self.read(BLOB_STREAM.to_owned());
        }
        if writes {
            self.writes.insert(millrace_events::catalogue::BLOB_SUBJECTS.to_owned());
        }
    }

    fn buckets(&mut self, service: Service) {
        if matches!(service, Service::Worker | Service::Dispatcher) {
            self.bucket(LEASE_BUCKET, ">");
        }
        if service == Service::Deployer {
            self.bucket(TARGET_BUCKET, ">");
        }
        if service == Service::Dispatcher {
            self.bucket(QUEUE_BUCKET, ">");
            self.bucket(SLOT_BUCKET, ">");
        }
        // Whoever asks models counts what they cost, and looks at the switch; operators throw it.
        if service == Service::Worker {
            self.bucket(MODEL_USE_BUCKET, ">");
            self.read(bucket::stream(MODEL_SWITCH_BUCKET));
        }
        if service == Service::Query {
            self.bucket(MODEL_SWITCH_BUCKET, ">");
            self.read(bucket::stream(MODEL_USE_BUCKET));
        }
        // Everybody says that it lives, under its own name; the query service looks at all of them.
        self.writes.insert(bucket::subject(HEALTH_BUCKET, &format!("{}.>", service.name())));
        self.inspects.insert(bucket::stream(HEALTH_BUCKET));
        // The dispatcher looks whether there are workers.
        if matches!(service, Service::Query | Service::Dispatcher) {
            self.read(bucket::stream(HEALTH_BUCKET));
        }
    }

    fn bucket(&mut self, name: &str, keys: &str) {
        self.read(bucket::stream(name));
        self.writes.insert(bucket::subject(name, keys));
    }

    fn read(&mut self, stream: String) {
        self.inspects.insert(stream.clone());
        self.reads.insert(stream);
    }
}
