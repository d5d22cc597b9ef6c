//! What is owed because of an input, given the log so far.

use std::time::Duration;

use millrace_decider::{Deadline, Due};
use millrace_events::v1::{TaskRef, TimerFired, ValidationPassed};

use super::{Attempt, DEPLOYMENT, Effect, Input, Merge, Release, Verdict};

type Owed = Vec<Due<Effect, TimerFired>>;

pub(super) fn due(deployment: Duration, state: &Release, input: &Input) -> Owed {
    match input {
        Input::Executed { event, position } => {
            let task = event.task.clone().unwrap_or_default();
            // A run has one merge: what an attempt does after that of another one comes to nothing.
            if state.awaits_pull_request(&task) && !state.is_merged(task.run) {
                return vec![Due::Effect(Effect::OpenPullRequest {
                    execution: event.clone(),
                    position: position.clone(),
                    previous: state.previous_pull_request(&task),
                })];
            }
            // It was stopped while its pull request was being opened.
            if state.is_stopped(&task) { clean_up(state, &task, "The run was stopped.") } else { Vec::new() }
        }
        Input::Passed(passed) => for_verdict(deployment, state, passed),
        Input::Timer(timer) if timer.name == DEPLOYMENT => {
            let attempt = timer.task.as_ref().and_then(|task| state.attempt(task));
            attempt.map(after_merge).unwrap_or_default()
        }
        Input::Ended { task, reason, .. } => clean_up(state, task, reason),
        Input::CancelAsked { request, at } => {
            vec![Due::Effect(Effect::FindRun { request: request.clone(), at: *at })]
        }
        Input::Stop { task, reason, closed } => for_stop(deployment, state, task, reason, closed),
        Input::Timer(_) | Input::Found(_) | Input::NotYet { .. } => Vec::new(),
    }
}

fn for_verdict(deployment: Duration, state: &Release, passed: &ValidationPassed) -> Owed {
    let task = passed.task.clone().unwrap_or_default();
    let Some(attempt) = state.attempt(&task) else { return Vec::new() };
    if let Some(merge) = &attempt.merge {
        let mut owed = after_merge(attempt);
        if attempt.verdict.is_none() {
            owed.insert(0, deadline(deployment, merge));
        }
        return owed;
    }
    let answered = passed.pull_request.as_ref().is_none_or(|pull_request| attempt.is_refused(pull_request));
    let free = Due::Effect(Effect::FreeTarget { task: task.clone(), release: None });
    if attempt.opened.is_none() || answered || state.is_merged(task.run) {
        return vec![free];
    }
    // It may have been merged before, and not recorded any more.
    if state.is_stopped(&task) || state.is_superseded(&task) {
        return vec![free, Due::Effect(Effect::FindMerge(Box::new(passed.clone())))];
    }
    vec![Due::Effect(Effect::Merge(Box::new(passed.clone())))]
}

fn for_stop(deployment: Duration, state: &Release, task: &TaskRef, reason: &str, closed: &[u64]) -> Owed {
    // Merged, by whomever: its release comes to an end even if no verdict of the validator follows.
    if let Some(merge) = state.unreleased(task.run) {
        return vec![deadline(deployment, merge)];
    }
    let open = state.unmerged(task.run);
    let is_closed = open.iter().all(|(_, open)| closed.contains(&open.number));
    if is_closed || state.is_run_stopped(task.run) || state.is_merged(task.run) {
        return Vec::new();
    }
    vec![Due::Effect(Effect::ClosePullRequests { task: task.clone(), reason: reason.to_owned(), open })]
}

/// A merge must come to a verdict, a failed release must be rolled back, and then the target is free.
fn after_merge(attempt: &Attempt) -> Owed {
    let Some(merge) = attempt.merge.clone() else { return Vec::new() };
    if let Some(failure) = attempt.owes_rollback() {
        return vec![Due::Effect(Effect::RollBack { merge: Box::new(merge), failure: failure.clone() })];
    }
    let release = match &attempt.verdict {
        None => return vec![Due::Effect(Effect::Deploy(Box::new(merge)))],
        Some(Verdict::Verified { release }) => Some(release.clone()),
        Some(Verdict::Failed { .. }) => None,
    };
    vec![Due::Effect(Effect::FreeTarget { task: merge.task, release })]
}

fn deadline(deployment: Duration, merge: &Merge) -> Due<Effect, TimerFired> {
    let alarm = TimerFired {
        name: DEPLOYMENT.to_owned(),
        task: Some(merge.task.clone()),
        about: merge.commit.clone(),
        round: 0,
    };
    Due::Deadline(Deadline { name: DEPLOYMENT.to_owned(), at: merge.at + deployment, alarm })
}

fn clean_up(state: &Release, task: &TaskRef, reason: &str) -> Owed {
    let task = TaskRef { attempt: task.attempt.max(state.last_attempt(task.run)), ..task.clone() };
    if task.attempt == 0 {
        return Vec::new();
    }
    let frees_target = !state.is_releasing(task.run);
    vec![Due::Effect(Effect::CleanUp { task, reason: reason.to_owned(), frees_target })]
}
