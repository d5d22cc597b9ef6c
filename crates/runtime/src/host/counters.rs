//! What a host counts: for its last log line, and for the collector.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_events::Service;
use millrace_telemetry::metrics::{Counter, Durations};
use millrace_telemetry::names::{attribute, metric, value};

use super::pump::Origin;
use super::spans::Template;

/// Since the host was started.
pub(super) struct Counters {
    pub(super) refused: Count,
    pub(super) append_conflicts: Count,
    pub(super) claim_conflicts: Count,
    pub(super) skipped: Count,
    pub(super) held: Count,
    pub(super) dead_lettered: Count,
    pub(super) replayed: Count,
    pub(super) appended: Count,
    pub(super) redelivered: Count,
    took: Durations,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count {
    here: AtomicU64,
    metric: Counter,
}

impl Counters {
    pub(super) fn of(service: Service) -> Self {
        let own = [(attribute::MILLRACE_SERVICE, service.name())];
        let count = |definition| Count { here: AtomicU64::new(0), metric: Counter::new(definition, &own) };
        Self {
            refused: count(&metric::REFUSED),
            append_conflicts: count(&metric::APPEND_CONFLICTS),
            claim_conflicts: count(&metric::CLAIM_CONFLICTS),
            skipped: count(&metric::SKIPPED),
            held: count(&metric::HELD),
            dead_lettered: count(&metric::DEAD_LETTERS),
            replayed: count(&metric::REPLAYED),
            appended: Count { here: AtomicU64::new(0), metric: sent(service) },
            redelivered: count(&metric::REDELIVERED),
            took: Durations::new(&metric::PROCESS_DURATION, &messaging(service, value::PROCESS)),
        }
    }

    /// How long a message took from its turn to its answer.
    pub(super) fn took(&self, duration: Duration) {
        self.took.record(duration);
    }
}

impl Count {
    /// Counts one more, and says how many there were before.
    pub(super) fn one_more(&self) -> u64 {
        self.metric.add_one();
        self.here.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn total(&self) -> u64 {
        self.here.load(Ordering::Relaxed)
    }
}

/// Counts what one consumer of the service takes.
pub(super) fn consumed(service: Service, origin: Origin) -> Counter {
    let template = match origin {
        Origin::Log(log) => Template::Log(log),
        Origin::Deadlines(service) => Template::Due(service),
    };
    let template = template.to_string();
    let [system, operation, own] = messaging(service, value::PROCESS);
    let from = (attribute::MESSAGING_DESTINATION_TEMPLATE, template.as_str());
    Counter::new(&metric::CONSUMED, &[system, operation, own, from])
}

fn sent(service: Service) -> Counter {
    Counter::new(&metric::SENT, &messaging(service, value::SEND))
}

fn messaging(service: Service, operation: &'static str) -> [(&'static str, &'static str); 3] {
    [
        (attribute::MESSAGING_SYSTEM, value::NATS),
        (attribute::MESSAGING_OPERATION_NAME, operation),
        (attribute::MILLRACE_SERVICE, service.name()),
    ]
}
