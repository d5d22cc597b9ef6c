//! From a worker's bundle to a pull request that the forge shows.

use millrace_events::v1::{
    Blob, ExecutionCompleted, Failure, PullRequest, PullRequestFailed, PullRequestOpened, TaskRef,
};
use millrace_events::{Code, Key};
use millrace_forge::{Forge, ForgeError, NewPullRequest};
use millrace_runtime::crash_point;
use millrace_runtime::host::Fault;

use super::{SOURCE, World, branch_of, forge_fault, paused, profile, site_fault, stopped};
use crate::domain::Input;
use crate::ports::Site;

/// What was handed over.
pub(super) struct Execution<'a> {
    pub(super) event: &'a ExecutionCompleted,
    /// `<stream>:<sequence>` of it.
    pub(super) position: &'a str,
    /// Number of the pull request that this one replaces.
    pub(super) previous: Option<u64>,
}

impl World {
    /// `Ok(None)`: the work order had expired. The attempt goes on with another one.
    pub(super) async fn open(&self, execution: Execution<'_>, key: &Key) -> Result<Option<Input>, Fault> {
        let event = execution.event;
        let task = event.task.clone().unwrap_or_default();
        if let Some(reason) = self.is_over(key, &task).await? {
            return Ok(Some(stopped(&task, "pr_opened", reason)));
        }
        if self.is_paused(key, &task).await? {
            return Ok(Some(paused(task)));
        }
        // Asked before anything is published: from then on the branch is the attempt's, and its only one.
        if self.has_expired(key, &event.order).await? {
            tracing::info!(order = event.order, "the work order had expired; its change is left alone");
            return Ok(None);
        }
        if event.branch != branch_of(&task) {
            let message = format!(
                "attempt {}.{} wrote to branch `{}`, not its own",
                task.run, task.attempt, event.branch
            );
            return Err(Fault::lasting(Code::EvidenceInvalid, message));
        }
        let site = self.sites.repository(&task.repository).await.map_err(site_fault)?;
        let forge = site.forge.as_ref();
        // Asked before each step: the one before has taken its time.
        if self.is_paused(key, &task).await? {
            return Ok(Some(paused(task)));
        }
        self.publish(forge, event).await?;
        crash_point::reached("deployer.pushed");
        if self.is_paused(key, &task).await? {
            return Ok(Some(paused(task)));
        }
        let shown = propose(&site, &execution, &task).await?;
        crash_point::reached("deployer.proposed");
        let checks = match profile_of(forge, &shown.base_sha).await? {
            Ok(checks) => checks,
            Err(problem) => {
                let message = format!("{} of base commit {}: {problem}", profile::PATH, shown.base_sha);
                let failure =
                    Failure::new(Code::ChecksFailed, message).from_source(SOURCE).at_stage("pr_opened");
                let failed = PullRequestFailed { task: Some(task), failure: Some(failure) };
                return Ok(Some(Input::found(failed)));
            }
        };
        // It may have ended meanwhile; what was opened is then closed with the rest of the run.
        if let Some(reason) = self.is_over(key, &task).await? {
            return Ok(Some(stopped(&task, "pr_opened", reason)));
        }
        if let Some(previous) = execution.previous {
            replace(forge, previous, shown.number).await?;
        }
        let opened = PullRequestOpened {
            pull_request: Some(PullRequest {
                number: shown.number,
                url: format!("{}#refs/pull/{}/head", forge.clone_url(), shown.number),
                head_branch: shown.head_branch,
                head: shown.head_sha,
                base_branch: shown.base_branch,
                base: shown.base_sha,
            }),
            task: Some(task),
            evidence: event.evidence.clone(),
            checks,
            implementer: event.worker.clone(),
            execution: execution.position.to_owned(),
        };
        Ok(Some(Input::found(opened)))
    }

    /// Publishes the bundle's commit as the attempt's own branch, which has one writer ever.
    async fn publish(&self, forge: &dyn Forge, event: &ExecutionCompleted) -> Result<(), Fault> {
        let bundle = event.bundle.clone().unwrap_or_default();
        let missing = || {
            let message = format!("the bundle of {} ({}) is not in the store", event.branch, bundle.sha256);
            Fault::lasting(Code::EvidenceMissing, message)
        };
        if bundle.sha256.is_empty() {
            return Err(missing());
        }
        let bytes = self.blobs.get(&bundle.sha256).await?.ok_or_else(missing)?;
        forge.push_bundle(&event.branch, &bytes, &event.head).await.map_err(|error| {
            let code = match &error {
                ForgeError::BundleInvalid { .. } => Code::EvidenceInvalid,
                _ => Code::PrNotCreated,
            };
            forge_fault(error, code, format!("branch {} could not be published", event.branch))
        })
    }
}

/// Opens the pull request, or finds it, and looks at it: only what the forge shows counts. S2-G3a.
async fn propose(
    site: &Site,
    execution: &Execution<'_>,
    task: &TaskRef,
) -> Result<millrace_forge::PullRequest, Fault> {
    let event = execution.event;
    let failed = |error: ForgeError| {
        let what = format!("the pull request for {} could not be opened", event.branch);
        forge_fault(error, Code::PrNotCreated, what)
    };
    let found = match site.forge.find_pull_request(&event.branch).await.map_err(failed)? {
        Some(found) => found,
        None => {
            let new = NewPullRequest {
                title: title(event, task),
                body: body(execution, task),
                head_branch: event.branch.clone(),
                base_branch: site.base_branch.clone(),
                draft: false,
                labels: vec!["millrace".to_owned()],
            };
            site.forge.open_pull_request(&new).await.map_err(failed)?
        }
    };
    let Some(shown) = site.forge.pull_request(found.number).await.map_err(failed)? else {
        let message = format!("the forge does not show pull request {} for {}", found.number, event.branch);
        return Err(Fault::transient(Code::PrNotCreated, message));
    };
    if shown.head_sha != event.head {
        let message =
            format!("pull request {} is at {}, not at {}", shown.number, shown.head_sha, event.head);
        return Err(Fault::lasting(Code::PrHeadMoved, message));
    }
    Ok(shown)
}

/// The checks that the base commit asks for; a base without a profile asks for none.
async fn profile_of(
    forge: &dyn Forge,
    base: &str,
) -> Result<Result<Vec<millrace_events::v1::CheckDefinition>, String>, Fault> {
    let read = forge.read_file(base, profile::PATH).await.map_err(|error| {
        forge_fault(error, Code::RepositoryUnavailable, format!("{} cannot be read", profile::PATH))
    })?;
    Ok(read.map_or_else(|| Ok(Vec::new()), |bytes| profile::checks(&bytes)))
}

/// Closes the pull request of the attempt before, with a link to this one.
async fn replace(forge: &dyn Forge, previous: u64, number: u64) -> Result<(), Fault> {
    let reason = format!("Replaced by #{number}: a new attempt.");
    let answered = match forge.comment(previous, &format!("replaced-by-{number}"), &reason).await {
        Ok(_) => forge.close_pull_request(previous, &reason).await,
        Err(error) => Err(error),
    };
    match answered {
        Ok(()) | Err(ForgeError::PullRequestNotFound { .. } | ForgeError::AlreadyMerged { .. }) => Ok(()),
        Err(error) => {
            let what = format!("pull request {previous} could not be closed");
            Err(forge_fault(error, Code::PrNotCreated, what))
        }
    }
}

fn title(event: &ExecutionCompleted, task: &TaskRef) -> String {
    let title = event.title.lines().next().unwrap_or_default().trim();
    if title.is_empty() { task.task.clone() } else { format!("{}: {title}", task.task) }
}

fn body(execution: &Execution<'_>, task: &TaskRef) -> String {
    let event = execution.event;
    let or_none = |text: &str| match text.trim() {
        "" => "None stated.".to_owned(),
        text => text.to_owned(),
    };
    let mut body = format!(
        "{}\n\n## Risk\n\n{}\n\n## Rollback plan\n\n{}\n\n## Evidence\n\n| name | SHA-256 | bytes |\n| --- | --- | --- |\n",
        or_none(&event.summary),
        or_none(&event.risk_level),
        or_none(&event.rollback_plan),
    );
    for Blob { name, sha256, size, .. } in &event.evidence {
        body.push_str(&format!("| {name} | `{sha256}` | {size} |\n"));
    }
    body.push_str(&format!(
        "\nTask {}, run {}, attempt {}; spec version {} (`{}`).\n",
        task.task, task.run, task.attempt, task.spec_version, task.spec_checksum
    ));
    if let Some(previous) = execution.previous {
        body.push_str(&format!("Replaces #{previous}.\n"));
    }
    body
}
