//! The dispatcher's limits, taken from the settings.

use millrace_runtime::settings::Settings;

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
    }
}
