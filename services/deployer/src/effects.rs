//! The deployer's rim: which events concern it, and how forge and target are worked on.

mod at_work;
mod clean_up;
mod deploy;
mod holds;
mod merge;
mod open;
mod profile;
mod roll_back;
mod standing;
mod stop;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_events::v1::{
    DeploymentFailed, Failure, MergeFailed, PullRequestFailed, RollbackFailed, StageStopped, TaskRef,
};
use millrace_events::{
    Code, DeployerEvent, DispatcherEvent, Event, Key, OperatorEvent, Service, ValidatorEvent, WorkerEvent,
};
use millrace_forge::ForgeError;
use millrace_runtime::blobs::Blobs;
use millrace_runtime::clock::Clock;
use millrace_runtime::host::{EffectContext, Fault, Hosted, Incoming, Received};
use millrace_runtime::log_reader::LogReader;

use at_work::AtWork;
pub use holds::Holds;

use crate::domain::{Deployer, Effect, End, Input, Merge};
use crate::ports::{SiteError, Sites, TargetError};
use crate::target_book::TargetBook;

/// Who says so, in failures.
const SOURCE: &str = "deployer";

/// Everything that effects reach.
#[derive(Clone)]
pub struct World {
    /// Forges and targets.
    pub sites: Arc<dyn Sites>,
    /// Who releases to which target.
    pub targets: TargetBook,
    /// The dispatcher's log, to ask whether a run goes on.
    pub logs: LogReader,
    /// Bundles.
    pub blobs: Blobs,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// A healthy release may report another commit for so long, and one that runs already is looked at for so
    /// long at least.
    pub wrong_sha_grace: Duration,
    /// A release must be verified within this after its merge, or after its start if that was later; a
    /// rollback within this after its start.
    pub deployment: Duration,
    /// What was found about held targets.
    pub holds: Holds,
}

/// The deployer as the runtime hosts it.
pub struct DeployerService {
    decider: Deployer,
    world: World,
    at_work: AtWork,
}

impl DeployerService {
    /// With the world it works on.
    pub fn new(world: World) -> Self {
        let decider = Deployer { deployment: world.deployment };
        Self { decider, world, at_work: AtWork::default() }
    }
}

#[async_trait]
impl Hosted for DeployerService {
    type Decider = Deployer;
    const SERVICE: Service = Service::Deployer;

    fn decider(&self) -> &Deployer {
        &self.decider
    }

    fn accept(&self, received: &Received) -> Option<Input> {
        let input = match &received.incoming {
            Incoming::Timer(timer) => Input::Timer(timer.clone()),
            Incoming::Event(Event::Worker(WorkerEvent::ExecutionCompleted(event))) => {
                Input::Executed { event: Box::new(event.clone()), position: received.position.to_string() }
            }
            Incoming::Event(Event::Validator(ValidatorEvent::ValidationPassed(event))) => {
                Input::Passed(Box::new(event.clone()))
            }
            Incoming::Event(Event::Dispatcher(event)) => ended(event)?,
            Incoming::Event(Event::Operator(OperatorEvent::CancelRequested(request))) => {
                Input::CancelAsked { request: request.clone(), at: received.time }
            }
            Incoming::Event(_) => return None,
        };
        (input.task() == received.key.as_str()).then_some(input)
    }

    #[expect(clippy::expect_used, reason = "`accept` lets only inputs through whose task is a key")]
    fn key(&self, input: &Input) -> Key {
        Key::new(input.task()).expect("the task of an accepted input is a key")
    }

    async fn perform(&self, effect: &Effect, context: &EffectContext) -> Result<Option<Input>, Fault> {
        let world = &self.world;
        if let Effect::FindRun { request, at } = effect {
            return world.find_run(context, request, *at).await;
        }
        // A verdict and its deadline may be handled at the same time; what they do comes one after the other.
        let task = effect.task();
        let Some(_turn) = self.at_work.begin(&task.task) else {
            let reason = format!("other work on {} is under way", task.task);
            return Ok(Some(Input::NotYet { task, reason }));
        };
        match effect {
            Effect::OpenPullRequest { execution, position, previous } => {
                let execution = open::Execution { event: execution, position, previous: *previous };
                world.open(execution, &context.key).await
            }
            Effect::Merge(passed) => world.merge(passed, context).await.map(Some),
            Effect::FindMerge(passed) => world.find_merge(passed).await,
            Effect::Deploy(merge) => world.deploy(merge, &context.key).await,
            Effect::RollBack { merge, failure } => world.roll_back(merge, failure, context).await,
            Effect::FreeTarget { task, release } => {
                let owner = task.into();
                world.targets.free(&task.target, |holder| *holder == owner, release.as_deref()).await?;
                Ok(None)
            }
            Effect::FindRun { .. } => Ok(None),
            Effect::ClosePullRequests { task, reason, open } => {
                world.close_pull_requests(task, reason, open).await.map(Some)
            }
            Effect::CleanUp { task, reason, frees_target } => {
                world.clean_up(task, reason, *frees_target).await?;
                Ok(None)
            }
        }
    }

    /// Every task ends: what cannot be done is an answer too.
    fn gave_up(&self, effect: &Effect, fault: &Fault) -> Option<Input> {
        let event = match effect {
            Effect::OpenPullRequest { execution, .. } => {
                let failure = fault.to_failure(SOURCE, "pr_opened");
                PullRequestFailed { task: execution.task.clone(), failure: Some(failure) }.into()
            }
            // A forge that does not answer may have merged all the same: it is asked until it says so.
            Effect::Merge(_) if fault.retry => return None,
            Effect::Merge(passed) => MergeFailed {
                task: passed.task.clone(),
                pull_request: passed.pull_request.clone(),
                failure: Some(fault.to_failure(SOURCE, "merging")),
                base: String::new(),
            }
            .into(),
            Effect::Deploy(merge) => deployment_failed(merge, fault.to_failure(SOURCE, "deploying")),
            Effect::RollBack { merge, failure } => {
                let failed = roll_back::failed(merge, failure, &fault.message);
                let failed = match &fault.cause {
                    Some(cause) => failed.caused_by(cause.as_ref()),
                    None => failed,
                };
                rollback_failed(merge, failed)
            }
            Effect::FindMerge(_)
            | Effect::FreeTarget { .. }
            | Effect::FindRun { .. }
            | Effect::ClosePullRequests { .. }
            | Effect::CleanUp { .. } => return None,
        };
        Some(Input::found(event))
    }
}

/// The end of a run, in what the dispatcher says.
fn ended(event: &DispatcherEvent) -> Option<Input> {
    let task = event.task_ref()?.clone();
    let failed = |failure: &Option<Failure>| {
        let failure = failure.clone().unwrap_or_default();
        format!("The run failed with {}: {}", failure.code_name(), failure.message)
    };
    let (end, reason) = match event {
        DispatcherEvent::TaskCompleted(_) => (End::Completed, "The run is complete.".to_owned()),
        DispatcherEvent::TaskFailed(event) => (End::Failed, failed(&event.failure)),
        DispatcherEvent::TaskBlocked(event) => (End::Failed, failed(&event.failure)),
        DispatcherEvent::TaskCancelled(event) => {
            (End::Cancelled, format!("Cancelled by {}: {}", event.actor, event.reason))
        }
        _ => return None,
    };
    Some(Input::Ended { task, end, reason })
}

fn deployment_failed(merge: &Merge, failure: Failure) -> DeployerEvent {
    DeploymentFailed {
        task: Some(merge.task.clone()),
        pull_request: Some(merge.pull_request.clone()),
        merge_commit: merge.commit.clone(),
        failure: Some(failure),
    }
    .into()
}

fn rollback_failed(merge: &Merge, failure: Failure) -> DeployerEvent {
    RollbackFailed {
        task: Some(merge.task.clone()),
        refused_commit: merge.commit.clone(),
        failure: Some(failure),
    }
    .into()
}

/// The run does not go on: nothing more is done for this attempt.
fn stopped(task: &TaskRef, stage: &str, reason: String) -> Input {
    let stopped = StageStopped { task: Some(task.clone()), stage: stage.to_owned(), reason };
    Input::found(stopped)
}

/// A person holds the run before its next stage.
fn paused(task: TaskRef) -> Input {
    let reason = format!("{} is paused", task.task);
    Input::NotYet { task, reason }
}

/// The one branch that an attempt's change is published on.
fn branch_of(task: &TaskRef) -> String {
    format!("{}{}/{}.{}", millrace_forge::names::BRANCH_PREFIX, task.task, task.run, task.attempt)
}

/// A forge that did not do what it was asked. What may pass is tried again.
fn forge_fault(error: ForgeError, code: Code, what: String) -> Fault {
    if error.is_transient() {
        Fault::transient(Code::ForgeUnavailable, what).caused_by(error)
    } else {
        Fault::lasting(code, format!("{what}: {error}")).caused_by(error)
    }
}

fn site_fault(error: SiteError) -> Fault {
    match error {
        SiteError::Forge { source, repository } => {
            let what = format!("the forge of repository {repository} cannot be opened");
            forge_fault(source, Code::RepositoryUnavailable, what)
        }
        SiteError::Target(error) => target_fault(error, Code::DeploymentFailed),
        SiteError::Unknown { .. } => Fault::lasting(Code::RepositoryUnavailable, error.to_string()),
    }
}

fn target_fault(error: TargetError, code: Code) -> Fault {
    let what = error.to_string();
    let fault = if error.is_transient() { Fault::transient(code, what) } else { Fault::lasting(code, what) };
    fault.caused_by(error)
}
