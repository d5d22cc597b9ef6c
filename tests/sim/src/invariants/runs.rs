//! I6: a run ends once, and statuses move as they may.

use std::collections::BTreeMap;

use millrace_events::{DispatcherEvent, Event, Log, LogEvent as _};
use millrace_ledger::Status;

use crate::evidence::Evidence;
use crate::ledger::may_become;

/// I6: at most one terminal event for each run, and nothing of the run after it.
pub fn every_run_ends_once(evidence: &Evidence) -> Result<(), String> {
    let mut ended: BTreeMap<(String, u32), (u64, &'static str)> = BTreeMap::new();
    for logged in evidence.events(Log::Dispatcher) {
        let Event::Dispatcher(event) = &logged.event else { continue };
        if matches!(event, DispatcherEvent::TransitionRefused(_)) {
            continue;
        }
        let run = event.task_ref().map_or(0, |task| task.run);
        let place = (logged.key.to_string(), run);
        if let Some((at, how)) = ended.get(&place) {
            return Err(format!(
                "run {run} of {} ended with {how} at {at}, and {} follows at {}",
                logged.key,
                event.name(),
                logged.sequence
            ));
        }
        if let Some(status) = ends(event)
            && status.is_final()
        {
            ended.insert(place, (logged.sequence, event.name()));
        }
    }
    Ok(())
}

/// I6: each task's status moves as the database's guard allows it.
pub fn statuses_move_legally(evidence: &Evidence) -> Result<(), String> {
    let mut tasks: BTreeMap<String, (Status, u32)> = BTreeMap::new();
    for logged in evidence.events(Log::Dispatcher) {
        let Event::Dispatcher(event) = &logged.event else { continue };
        let run = event.task_ref().map_or(0, |task| task.run);
        let key = logged.key.to_string();
        let steps: Vec<Status> = match event {
            DispatcherEvent::TaskScheduled(event) if event.order.is_none() => vec![Status::Pending],
            DispatcherEvent::TaskScheduled(_) => vec![Status::Pending, Status::Active],
            DispatcherEvent::WorkOrderIssued(_) => vec![Status::Active],
            _ => ends(event).into_iter().collect(),
        };
        for next in steps {
            let old = tasks.insert(key.clone(), (next, run));
            let is_legal = match old {
                // A task whose spec is refused fails before it was ever scheduled.
                None => run == 1 && next != Status::Complete,
                Some(old) => old == (next, run) && next == Status::Active || may_become(old, (next, run)),
            };
            if !is_legal {
                return Err(format!(
                    "{key} moved from {old:?} to {:?} by {} at {}",
                    (next, run),
                    event.name(),
                    logged.sequence
                ));
            }
        }
    }
    Ok(())
}

fn ends(event: &DispatcherEvent) -> Option<Status> {
    Some(match event {
        DispatcherEvent::TaskCompleted(_) => Status::Complete,
        DispatcherEvent::TaskFailed(_) => Status::Failed,
        DispatcherEvent::TaskCancelled(_) => Status::Cancelled,
        DispatcherEvent::TaskBlocked(_) => Status::Blocked,
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::invariants::test_kit::{History, cancelled, completed, issued, scheduled};

    #[test]
    fn what_follows_an_end_is_found() {
        let ended = History::new().event("VTID-01001", scheduled(1)).event("VTID-01001", completed(1));
        assert_eq!(every_run_ends_once(&ended.clone().evidence()), Ok(()));
        let twice = ended.clone().event("VTID-01001", cancelled(1)).evidence();
        assert!(every_run_ends_once(&twice).unwrap_err().contains("TaskCancelled follows"));
        let goes_on = ended.event("VTID-01001", issued("o", 1)).evidence();
        assert!(every_run_ends_once(&goes_on).is_err());
    }

    #[test]
    fn a_step_that_may_not_be_is_found() {
        let cancelled = History::new().event("VTID-01001", scheduled(1)).event("VTID-01001", cancelled(1));
        let retried = cancelled.clone().event("VTID-01001", scheduled(2)).evidence();
        assert_eq!(statuses_move_legally(&retried), Ok(()));
        let skipped = cancelled.event("VTID-01001", scheduled(3)).evidence();
        assert!(statuses_move_legally(&skipped).is_err());
        let never_begun = History::new().event("VTID-01001", completed(1)).evidence();
        assert!(statuses_move_legally(&never_begun).is_err());
    }
}
