//! Taking a failed release back: the target first, then the base branch.

use millrace_events::Code;
use millrace_events::v1::{Failure, RollbackCompleted};
use millrace_forge::RevertRequest;
use millrace_runtime::crash_point;
use millrace_runtime::host::{EffectContext, Fault};

use super::{SOURCE, World, rollback_failed, site_fault, target_fault};
use crate::domain::{Input, Merge};
use crate::ports::{ReleaseRequest, Site, Target, TargetError};

/// After so many tries a revert that fails for a passing reason is left to people.
const REVERT_TRIES: u32 = 4;

impl World {
    pub(super) async fn roll_back(
        &self,
        merge: &Merge,
        failure: &Failure,
        context: &EffectContext,
    ) -> Result<Option<Input>, Fault> {
        let task = &merge.task;
        if self.answers(&context.key, task).await?.rollback {
            return Ok(None);
        }
        if let Err(busy) = self.take_target(task).await? {
            return Ok(Some(busy));
        }
        let site = self.sites.repository(&task.repository).await.map_err(site_fault)?;
        let target = self.sites.target(&task.target).await.map_err(site_fault)?;
        // Refused before anything else, so that no crash from here on lets it be released again.
        let entry = self.targets.refuse(&task.target, &merge.commit).await?;
        let before = entry.release.as_str();
        let restored = if before.is_empty() || before == merge.commit {
            target.stop().await.map_err(|error| target_fault(error, Code::RollbackFailed))?;
            Ok(String::new())
        } else {
            self.restore(&site, target.as_ref(), before).await?
        };
        crash_point::reached("deployer.restored");
        let failure = take_out(&site, merge, failure, context.attempt).await?;
        crash_point::reached("deployer.reverted");
        Ok(Some(Input::found(match restored {
            Ok(restored_commit) => RollbackCompleted {
                task: Some(task.clone()),
                refused_commit: merge.commit.clone(),
                restored_commit,
                failure: Some(failure),
            }
            .into(),
            Err(why) => rollback_failed(merge, failed(merge, &failure, &why)),
        })))
    }

    /// Rolls the release before out and watches it as any release. `Err` inside: why it is not back.
    async fn restore(
        &self,
        site: &Site,
        target: &dyn Target,
        commit: &str,
    ) -> Result<Result<String, String>, Fault> {
        let deadline = self.clock.now() + self.deployment;
        match target.roll_out(&ReleaseRequest { commit: commit.to_owned() }).await {
            Ok(_) => {}
            Err(error @ TargetError::StartExited { .. }) => return Ok(Err(error.to_string())),
            Err(error) => return Err(target_fault(error, Code::RollbackFailed)),
        }
        let seen = self.watch(site.forge.as_ref(), target, commit, deadline).await?;
        Ok(seen.map(|seen| seen.commit).map_err(|failure| failure.message))
    }
}

/// Takes the change out of the base branch, so that the next release does not bring it back. Where that
/// cannot be done, the failure says so and the target stays held until people have done it.
async fn take_out(site: &Site, merge: &Merge, failure: &Failure, attempt: u32) -> Result<Failure, Fault> {
    let request = RevertRequest {
        merge_commit: merge.commit.clone(),
        base_branch: site.base_branch.clone(),
        reason: format!(
            "The release of {} was rolled back ({}): {}\n\nTask-Id: {}",
            merge.task.task,
            failure.code_name(),
            failure.message,
            merge.task.task
        ),
    };
    match site.forge.revert(&request).await {
        Ok(reverted) => Ok(failure.clone().with("reverted_by", reverted.commit)),
        Err(error) if error.is_transient() && attempt < REVERT_TRIES => {
            Err(Fault::transient(Code::ForgeUnavailable, format!("{} could not be reverted", merge.commit))
                .caused_by(error))
        }
        Err(error) => {
            let advice = format!(
                "{error}; revert {} on {} by hand: the target is held until then",
                merge.commit, site.base_branch
            );
            Ok(failure.clone().with("not_reverted", advice))
        }
    }
}

/// The target needs a person: what failed first, and why it is not back.
pub(super) fn failed(merge: &Merge, failure: &Failure, why: &str) -> Failure {
    let message = format!(
        "the release before {} could not be restored on target {}: {why}; the release had failed with {}: {}",
        merge.commit,
        merge.task.target,
        failure.code_name(),
        failure.message
    );
    let mut rollback = Failure::new(Code::RollbackFailed, message)
        .from_source(SOURCE)
        .at_stage("verifying")
        .with("release_failure", failure.code_name());
    for (name, value) in &failure.context {
        rollback = rollback.with(name, value);
    }
    rollback
}
