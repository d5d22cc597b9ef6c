//! Watching a target until a commit is verified on it, or is not going to be.

use std::time::Duration;

use millrace_decider::Timestamp;
use millrace_events::{Code, v1::Failure};
use millrace_forge::{Forge, ForgeError};
use millrace_runtime::host::Fault;

use super::{SOURCE, World, forge_fault, target_fault};
use crate::ports::{Observed, Target};

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// An abbreviated commit must have this many digits to count.
const SHORTEST_ABBREVIATION: usize = 7;

/// A commit seen live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// What the target reports: the commit or a descendant's.
    pub(super) commit: String,
    /// It is a descendant's.
    pub(super) superseded: bool,
}

/// What a reported commit is to the one that is waited for.
enum Relation {
    Same,
    Descendant,
    Other,
}

impl World {
    /// Looks at the target until it is healthy and reports `commit` or a descendant. Ends early where
    /// waiting makes no sense: the process ended, or it is healthy and keeps reporting another commit.
    pub(super) async fn watch(
        &self,
        forge: &dyn Forge,
        target: &dyn Target,
        commit: &str,
        deadline: Timestamp,
    ) -> Result<Result<Seen, Failure>, Fault> {
        let mut wrong_since: Option<Timestamp> = None;
        loop {
            let now = self.clock.now();
            let seen = target.observe().await.map_err(|error| target_fault(error, Code::DeploymentFailed))?;
            let relation = match &seen.reported_sha {
                Some(reported) => Some(relation(forge, commit, reported).await?),
                None => None,
            };
            match (&relation, &seen.reported_sha) {
                (Some(Relation::Same), _) if seen.healthy => {
                    return Ok(Ok(Seen { commit: commit.to_owned(), superseded: false }));
                }
                (Some(Relation::Descendant), Some(reported)) if seen.healthy => {
                    return Ok(Ok(Seen { commit: reported.clone(), superseded: true }));
                }
                _ => {}
            }
            if now >= deadline {
                return Ok(Err(missed(commit, &seen, relation.as_ref())));
            }
            if !seen.running {
                let message = format!("the release of {commit} ended: {}", seen.detail);
                return Ok(Err(failure(Code::DeploymentFailed, message, commit, &seen)));
            }
            let wrong = seen.healthy && matches!(relation, Some(Relation::Other));
            wrong_since = wrong.then(|| wrong_since.unwrap_or(now));
            if wrong_since.is_some_and(|since| now.since(since) >= self.wrong_sha_grace) {
                let message = format!(
                    "the target is healthy but reports {} instead of {commit}",
                    seen.reported_sha.as_deref().unwrap_or_default()
                );
                return Ok(Err(failure(Code::ReleaseShaMismatch, message, commit, &seen)));
            }
            self.clock.sleep(LOOK_EVERY).await;
        }
    }
}

/// S2-B5: the release is what reports the commit, whatever else is healthy.
async fn relation(forge: &dyn Forge, commit: &str, reported: &str) -> Result<Relation, Fault> {
    let reported = reported.trim().to_ascii_lowercase();
    if reported == commit || (reported.len() >= SHORTEST_ABBREVIATION && commit.starts_with(&reported)) {
        return Ok(Relation::Same);
    }
    match forge.is_ancestor(commit, &reported).await {
        Ok(true) => Ok(Relation::Descendant),
        Ok(false) | Err(ForgeError::CommitNotFound { .. }) => Ok(Relation::Other),
        Err(error) => {
            let what = format!("the forge did not say whether {reported} contains {commit}");
            Err(forge_fault(error, Code::ForgeUnavailable, what))
        }
    }
}

/// What the last look before the deadline showed.
fn missed(commit: &str, seen: &Observed, relation: Option<&Relation>) -> Failure {
    let (code, what) = match relation {
        Some(Relation::Same | Relation::Descendant) => (Code::HealthCheckFailed, "did not become healthy"),
        Some(Relation::Other) => (Code::DeploymentTimeout, "was not reported by the target"),
        None if seen.healthy => (Code::ReleaseShaMismatch, "is healthy but reports no commit"),
        None => (Code::DeploymentTimeout, "did not answer"),
    };
    failure(code, format!("the release of {commit} {what} in time: {}", seen.detail), commit, seen)
}

fn failure(code: Code, message: String, commit: &str, seen: &Observed) -> Failure {
    let failure =
        Failure::new(code, message).from_source(SOURCE).at_stage("verifying").with("expected_sha", commit);
    match &seen.reported_sha {
        Some(reported) => failure.with("reported_sha", reported.chars().take(64).collect::<String>()),
        None => failure,
    }
}
