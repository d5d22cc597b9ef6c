//! What the deployer's own log says about one task.

use std::collections::{BTreeMap, BTreeSet};

use millrace_decider::{Recorded, Timestamp};
use millrace_events::DeployerEvent;
use millrace_events::v1::{Failure, PullRequest, TaskRef};

/// Attempts and runs that are remembered, the newest. More than a task ever has.
const REMEMBERED: usize = 256;

/// Above every attempt.
const WHOLE_RUN: u32 = u32::MAX;

/// A task, attempt by attempt.
#[derive(Debug, Clone, Default)]
pub struct Release {
    /// By run and attempt.
    attempts: BTreeMap<(u32, u32), Attempt>,
    /// By run: the last attempt that was stopped; [`WHOLE_RUN`]: with all that may come.
    stopped: BTreeMap<u32, u32>,
}

/// One attempt, as far as forge and target know it.
#[derive(Debug, Clone, Default)]
pub struct Attempt {
    /// Its pull request, as it was opened.
    pub opened: Option<PullRequest>,
    /// It got none.
    pub not_opened: bool,
    /// Validated heads and bases whose merge was answered with no.
    pub refused: BTreeSet<(String, String)>,
    /// Its merge.
    pub merge: Option<Merge>,
    /// What became of the release.
    pub verdict: Option<Verdict>,
    /// A failed release has been rolled back, or could not be.
    pub rolled_back: bool,
}

/// A merge that stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Merge {
    /// The task, run and attempt.
    pub task: TaskRef,
    /// What was merged.
    pub pull_request: PullRequest,
    /// The merge commit.
    pub commit: String,
    /// When it was recorded; the deadline counts from here.
    pub at: Timestamp,
}

/// What became of a release.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The target reports it.
    Verified {
        /// The commit that the target reported.
        release: String,
    },
    /// It does not.
    Failed {
        /// Why.
        failure: Failure,
    },
}

impl Attempt {
    /// The failure of a release that is still to be rolled back.
    pub fn owes_rollback(&self) -> Option<&Failure> {
        match &self.verdict {
            Some(Verdict::Failed { failure }) if !self.rolled_back => Some(failure),
            _ => None,
        }
    }

    /// Whether the merge of this head into this base has been answered with no.
    pub(super) fn is_refused(&self, pull_request: &PullRequest) -> bool {
        self.refused.contains(&place(pull_request))
    }
}

impl Release {
    /// Applies one event of the deployer's log.
    pub(super) fn apply(&mut self, recorded: &Recorded<'_, DeployerEvent>) {
        let Some(task) = recorded.event.task_ref() else { return };
        if let DeployerEvent::StageStopped(_) = recorded.event {
            let last = self.stopped.entry(task.run).or_default();
            *last = if task.attempt == 0 { WHOLE_RUN } else { task.attempt.max(*last) };
            while self.stopped.len() > REMEMBERED {
                self.stopped.pop_first();
            }
            return;
        }
        let attempt = self.attempts.entry((task.run, task.attempt)).or_default();
        match recorded.event {
            DeployerEvent::PullRequestOpened(event) => attempt.opened = event.pull_request.clone(),
            DeployerEvent::PullRequestFailed(_) => attempt.not_opened = true,
            DeployerEvent::MergeCompleted(event) => {
                attempt.merge = Some(Merge {
                    task: task.clone(),
                    pull_request: event.pull_request.clone().unwrap_or_default(),
                    commit: event.merge_commit.clone(),
                    at: recorded.time,
                });
            }
            DeployerEvent::MergeFailed(event) => {
                attempt.refused.extend(event.pull_request.as_ref().map(place));
            }
            DeployerEvent::DeploymentVerified(event) => {
                attempt.verdict = Some(Verdict::Verified { release: event.release_commit.clone() });
            }
            DeployerEvent::DeploymentFailed(event) => {
                let failure = event.failure.clone().unwrap_or_default();
                attempt.verdict = Some(Verdict::Failed { failure });
            }
            DeployerEvent::RollbackCompleted(_) | DeployerEvent::RollbackFailed(_) => {
                attempt.rolled_back = true;
            }
            DeployerEvent::StageStopped(_) => {}
        }
        while self.attempts.len() > REMEMBERED {
            self.attempts.pop_first();
        }
    }

    /// What is known of that attempt.
    pub fn attempt(&self, task: &TaskRef) -> Option<&Attempt> {
        self.attempts.get(&(task.run, task.attempt))
    }

    /// Whether the attempt's pull request is still to be opened.
    pub(super) fn awaits_pull_request(&self, task: &TaskRef) -> bool {
        let answered =
            self.attempt(task).is_some_and(|attempt| attempt.opened.is_some() || attempt.not_opened);
        !answered && !self.is_stopped(task) && !self.is_superseded(task)
    }

    /// Whether a later attempt is known.
    pub(super) fn is_superseded(&self, task: &TaskRef) -> bool {
        self.attempts.keys().next_back().is_some_and(|last| *last > (task.run, task.attempt))
    }

    /// Whether the attempt has been stopped, alone or with its run.
    pub(super) fn is_stopped(&self, task: &TaskRef) -> bool {
        self.stopped.get(&task.run).is_some_and(|last| *last >= task.attempt)
    }

    /// Whether the run has been stopped as a whole.
    pub(super) fn is_run_stopped(&self, run: u32) -> bool {
        self.stopped.get(&run) == Some(&WHOLE_RUN)
    }

    /// The run's pull requests that nobody has merged, by attempt.
    pub(super) fn unmerged(&self, run: u32) -> Vec<(u32, PullRequest)> {
        let attempts = self.attempts.range((run, 0)..=(run, u32::MAX));
        attempts
            .filter(|(_, attempt)| attempt.merge.is_none())
            .filter_map(|((_, number), attempt)| Some((*number, attempt.opened.clone()?)))
            .collect()
    }

    /// The run's merge whose release has no verdict yet.
    pub(super) fn unreleased(&self, run: u32) -> Option<&Merge> {
        self.of_run(run)
            .filter(|attempt| attempt.verdict.is_none())
            .find_map(|attempt| attempt.merge.as_ref())
    }

    /// Whether anything of the run is merged.
    pub(super) fn is_merged(&self, run: u32) -> bool {
        self.of_run(run).any(|attempt| attempt.merge.is_some())
    }

    /// Whether a release of the run is still to come to its end.
    pub(super) fn is_releasing(&self, run: u32) -> bool {
        self.of_run(run).any(|attempt| {
            attempt.merge.is_some() && (attempt.verdict.is_none() || attempt.owes_rollback().is_some())
        })
    }

    /// The last attempt of the run that is known; 0: none.
    pub(super) fn last_attempt(&self, run: u32) -> u32 {
        self.attempts.range((run, 0)..=(run, u32::MAX)).next_back().map_or(0, |((_, attempt), _)| *attempt)
    }

    /// The pull request of the latest attempt before this one in the same run.
    pub(super) fn previous_pull_request(&self, task: &TaskRef) -> Option<u64> {
        let earlier = self.attempts.range((task.run, 0)..(task.run, task.attempt));
        earlier.rev().find_map(|(_, attempt)| attempt.opened.as_ref().map(|opened| opened.number))
    }

    /// Where the run stands as far as this log knows, as DESIGN section 5 calls it. "scheduled": nothing of
    /// it has come here, whether a worker has begun or not.
    pub(super) fn stage(&self, run: u32) -> &'static str {
        if self.of_run(run).any(|attempt| attempt.opened.is_some()) {
            "pr_opened"
        } else if self.of_run(run).next().is_some() {
            "executing"
        } else {
            "scheduled"
        }
    }

    fn of_run(&self, run: u32) -> impl Iterator<Item = &Attempt> {
        self.attempts.range((run, 0)..=(run, u32::MAX)).map(|(_, attempt)| attempt)
    }
}

fn place(pull_request: &PullRequest) -> (String, String) {
    (pull_request.head.clone(), pull_request.base.clone())
}
