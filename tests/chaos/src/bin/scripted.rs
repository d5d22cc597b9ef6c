//! `scripted <worker|validator|deployer> <configuration file>`: the real service on the real broker, with
//! work that is done at once, a forge that forgets nothing because it knows nothing, and targets that run
//! what they are told. For floods, where git, sandboxes and models would take hours and are not the question.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "only scenarios run this")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use millrace_deployer::effects::{DeployerService, Holds, World as DeployerWorld};
use millrace_deployer::ports::{
    Observed, ReleaseRecord, ReleaseRequest, RolledOut, Site, SiteError, Sites, Target, TargetError,
};
use millrace_deployer::target_book::TargetBook;
use millrace_events::v1::{Blob, ExecutionCompleted, TaskRef};
use millrace_events::{Service, WorkerEvent};
use millrace_forge::{
    Comment, Forge, ForgeError, MergeRequest, Merged, NewPullRequest, PullRequest, RevertRequest, Reverted,
    State,
};
use millrace_runtime::blobs::{Blobs, digest_of};
use millrace_runtime::launch::{Arguments, Entry, run_process};
use millrace_runtime::service::{ServiceContext, ServiceError};
use millrace_validator::domain::Validator;
use millrace_validator::effects::{ValidatorService, World as ValidatorWorld};
use millrace_validator::ports::{LookError, PullRequests, Shown};
use millrace_worker::effects::{Gathered, Step, WorkerService};
use millrace_worker::ports::{Assignment, Work};

/// Work orders that a scripted worker does at a time.
const SLOTS: usize = 32;
/// As the services have it.
const CONCURRENCY: usize = 64;
const BASE_BRANCH: &str = "main";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (service, config) = (arguments.next().expect("a service"), arguments.next().expect("a file"));
    let entry = match service.as_str() {
        "worker" => Entry { service: Service::Worker, check: |_| Ok(()), run: |c| Box::pin(worker(c)) },
        "validator" => {
            Entry { service: Service::Validator, check: |_| Ok(()), run: |c| Box::pin(validator(c)) }
        }
        "deployer" => Entry { service: Service::Deployer, check: |_| Ok(()), run: |c| Box::pin(deployer(c)) },
        other => panic!("no scripted {other}"),
    };
    run_process(entry, &Arguments { config: Some(PathBuf::from(config)), print_config: false })
}

async fn worker(context: ServiceContext) -> Result<(), ServiceError> {
    let work = Arc::new(AtOnce(context.blobs.clone()));
    let service = WorkerService::new(context.clone(), context.instance.clone(), work);
    Ok(context.host(service, SLOTS).await?)
}

async fn validator(context: ServiceContext) -> Result<(), ServiceError> {
    let limits = &context.settings.limits;
    let decider = Validator { checks_wait: limits.checks_wait };
    let world = ValidatorWorld {
        pull_requests: Arc::new(KnowsNothing::default()),
        logs: context.logs(),
        blobs: context.blobs.clone(),
        clock: context.clock.clone(),
        validation: limits.validation,
    };
    Ok(context.host(ValidatorService::new(decider, world), CONCURRENCY).await?)
}

async fn deployer(context: ServiceContext) -> Result<(), ServiceError> {
    let targets = context.settings.repositories.iter();
    let targets = targets.map(|found| (found.target.clone(), Arc::<Runs>::default())).collect();
    let world = DeployerWorld {
        sites: Arc::new(Everywhere { forge: Arc::default(), targets }),
        targets: TargetBook::new(context.targets.clone()),
        logs: context.logs(),
        blobs: context.blobs.clone(),
        clock: context.clock.clone(),
        wrong_sha_grace: Duration::from_secs(1),
        deployment: context.settings.limits.deployment,
        holds: Holds::default(),
    };
    Ok(context.host(DeployerService::new(world), CONCURRENCY).await?)
}

/// Everything about an attempt follows from its task, run and attempt: its pull request's number holds them,
/// and the commits are hashes of the number.
#[derive(Clone, Copy)]
struct Attempt(u64);

impl Attempt {
    fn of(task: &TaskRef) -> Self {
        let number: u64 = task.task.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap();
        Self(number * 10_000 + u64::from(task.run) * 100 + u64::from(task.attempt))
    }

    fn of_branch(branch: &str) -> Option<Self> {
        let (task, attempt) = branch.strip_prefix(millrace_forge::names::BRANCH_PREFIX)?.split_once('/')?;
        let (run, attempt) = attempt.split_once('.')?;
        let (run, attempt) = (run.parse().ok()?, attempt.parse().ok()?);
        Some(Self::of(&TaskRef { task: task.to_owned(), run, attempt, ..TaskRef::default() }))
    }

    fn branch(self) -> String {
        let (task, run, attempt) = (self.0 / 10_000, self.0 / 100 % 100, self.0 % 100);
        format!("{}VTID-{task:05}/{run}.{attempt}", millrace_forge::names::BRANCH_PREFIX)
    }

    fn head(self) -> String {
        commit("head", self.0)
    }

    fn merge(self) -> String {
        commit("merge", self.0)
    }
}

fn commit(what: &str, number: u64) -> String {
    digest_of(format!("{what} {number}").as_bytes()).chars().take(40).collect()
}

/// A worker's work that is done at once: the evidence is there, the bundle is a word.
struct AtOnce(Blobs);

impl AtOnce {
    async fn keep(&self, name: &str, text: &str) -> Blob {
        // The frame around the work cancels it when its lease is lost: an outage is waited out.
        loop {
            match self.0.put_named(name, "text/plain", text.as_bytes()).await {
                Ok(blob) => return blob,
                Err(error) => tracing::warn!(%error, "the store does not answer"),
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

#[async_trait]
impl Work for AtOnce {
    async fn run(&self, assignment: &Assignment<'_>, _gathered: &mut Gathered) -> Step<WorkerEvent> {
        let order = &assignment.execute.order;
        let attempt = Attempt::of(&order.task.clone().unwrap_or_default());
        let result = format!(r#"{{"outcome":"succeeded","head":"{}"}}"#, attempt.head());
        let mut evidence = vec![self.keep("execution_result.json", &result).await];
        for name in ["plan.json", "git_diff.patch", "modified_files.json"] {
            evidence.push(self.keep(name, "[\"scripted\"]").await);
        }
        Ok(ExecutionCompleted {
            task: order.task.clone(),
            order: order.id.clone(),
            worker: assignment.worker.to_owned(),
            fencing_token: assignment.execute.token,
            head: attempt.head(),
            branch: attempt.branch(),
            bundle: Some(self.keep("change.bundle", "bundle").await),
            evidence,
            title: attempt.branch(),
            ..ExecutionCompleted::default()
        }
        .into())
    }

    async fn clear(&self, _order: &str) -> std::io::Result<()> {
        Ok(())
    }
}

/// A forge on which every attempt's pull request is open from the start. What it must remember is which are
/// merged: eight bytes each.
#[derive(Default)]
struct KnowsNothing {
    merged: Mutex<BTreeSet<u64>>,
}

impl KnowsNothing {
    fn shown(&self, attempt: Attempt) -> PullRequest {
        let is_merged = self.merged.lock().unwrap().contains(&attempt.0);
        PullRequest {
            number: attempt.0,
            title: attempt.branch(),
            body: String::new(),
            state: if is_merged { State::Merged } else { State::Open },
            draft: false,
            head_branch: attempt.branch(),
            head_sha: attempt.head(),
            base_branch: BASE_BRANCH.to_owned(),
            base_sha: commit("base", 0),
            merge_commit: is_merged.then(|| attempt.merge()),
            labels: Vec::new(),
        }
    }
}

#[async_trait]
impl Forge for KnowsNothing {
    async fn push_bundle(&self, _branch: &str, _bundle: &[u8], _head: &str) -> Result<(), ForgeError> {
        Ok(())
    }

    async fn find_pull_request(&self, head_branch: &str) -> Result<Option<PullRequest>, ForgeError> {
        Ok(Attempt::of_branch(head_branch).map(|attempt| self.shown(attempt)))
    }

    async fn open_pull_request(&self, new: &NewPullRequest) -> Result<PullRequest, ForgeError> {
        Ok(self.shown(Attempt::of_branch(&new.head_branch).unwrap()))
    }

    async fn pull_request(&self, number: u64) -> Result<Option<PullRequest>, ForgeError> {
        Ok(Some(self.shown(Attempt(number))))
    }

    async fn comment(&self, _number: u64, key: &str, body: &str) -> Result<Comment, ForgeError> {
        Ok(Comment { idempotency_key: key.to_owned(), body: body.to_owned() })
    }

    async fn comments(&self, _number: u64) -> Result<Vec<Comment>, ForgeError> {
        Ok(Vec::new())
    }

    async fn mark_ready(&self, _number: u64) -> Result<(), ForgeError> {
        Ok(())
    }

    async fn close_pull_request(&self, _number: u64, _reason: &str) -> Result<(), ForgeError> {
        Ok(())
    }

    async fn branch_head(&self, _branch: &str) -> Result<Option<String>, ForgeError> {
        Ok(Some(commit("base", 0)))
    }

    async fn delete_branch(&self, _branch: &str) -> Result<(), ForgeError> {
        Ok(())
    }

    async fn merge(&self, request: &MergeRequest) -> Result<Merged, ForgeError> {
        self.merged.lock().unwrap().insert(request.number);
        Ok(Merged { commit: Attempt(request.number).merge(), base_before: commit("base", 0) })
    }

    async fn revert(&self, request: &RevertRequest) -> Result<Reverted, ForgeError> {
        Ok(Reverted { commit: request.merge_commit.clone() })
    }

    async fn reverted_by(&self, _commit: &str, _descendant: &str) -> Result<Option<String>, ForgeError> {
        Ok(None)
    }

    async fn read_file(&self, _commit: &str, _path: &str) -> Result<Option<Vec<u8>>, ForgeError> {
        Ok(None)
    }

    async fn is_ancestor(&self, ancestor: &str, descendant: &str) -> Result<bool, ForgeError> {
        Ok(ancestor == descendant)
    }

    async fn checkout(&self, _commit: &str, _into: &Path) -> Result<(), ForgeError> {
        Ok(())
    }

    fn clone_url(&self) -> String {
        "scripted".to_owned()
    }
}

#[async_trait]
impl PullRequests for KnowsNothing {
    async fn pull_request(
        &self,
        _repository: &str,
        number: u64,
        _base_commit: &str,
    ) -> Result<Option<Shown>, LookError> {
        let head = Attempt(number).head();
        Ok(Some(Shown { open: true, merged: false, head, redefines_checks: false }))
    }
}

/// One forge for all repositories, and a target for each.
struct Everywhere {
    forge: Arc<KnowsNothing>,
    targets: BTreeMap<String, Arc<Runs>>,
}

#[async_trait]
impl Sites for Everywhere {
    async fn repository(&self, _id: &str) -> Result<Site, SiteError> {
        Ok(Site { forge: self.forge.clone(), base_branch: BASE_BRANCH.to_owned() })
    }

    async fn target(&self, id: &str) -> Result<Arc<dyn Target>, SiteError> {
        match self.targets.get(id) {
            Some(target) => Ok(target.clone()),
            None => Err(SiteError::Unknown { kind: "target", id: id.to_owned() }),
        }
    }
}

/// A target that runs what it was told last.
#[derive(Default)]
struct Runs(Mutex<Option<String>>);

#[async_trait]
impl Target for Runs {
    async fn roll_out(&self, release: &ReleaseRequest) -> Result<RolledOut, TargetError> {
        let previous = self.0.lock().unwrap().replace(release.commit.clone());
        let started = previous.as_ref() != Some(&release.commit);
        Ok(RolledOut { previous, pid: 1, address: "scripted".to_owned(), started })
    }

    async fn observe(&self) -> Result<Observed, TargetError> {
        let reported_sha = self.0.lock().unwrap().clone();
        let running = reported_sha.is_some();
        Ok(Observed { running, reported_sha, healthy: running, detail: "scripted".to_owned() })
    }

    async fn current(&self) -> Result<Option<ReleaseRecord>, TargetError> {
        let record = |commit| ReleaseRecord { commit, previous: None, pid: Some(1), address: String::new() };
        Ok(self.0.lock().unwrap().clone().map(record))
    }

    async fn stop(&self) -> Result<(), TargetError> {
        *self.0.lock().unwrap() = None;
        Ok(())
    }
}
