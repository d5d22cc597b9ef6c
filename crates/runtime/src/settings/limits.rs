//! The limits of DESIGN section 5. All are settings; the defaults are the design's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// What a task may take at most, and how often it is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// A work order must be acknowledged within this.
    #[serde(with = "duration")]
    pub acknowledge: Duration,
    /// How often a work order is offered before the task is blocked.
    pub dispatch_attempts: u32,
    /// Pause before a work order is offered again; doubles each time.
    #[serde(with = "duration")]
    pub dispatch_backoff: Duration,
    /// Life of a worker's lease without renewal.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// How often a lease is renewed.
    #[serde(with = "duration")]
    pub lease_renewal: Duration,
    /// Execution of one work order.
    #[serde(with = "duration")]
    pub execution: Duration,
    /// Re-prompts after an answer that breaks its contract.
    pub contract_retries: u32,
    /// Attempts of a run, the first included, where the code is retryable.
    pub attempts: u32,
    /// The pull request must be seen within this after the execution.
    #[serde(with = "duration")]
    pub pr_grace: Duration,
    /// Checks must be done within this after the pull request.
    #[serde(with = "duration")]
    pub checks_wait: Duration,
    /// The validation itself.
    #[serde(with = "duration")]
    pub validation: Duration,
    /// The release must be verified within this after the merge, or after its start where that was later.
    #[serde(with = "duration")]
    pub deployment: Duration,
    /// Looking for a spec in its sources before saying that there is none.
    #[serde(with = "duration")]
    pub spec_sync: Duration,
    /// Silence of an active task that waits for nobody.
    #[serde(with = "duration")]
    pub overdue: Duration,
    /// How often the projector looks for streams that have lost events, for a server that is not as declared
    /// and for silent tasks. At most 15 s, so that every alarm comes within a minute.
    #[serde(with = "duration")]
    pub watchdog: Duration,
    /// What is in flight at a stop may take this long.
    #[serde(with = "duration")]
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            acknowledge: seconds(30),
            dispatch_attempts: 3,
            dispatch_backoff: seconds(2),
            lease: seconds(30),
            lease_renewal: seconds(10),
            execution: seconds(30 * 60),
            contract_retries: 3,
            attempts: 3,
            pr_grace: seconds(5 * 60),
            checks_wait: seconds(60 * 60),
            validation: seconds(30),
            deployment: seconds(10 * 60),
            spec_sync: seconds(20),
            overdue: seconds(90 * 60),
            watchdog: seconds(15),
            grace: seconds(10),
        }
    }
}

impl Limits {
    /// What does not fit together, as sentences that name the settings.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.lease_renewal * 2 > self.lease {
            problems.push(
                "limits.lease_renewal must be at most half of limits.lease, or one lost renewal loses the lease"
                    .to_owned(),
            );
        }
        if self.lease < Duration::from_secs(1) {
            problems.push("limits.lease must be at least 1s".to_owned());
        }
        if self.watchdog.is_zero() || self.watchdog > Duration::from_secs(15) {
            problems.push("limits.watchdog must be more than 0 and at most 15s".to_owned());
        }
        for (name, count) in [("dispatch_attempts", self.dispatch_attempts), ("attempts", self.attempts)] {
            if count == 0 || count > 100 {
                problems.push(format!("limits.{name} must be between 1 and 100"));
            }
        }
        if self.contract_retries > 10 {
            problems.push("limits.contract_retries must be at most 10".to_owned());
        }
        problems
    }
}
