//! The merge: the point of no return. Everything it rests on is looked at once more right before it.

use millrace_events::Code;
use millrace_events::v1::{Failure, MergeCompleted, MergeFailed, PullRequest, TaskRef, ValidationPassed};
use millrace_forge::{ForgeError, MergeRequest, State};
use millrace_runtime::host::{EffectContext, Fault};

use super::holds::Question;
use super::{SOURCE, World, forge_fault, paused, site_fault, stopped};
use crate::domain::Input;
use crate::ports::{Site, SiteError};
use crate::target_book::{Owner, TargetEntry};

impl World {
    pub(super) async fn merge(
        &self,
        passed: &ValidationPassed,
        context: &EffectContext,
    ) -> Result<Input, Fault> {
        let task = passed.task.clone().unwrap_or_default();
        let validated = passed.pull_request.clone().unwrap_or_default();
        if let Some(reason) = self.is_over(&context.key, &task).await? {
            let merged = self.find_merge(passed).await?;
            return Ok(merged.unwrap_or_else(|| stopped(&task, "merging", reason)));
        }
        if self.is_paused(&context.key, &task).await? {
            // Unless a try before this one has merged it: that cannot be held any more.
            if let Some(merged) = self.find_merge(passed).await? {
                return Ok(merged);
            }
            return self.held_by_pause(task).await;
        }
        let site = self.sites.repository(&task.repository).await.map_err(site_fault)?;
        if let Some(busy) = self.take_free_target(&site, &task).await? {
            return Ok(busy);
        }
        let shown = site.forge.pull_request(validated.number).await.map_err(forge_is_silent)?;
        let shown = match judge(shown, passed, &validated) {
            Ok(shown) => shown,
            Err(no) => return Ok(no.into_input(task, validated)),
        };
        // Asked once more: forge and target have taken their time. What is merged already cannot be held.
        if shown.state != State::Merged && self.is_paused(&context.key, &task).await? {
            return self.held_by_pause(task).await;
        }
        let request = MergeRequest {
            number: validated.number,
            expected_head: validated.head.clone(),
            expected_base: passed.base_checked.then(|| validated.base.clone()),
            message: format!(
                "Merge pull request #{}: {}\n\nTask-Id: {}\nRun: {}.{}\n",
                validated.number, shown.title, task.task, task.run, task.attempt
            ),
            at: jiff::Timestamp::from_microsecond(context.now.as_micros()).ok(),
        };
        match site.forge.merge(&request).await {
            Ok(merged) => {
                millrace_runtime::crash_point::reached("deployer.merged");
                let completed = MergeCompleted {
                    task: Some(task),
                    pull_request: Some(validated),
                    merge_commit: merged.commit,
                };
                Ok(Input::found(completed))
            }
            Err(error) => Ok(refusal(error, &shown)?.into_input(task, validated)),
        }
    }

    /// Who is held by a person owns no target.
    async fn held_by_pause(&self, task: TaskRef) -> Result<Input, Fault> {
        let owner = (&task).into();
        self.targets.free(&task.target, |holder| *holder == owner, None).await?;
        Ok(paused(task))
    }

    /// A merge that was made before the run ended, and not recorded any more. `None`: there is none.
    pub(super) async fn find_merge(&self, passed: &ValidationPassed) -> Result<Option<Input>, Fault> {
        let task = passed.task.clone().unwrap_or_default();
        let validated = passed.pull_request.clone().unwrap_or_default();
        let site = match self.sites.repository(&task.repository).await {
            Ok(site) => site,
            Err(SiteError::Unknown { .. }) => return Ok(None),
            Err(error) => return Err(site_fault(error)),
        };
        let shown = site.forge.pull_request(validated.number).await.map_err(forge_is_silent)?;
        let merged = shown
            .filter(|shown| shown.state == State::Merged && shown.head_sha == validated.head)
            .and_then(|shown| shown.merge_commit);
        Ok(merged.map(|merge_commit| {
            let pull_request = Some(validated);
            Input::found(MergeCompleted { task: Some(task), pull_request, merge_commit })
        }))
    }

    /// Takes the target for a merge, if nothing is known that holds it: who waits for others owns no target.
    /// `Some`: what it waits for.
    async fn take_free_target(&self, site: &Site, task: &TaskRef) -> Result<Option<Input>, Fault> {
        let mut looked = Vec::new();
        if let Some(entry) = self.targets.entry(&task.target).await? {
            let owner = task.into();
            if let Some(other) = entry.owner.as_ref().filter(|other| **other != owner) {
                return Ok(Some(belongs_to(task, other)));
            }
            if let Some(busy) = self.held(site, task, &entry).await? {
                self.targets.free(&task.target, |holder| *holder == owner, None).await?;
                return Ok(Some(busy));
            }
            looked = entry.refused;
        }
        let entry = match self.take_target(task).await? {
            Ok(entry) => entry,
            Err(busy) => return Ok(Some(busy)),
        };
        // Another release may have come and gone in between.
        let busy = if entry.refused == looked { None } else { self.held(site, task, &entry).await? };
        if busy.is_some() {
            let owner = task.into();
            self.targets.free(&task.target, |holder| *holder == owner, None).await?;
        }
        Ok(busy)
    }

    /// After a rollback the target is held until the base branch does not contain the refused change any
    /// more: else the next release would bring it back.
    async fn held(&self, site: &Site, task: &TaskRef, entry: &TargetEntry) -> Result<Option<Input>, Fault> {
        if entry.refused.is_empty() {
            return Ok(None);
        }
        let head = site.forge.branch_head(&site.base_branch).await.map_err(forge_is_silent)?;
        let Some(base) = head else { return Ok(None) };
        let question = Question { base, refused: entry.refused.clone() };
        let found = match self.holds.answer(&task.target, &question) {
            Some(known) => known,
            None => {
                let found = not_reverted(site, &question).await?;
                self.holds.remember(&task.target, question, found.clone());
                found
            }
        };
        Ok(found.map(|refused| {
            tracing::warn!(task = task.task, target = task.target, refused, "held until it is reverted");
            let reason = format!(
                "target {} is held: {} still contains {refused}, which was rolled back; revert it",
                task.target, site.base_branch
            );
            Input::NotYet { task: task.clone(), reason }
        }))
    }

    /// Takes the target for this attempt. `Err` inside: it belongs to another until its verdict.
    pub(super) async fn take_target(&self, task: &TaskRef) -> Result<Result<TargetEntry, Input>, Fault> {
        let target = self.sites.target(&task.target).await.map_err(|error| match &error {
            SiteError::Unknown { .. } => Fault::lasting(Code::DeploymentFailed, error.to_string()),
            _ => site_fault(error),
        })?;
        let release = match self.targets.entry(&task.target).await? {
            Some(_) => String::new(),
            // The first release from here: what runs already is what a rollback goes back to.
            None => {
                let current = target
                    .current()
                    .await
                    .map_err(|error| super::target_fault(error, Code::DeploymentFailed))?;
                current.filter(|record| record.pid.is_some()).map(|record| record.commit).unwrap_or_default()
            }
        };
        let taken = self.targets.take(&task.target, &task.into(), &release).await?;
        Ok(taken.map_err(|owner| belongs_to(task, &owner)))
    }
}

fn belongs_to(task: &TaskRef, owner: &Owner) -> Input {
    let reason = format!(
        "target {} belongs to the release of {} (attempt {}.{})",
        task.target, owner.task, owner.run, owner.attempt
    );
    Input::NotYet { task: task.clone(), reason }
}

/// The first refused commit that the base contains and nothing has reverted.
async fn not_reverted(site: &Site, question: &Question) -> Result<Option<String>, Fault> {
    let (forge, base) = (&site.forge, &question.base);
    for refused in &question.refused {
        let contained = match forge.is_ancestor(refused, base).await {
            Err(ForgeError::CommitNotFound { .. }) => false,
            answer => answer.map_err(forge_is_silent)?,
        };
        if contained && forge.reverted_by(refused, base).await.map_err(forge_is_silent)?.is_none() {
            return Ok(Some(refused.clone()));
        }
    }
    Ok(None)
}

/// A merge that is not made.
struct No {
    code: Code,
    message: String,
    /// Where the base is now.
    base: String,
}

impl No {
    fn into_input(self, task: TaskRef, pull_request: PullRequest) -> Input {
        let failure = Failure::new(self.code, self.message)
            .from_source(SOURCE)
            .at_stage("merging")
            .with("pull_request", pull_request.number.to_string());
        let failed = MergeFailed {
            task: Some(task),
            pull_request: Some(pull_request),
            failure: Some(failure),
            base: self.base,
        };
        Input::found(failed)
    }
}

/// Whether the pull request is still the one that was validated. S2-G5.
fn judge(
    shown: Option<millrace_forge::PullRequest>,
    passed: &ValidationPassed,
    validated: &PullRequest,
) -> Result<millrace_forge::PullRequest, No> {
    let number = validated.number;
    let no = |code, message, base: &str| Err(No { code, message, base: base.to_owned() });
    let Some(shown) = shown else {
        return no(Code::PrNotFound, format!("pull request {number} does not exist any more"), "");
    };
    if shown.state == State::Closed {
        return no(Code::PrClosed, format!("pull request {number} was closed before it was merged"), "");
    }
    if shown.head_sha != validated.head {
        let message = format!(
            "the head of pull request {number} is {}, but {} was validated",
            shown.head_sha, validated.head
        );
        return no(Code::PrHeadMoved, message, "");
    }
    if shown.state == State::Merged {
        return Ok(shown);
    }
    if shown.draft {
        return no(Code::PrClosed, format!("pull request {number} was turned into a draft"), "");
    }
    if passed.base_checked && shown.base_sha != validated.base {
        let message = format!(
            "{} moved from {} to {} since the checks ran",
            shown.base_branch, validated.base, shown.base_sha
        );
        return no(Code::PrBaseMoved, message, &shown.base_sha);
    }
    Ok(shown)
}

/// The forge's own look, a moment later.
fn refusal(error: ForgeError, shown: &millrace_forge::PullRequest) -> Result<No, Fault> {
    let (code, base) = match &error {
        ForgeError::PullRequestNotFound { .. } => (Code::PrNotFound, String::new()),
        ForgeError::Closed { .. } | ForgeError::Draft { .. } => (Code::PrClosed, String::new()),
        ForgeError::HeadMoved { .. } => (Code::PrHeadMoved, String::new()),
        ForgeError::BaseMoved { actual, .. } => (Code::PrBaseMoved, actual.clone()),
        ForgeError::Conflict { .. } => (Code::MergeConflict, shown.base_sha.clone()),
        _ => return Err(forge_is_silent(error)),
    };
    Ok(No { code, message: error.to_string(), base })
}

fn forge_is_silent(error: ForgeError) -> Fault {
    forge_fault(error, Code::ForgeUnavailable, "the forge did not answer about a merge".to_owned())
}
