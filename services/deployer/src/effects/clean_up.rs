//! What a run leaves on the forge goes with it: open pull requests and the attempts' branches.

use millrace_events::{Code, v1::TaskRef};
use millrace_forge::{Forge, ForgeError, State};
use millrace_runtime::host::Fault;

use super::{World, branch_of, forge_fault, site_fault};
use crate::ports::SiteError;

/// Attempts of a run that are looked for; the settings allow no more.
const MAX_ATTEMPTS: u32 = 100;

impl World {
    pub(super) async fn clean_up(
        &self,
        task: &TaskRef,
        reason: &str,
        frees_target: bool,
    ) -> Result<(), Fault> {
        // First, so that a forge that does not do what it is asked keeps no target.
        if frees_target && !task.target.is_empty() {
            let is_holder =
                |holder: &crate::target_book::Owner| holder.task == task.task && holder.run == task.run;
            self.targets.free(&task.target, is_holder, None).await?;
        }
        match self.sites.repository(&task.repository).await {
            Ok(site) => {
                for attempt in 1..=task.attempt.min(MAX_ATTEMPTS) {
                    let branch = branch_of(&TaskRef { attempt, ..task.clone() });
                    remove(site.forge.as_ref(), &branch, reason).await?;
                }
            }
            // Nothing of it can be on a forge that was never configured.
            Err(SiteError::Unknown { .. }) => {}
            Err(error) => return Err(site_fault(error)),
        }
        Ok(())
    }
}

async fn remove(forge: &dyn Forge, branch: &str, reason: &str) -> Result<(), Fault> {
    let fault = |error: ForgeError| {
        forge_fault(error, Code::ForgeUnavailable, format!("{branch} could not be cleaned up"))
    };
    let found = forge.find_pull_request(branch).await.map_err(fault)?;
    if let Some(found) = found.filter(|found| found.state == State::Open) {
        match forge.close_pull_request(found.number, reason).await {
            Ok(()) | Err(ForgeError::AlreadyMerged { .. } | ForgeError::PullRequestNotFound { .. }) => {}
            Err(error) => return Err(fault(error)),
        }
    }
    forge.delete_branch(branch).await.map_err(fault)
}
