//! From a merge to a verdict on its release.

use millrace_events::v1::{DeploymentVerified, Failure};
use millrace_events::{Code, Key};
use millrace_runtime::host::Fault;

use super::{SOURCE, World, deployment_failed, site_fault, target_fault};
use crate::domain::{Input, Merge};
use crate::ports::{ReleaseRequest, RolledOut, TargetError};

impl World {
    pub(super) async fn deploy(&self, merge: &Merge, key: &Key) -> Result<Option<Input>, Fault> {
        let task = &merge.task;
        if self.answers(key, task).await?.verdict {
            return Ok(None);
        }
        let entry = match self.take_target(task).await? {
            Ok(entry) => entry,
            Err(busy) => return Ok(Some(busy)),
        };
        if entry.refused.contains(&merge.commit) {
            let message = format!("{} was rolled back from target {} before", merge.commit, task.target);
            return Ok(Some(failed(merge, message)));
        }
        let site = self.sites.repository(&task.repository).await.map_err(site_fault)?;
        let target = self.sites.target(&task.target).await.map_err(site_fault)?;
        // Past the deadline too: that no deployer was there says nothing about the release.
        let deadline = match target.roll_out(&ReleaseRequest { commit: merge.commit.clone() }).await {
            // The limit is the release's own: it counts from its start.
            Ok(RolledOut { started: true, .. }) => self.clock.now() + self.deployment,
            Ok(RolledOut { started: false, .. }) => {
                (merge.at + self.deployment).max(self.clock.now() + self.wrong_sha_grace)
            }
            Err(error @ TargetError::StartExited { .. }) => {
                return Ok(Some(failed(merge, error.to_string())));
            }
            Err(error) => return Err(target_fault(error, Code::DeploymentFailed)),
        };
        millrace_runtime::crash_point::reached("deployer.rolled_out");
        let seen = match self.watch(site.forge.as_ref(), target.as_ref(), &merge.commit, deadline).await? {
            Ok(seen) => seen,
            Err(failure) => return Ok(Some(Input::found(deployment_failed(merge, failure)))),
        };
        let current = target.current().await.map_err(|error| target_fault(error, Code::DeploymentFailed))?;
        let duration = self.clock.now().since(merge.at);
        let verified = DeploymentVerified {
            task: Some(task.clone()),
            pull_request: Some(merge.pull_request.clone()),
            merge_commit: merge.commit.clone(),
            release_commit: seen.commit,
            superseded: seen.superseded,
            url: current.map(|record| record.address).unwrap_or_default(),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        };
        Ok(Some(Input::found(verified)))
    }
}

fn failed(merge: &Merge, message: String) -> Input {
    let failure = Failure::new(Code::DeploymentFailed, message)
        .from_source(SOURCE)
        .at_stage("deploying")
        .with("expected_sha", &merge.commit);
    Input::found(deployment_failed(merge, failure))
}
