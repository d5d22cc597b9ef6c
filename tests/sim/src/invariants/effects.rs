//! I3: what forges and targets count themselves.

use std::collections::{BTreeMap, BTreeSet};

use millrace_events::v1::TaskRef;
use millrace_events::{DeployerEvent, DispatcherEvent, Event, Log, ValidatorEvent};
use millrace_forge::names::BRANCH_PREFIX;

use crate::evidence::Evidence;
use crate::forge::Did;

/// I3: one branch and one pull request for each attempt, one merge for each run, one start for each release
/// that was not brought back by a rollback.
pub fn every_effect_happens_once(evidence: &Evidence) -> Result<(), String> {
    let mut restored: BTreeMap<String, u64> = BTreeMap::new();
    for logged in evidence.events(Log::Deployer) {
        // A rollback starts the release before, whether it succeeds in the end or not.
        if let Event::Deployer(DeployerEvent::RollbackCompleted(event)) = &logged.event {
            *restored.entry(event.restored_commit.clone()).or_default() += 1;
        }
    }
    let failed = evidence.events(Log::Deployer);
    let failed = failed
        .iter()
        .filter(|logged| matches!(&logged.event, Event::Deployer(DeployerEvent::RollbackFailed(_))))
        .count() as u64;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for deed in &evidence.deeds {
        let (key, limit) = match &deed.what {
            Did::Pushed { branch, .. } => (format!("push of {branch} to {}", deed.place), 1),
            Did::Opened { branch, .. } => (format!("pull request of {branch} in {}", deed.place), 1),
            Did::Merged { branch, .. } => match attempt_of(branch) {
                Some((task, run, _)) => (format!("merge of run {run} of {task}"), 1),
                None => return Err(format!("{branch}, which is no attempt's, was merged in {}", deed.place)),
            },
            Did::Started { commit } => {
                let again = restored.get(commit).copied().unwrap_or(0) + failed;
                (format!("start of {commit} on {}", deed.place), 1 + again)
            }
            Did::Reverted { commit } => (format!("revert of {commit}"), 1),
        };
        let count = counts.entry(key.clone()).or_default();
        *count += 1;
        if *count > limit {
            return Err(format!("{key} happened {count} times, the last at {}", deed.at));
        }
    }
    Ok(())
}

/// I3: what is merged is the head that a verdict let through, of the attempt that it is about.
pub fn only_what_was_validated_is_merged(evidence: &Evidence) -> Result<(), String> {
    let mut passed = BTreeSet::new();
    for logged in evidence.events(Log::Validator) {
        if let Event::Validator(ValidatorEvent::ValidationPassed(event)) = &logged.event {
            let pull_request = event.pull_request.clone().unwrap_or_default();
            let task = event.task.clone().unwrap_or_default();
            passed.insert((task.repository, pull_request.number, pull_request.head));
        }
    }
    for deed in &evidence.deeds {
        if let Did::Merged { number, head, branch, .. } = &deed.what
            && !passed.contains(&(deed.place.clone(), *number, head.clone()))
        {
            return Err(format!("{branch} at {head} was merged in {} without a verdict", deed.place));
        }
    }
    Ok(())
}

/// I3: a merge that was made is in the deployer's log.
pub fn every_merge_is_recorded(evidence: &Evidence) -> Result<(), String> {
    let mut recorded = BTreeSet::new();
    for logged in evidence.events(Log::Deployer) {
        if let Event::Deployer(DeployerEvent::MergeCompleted(event)) = &logged.event {
            recorded.insert(event.merge_commit.clone());
        }
    }
    for deed in &evidence.deeds {
        if let Did::Merged { branch, commit, .. } = &deed.what
            && !recorded.contains(commit)
        {
            return Err(format!("{branch} was merged in {} as {commit}, and no log says so", deed.place));
        }
    }
    Ok(())
}

/// A run that was cancelled is not merged any more.
pub fn nothing_is_merged_after_a_cancel(evidence: &Evidence) -> Result<(), String> {
    let mut cancelled = BTreeMap::new();
    for logged in evidence.events(Log::Dispatcher) {
        if let Event::Dispatcher(DispatcherEvent::TaskCancelled(event)) = &logged.event {
            let run = event.task.as_ref().map_or(0, |task| task.run);
            cancelled.insert((logged.key.to_string(), run), logged.stored.time);
        }
    }
    for deed in &evidence.deeds {
        let Did::Merged { branch, .. } = &deed.what else { continue };
        let Some((task, run, _)) = attempt_of(branch) else { continue };
        if let Some(at) = cancelled.get(&(task.clone(), run)) {
            return Err(format!("run {run} of {task} was cancelled at {at} and merged at {}", deed.at));
        }
    }
    Ok(())
}

/// I3: the branches of runs that are over are deleted.
pub fn branches_of_ended_runs_are_gone(evidence: &Evidence) -> Result<(), String> {
    let mut present: BTreeMap<String, (u32, bool)> = BTreeMap::new();
    for logged in evidence.events(Log::Dispatcher) {
        let Event::Dispatcher(event) = &logged.event else { continue };
        let ended = match event {
            DispatcherEvent::TaskScheduled(_) | DispatcherEvent::WorkOrderIssued(_) => false,
            DispatcherEvent::TaskCompleted(_)
            | DispatcherEvent::TaskFailed(_)
            | DispatcherEvent::TaskCancelled(_)
            | DispatcherEvent::TaskBlocked(_) => true,
            _ => continue,
        };
        let run = event.task_ref().map_or(0, |task: &TaskRef| task.run);
        present.insert(logged.key.to_string(), (run, ended));
    }
    for (repository, branches) in &evidence.branches {
        for branch in branches {
            let Some((task, run, _)) = attempt_of(branch) else { continue };
            let stands = present.get(&task).is_some_and(|(now, ended)| run == *now && !ended);
            if !stands {
                return Err(format!("{branch} stands in {repository} though its run is over"));
            }
        }
    }
    Ok(())
}

/// Task, run and attempt of a branch.
fn attempt_of(branch: &str) -> Option<(String, u32, u32)> {
    let (task, attempt) = branch.strip_prefix(BRANCH_PREFIX)?.split_once('/')?;
    let (run, attempt) = attempt.split_once('.')?;
    Some((task.to_owned(), run.parse().ok()?, attempt.parse().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::forge::Deed;
    use crate::invariants::test_kit::{History, cancelled, merge_recorded, passed, scheduled};

    const BRANCH: &str = "millrace/VTID-01001/1.1";

    fn did(what: Did) -> Deed {
        Deed { place: "repo-0".to_owned(), at: millrace_decider::Timestamp::from_millis(5), what }
    }

    fn merged(branch: &str, commit: &str) -> Deed {
        did(Did::Merged {
            number: 1,
            branch: branch.to_owned(),
            head: "h".to_owned(),
            commit: commit.to_owned(),
        })
    }

    fn evidence(deeds: Vec<Deed>) -> Evidence {
        Evidence { deeds, ..History::new().evidence() }
    }

    #[test]
    fn an_effect_that_happened_twice_is_found() {
        let push = did(Did::Pushed { branch: BRANCH.to_owned(), head: "h".to_owned() });
        let open = did(Did::Opened { number: 1, branch: BRANCH.to_owned() });
        let start = did(Did::Started { commit: "c".to_owned() });
        for twice in [
            vec![push.clone(), push.clone()],
            vec![open.clone(), open.clone()],
            vec![start.clone(), start.clone()],
            vec![merged(BRANCH, "c"), merged("millrace/VTID-01001/1.2", "d")],
        ] {
            assert!(every_effect_happens_once(&evidence(twice)).is_err());
        }
        let once = vec![push, open, merged(BRANCH, "c"), merged("millrace/VTID-01001/2.1", "d"), start];
        assert_eq!(every_effect_happens_once(&evidence(once)), Ok(()));
    }

    #[test]
    fn a_merge_without_a_verdict_or_a_record_is_found() {
        let deeds = vec![merged(BRANCH, "c")];
        assert!(only_what_was_validated_is_merged(&evidence(deeds.clone())).is_err());
        assert!(every_merge_is_recorded(&evidence(deeds.clone())).is_err());
        let history =
            History::new().event("VTID-01001", passed(1, "h")).event("VTID-01001", merge_recorded("c"));
        let good = Evidence { deeds, ..history.evidence() };
        assert_eq!(only_what_was_validated_is_merged(&good), Ok(()));
        assert_eq!(every_merge_is_recorded(&good), Ok(()));
    }

    #[test]
    fn a_merge_of_a_cancelled_run_is_found() {
        let history = History::new().event("VTID-01001", scheduled(1)).event("VTID-01001", cancelled(1));
        let evidence = Evidence { deeds: vec![merged(BRANCH, "c")], ..history.evidence() };
        assert!(nothing_is_merged_after_a_cancel(&evidence).is_err());
        let other = Evidence { deeds: vec![merged("millrace/VTID-01001/2.1", "c")], ..evidence };
        assert_eq!(nothing_is_merged_after_a_cancel(&other), Ok(()));
    }

    #[test]
    fn a_branch_that_is_left_is_found() {
        let history = History::new().event("VTID-01001", scheduled(1));
        let branches = BTreeMap::from([("repo-0".to_owned(), vec![BRANCH.to_owned()])]);
        let under_way = Evidence { branches: branches.clone(), ..history.clone().evidence() };
        assert_eq!(branches_of_ended_runs_are_gone(&under_way), Ok(()));
        let over = history.event("VTID-01001", cancelled(1)).evidence();
        assert!(branches_of_ended_runs_are_gone(&Evidence { branches, ..over }).is_err());
    }
}
