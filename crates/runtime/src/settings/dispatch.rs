//! How many runs are under way at a time, and in which order those that wait are let in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// Most runs at a time that a limit can name.
const LARGEST_LIMIT: u32 = 1_000;
/// Longest name of a limited domain, in bytes.
const LONGEST_DOMAIN: usize = 64;

/// Limits on what is under way, and the order of what waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dispatch {
    /// Runs whose first work order nobody has acknowledged yet, for one dispatcher process. Beyond it runs wait.
    pub open_offers: u32,
    /// Runs that wait at most; beyond it specs stay in their log.
    pub waiting: u32,
    /// What waits this long counts as one priority higher.
    #[serde(with = "duration")]
    pub aging: Duration,
    /// Runs at a time, by id of the repository. A repository that is not named has no limit.
    pub repositories: BTreeMap<String, u32>,
    /// Runs at a time, by the spec's domain, whatever its case. A domain that is not named has no limit.
    pub domains: BTreeMap<String, u32>,
}

impl Default for Dispatch {
    fn default() -> Self {
        Self {
            open_offers: 1_000,
            waiting: 100_000,
            aging: Duration::from_secs(10 * 60),
            repositories: BTreeMap::new(),
            domains: BTreeMap::new(),
        }
    }
}

impl Dispatch {
    /// Whether runs use up a limit of a repository or domain.
    pub fn counts_runs(&self) -> bool {
        !self.repositories.is_empty() || !self.domains.is_empty()
    }

    /// What cannot be meant, as sentences that name the settings.
    pub(super) fn problems(&self, repositories: &BTreeSet<&str>) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, count, most) in
            [("open_offers", self.open_offers, 100_000), ("waiting", self.waiting, 1_000_000)]
        {
            if count == 0 || count > most {
                problems.push(format!("dispatch.{name} must be between 1 and {most}"));
            }
        }
        if self.aging < Duration::from_secs(1) {
            problems.push("dispatch.aging must be at least 1s".to_owned());
        }
        for (kind, limits) in [("repositories", &self.repositories), ("domains", &self.domains)] {
            for (name, count) in limits {
                if *count == 0 || *count > LARGEST_LIMIT {
                    problems.push(format!(
                        "dispatch.{kind}: `{name}` must be between 1 and {LARGEST_LIMIT} runs"
                    ));
                }
            }
        }
        for name in self.repositories.keys().filter(|name| !repositories.contains(name.as_str())) {
            problems.push(format!("dispatch.repositories: no repository `{name}` is configured"));
        }
        let mut seen = BTreeSet::new();
        for name in self.domains.keys() {
            if name.trim().is_empty() || name.len() > LONGEST_DOMAIN {
                problems.push(format!(
                    "dispatch.domains: `{name}` must have between 1 and {LONGEST_DOMAIN} bytes"
                ));
            }
            if !seen.insert(name.trim().to_lowercase()) {
                problems.push(format!("dispatch.domains: `{name}` is limited twice; case does not count"));
            }
        }
        problems
    }
}
