//! What can happen, and what is asked of forge and target.

use millrace_decider::Timestamp;
use millrace_events::DeployerEvent;
use millrace_events::v1::{
    CancelRequested, ExecutionCompleted, Failure, PullRequest, TaskRef, TimerFired, ValidationPassed,
};

use super::Merge;

/// An input of the deployer.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A worker handed over a change.
    Executed {
        /// The change.
        event: Box<ExecutionCompleted>,
        /// Where that stands: `<stream>:<sequence>`.
        position: String,
    },
    /// The validator lets a pull request's head be merged.
    Passed(Box<ValidationPassed>),
    /// The dispatcher ended a run.
    Ended {
        /// The run.
        task: TaskRef,
        /// How.
        end: End,
        /// Why, in a sentence.
        reason: String,
    },
    /// A person cancels a run.
    CancelAsked {
        /// The request.
        request: CancelRequested,
        /// When.
        at: Timestamp,
    },
    /// The run that a cancel is about goes on: the answer to [`Effect::FindRun`] and
    /// [`Effect::ClosePullRequests`].
    Stop {
        /// The run; attempt 0.
        task: TaskRef,
        /// Who asked for it and why.
        reason: String,
        /// Numbers of its pull requests that are closed: the forge merges them no more.
        closed: Vec<u64>,
    },
    /// A deadline fired.
    Timer(TimerFired),
    /// What an effect came to, as the event that records it.
    Found(Box<DeployerEvent>),
    /// What must come before it has not come: the target belongs to another task until its verdict or is held
    /// after a rollback, other work on the task is under way, a person has paused the task.
    NotYet {
        /// Who waits.
        task: TaskRef,
        /// For what.
        reason: String,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Released and verified.
    Completed,
    /// Without success; also when only a person can unblock it.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

/// Work on the world. Each may be repeated: it asks first whether it has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Publish the change, open its pull request and see it there.
    OpenPullRequest {
        /// The change.
        execution: Box<ExecutionCompleted>,
        /// Where that stands.
        position: String,
        /// Number of the attempt before's pull request, which it replaces.
        previous: Option<u64>,
    },
    /// Take the target, look at the pull request again, and merge it.
    Merge(Box<ValidationPassed>),
    /// The attempt was stopped: look whether it was merged right before, and record that.
    FindMerge(Box<ValidationPassed>),
    /// Roll the merge out and watch until it is verified or has failed.
    Deploy(Box<Merge>),
    /// Bring the release before back, refuse the commit from now on, and take it out of the base branch.
    RollBack {
        /// What is taken back.
        merge: Box<Merge>,
        /// Why.
        failure: Failure,
    },
    /// Give the target to the next task.
    FreeTarget {
        /// Who has it.
        task: TaskRef,
        /// The commit that is verified on it now; `None`: what was.
        release: Option<String>,
    },
    /// Look which run a cancel is about, and whether it goes on.
    FindRun {
        /// The request.
        request: CancelRequested,
        /// When it was made.
        at: Timestamp,
    },
    /// Close the run's pull requests, so that the forge merges none of them from now on. Where one is merged
    /// already, that is the answer.
    ClosePullRequests {
        /// The run; attempt 0.
        task: TaskRef,
        /// Who asked for it and why.
        reason: String,
        /// By attempt.
        open: Vec<(u32, PullRequest)>,
    },
    /// Close and delete what the run left on the forge.
    CleanUp {
        /// The run; its attempt is the last.
        task: TaskRef,
        /// Why, for the closed pull request.
        reason: String,
        /// Whether the run may hold no target any more.
        frees_target: bool,
    },
}

impl Input {
    /// An effect came to this.
    pub fn found(event: impl Into<DeployerEvent>) -> Self {
        Self::Found(Box::new(event.into()))
    }

    /// The task id that it is about.
    pub fn task(&self) -> &str {
        let task = match self {
            Self::Executed { event, .. } => event.task.as_ref(),
            Self::Passed(event) => event.task.as_ref(),
            Self::Ended { task, .. } | Self::NotYet { task, .. } | Self::Stop { task, .. } => Some(task),
            Self::CancelAsked { request, .. } => return &request.task,
            Self::Timer(timer) => timer.task.as_ref(),
            Self::Found(event) => event.task_ref(),
        };
        task.map_or("", |task| &task.task)
    }
}

impl Effect {
    /// The attempt that it is done for.
    pub fn task(&self) -> TaskRef {
        match self {
            Self::OpenPullRequest { execution, .. } => execution.task.clone().unwrap_or_default(),
            Self::Merge(passed) | Self::FindMerge(passed) => passed.task.clone().unwrap_or_default(),
            Self::Deploy(merge) | Self::RollBack { merge, .. } => merge.task.clone(),
            Self::FreeTarget { task, .. }
            | Self::CleanUp { task, .. }
            | Self::ClosePullRequests { task, .. } => task.clone(),
            Self::FindRun { request, .. } => {
                TaskRef { task: request.task.clone(), run: request.run, ..TaskRef::default() }
            }
        }
    }
}
