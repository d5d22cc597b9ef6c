//! The dispatcher's limits, taken from the settings.

use millrace_runtime::settings::Settings;

use crate::admission::Rules;
use crate::domain::Limits;

/// Its share of the limits.
pub fn limits(settings: &Settings) -> Limits {
    let limits = &settings.limits;
    Limits {
        acknowledge: limits.acknowledge,
        dispatch_attempts: limits.dispatch_attempts,
        dispatch_backoff: limits.dispatch_backoff,
        lease: limits.lease,
        execution: limits.execution,
        attempts: limits.attempts,
        pr_grace: limits.pr_grace,
        counts_runs: settings.dispatch.counts_runs(),
    }
}

/// What admission goes by.
pub fn rules(settings: &Settings) -> Rules {
    let dispatch = &settings.dispatch;
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Rules {
        open_offers: count(dispatch.open_offers),
        waiting: count(dispatch.waiting),
        aging: dispatch.aging,
        acknowledge: settings.limits.acknowledge,
        repositories: dispatch.repositories.clone(),
        domains: dispatch.domains.clone(),
        partitions: settings.nats.partitions,
    }
}
