//! A cancel, up to the stop of its run.

use millrace_decider::Timestamp;
use millrace_events::v1::{CancelRequested, MergeCompleted, PullRequest, TaskRef};
use millrace_events::{Code, DispatcherEvent, Event, Key, Log};
use millrace_forge::{Forge, ForgeError};
use millrace_runtime::host::Fault;

use super::{World, site_fault};
use crate::domain::Input;
use crate::ports::SiteError;

impl World {
    /// The run that a cancel is about, if that goes on. `None`: it is over, or was never opened.
    pub(super) async fn find_run(
        &self,
        key: &Key,
        request: &CancelRequested,
        at: Timestamp,
    ) -> Result<Option<Input>, Fault> {
        let logged = self.logs.events(Log::Dispatcher, key).await?;
        let events = logged.iter().filter_map(|logged| match &logged.event {
            Event::Dispatcher(event) => Some((event, logged.time)),
            _ => None,
        });
        let Some(task) = going_on(events, request.run, at) else { return Ok(None) };
        let reason = match request.reason.as_str() {
            "" => format!("cancelled by {}", request.actor),
            reason => format!("cancelled by {}: {reason}", request.actor),
        };
        Ok(Some(Input::Stop { task, reason, closed: Vec::new() }))
    }

    /// Closes what might still be merged. The forge lets either this or a merge happen, whoever asks for it.
    pub(super) async fn close_pull_requests(
        &self,
        task: &TaskRef,
        reason: &str,
        open: &[(u32, PullRequest)],
    ) -> Result<Input, Fault> {
        let closed = open.iter().map(|(_, pull_request)| pull_request.number).collect();
        let stop = Input::Stop { task: task.clone(), reason: reason.to_owned(), closed };
        let site = match self.sites.repository(&task.repository).await {
            Ok(site) => site,
            // Nothing is merged into what is not configured here any more.
            Err(SiteError::Unknown { .. }) => return Ok(stop),
            Err(error) => return Err(site_fault(error)),
        };
        for (attempt, pull_request) in open {
            match site.forge.close_pull_request(pull_request.number, reason).await {
                Ok(()) | Err(ForgeError::PullRequestNotFound { .. }) => {}
                Err(ForgeError::AlreadyMerged { .. }) => {
                    let merge_commit = merge_commit(site.forge.as_ref(), pull_request.number).await?;
                    let completed = MergeCompleted {
                        task: Some(TaskRef { attempt: *attempt, ..task.clone() }),
                        pull_request: Some(pull_request.clone()),
                        merge_commit,
                    };
                    return Ok(Input::found(completed));
                }
                Err(error) => return Err(not_closed(pull_request.number, error)),
            }
        }
        Ok(stop)
    }
}

async fn merge_commit(forge: &dyn Forge, number: u64) -> Result<String, Fault> {
    let shown = forge.pull_request(number).await.map_err(|error| not_closed(number, error))?;
    shown.and_then(|shown| shown.merge_commit).ok_or_else(|| {
        let message = format!("the forge says that pull request {number} is merged, but not as what");
        Fault::transient(Code::ForgeUnavailable, message)
    })
}

/// Tried again for as long as it takes: until then nobody knows whether the run may end.
fn not_closed(number: u64, error: ForgeError) -> Fault {
    let message = format!("pull request {number} could not be closed");
    Fault::transient(Code::ForgeUnavailable, message).caused_by(error)
}

/// The run that is meant, by its last reference and with attempt 0, if it goes on. Run 0 is the present one at
/// the time of the request, which a run that was scheduled later is not.
fn going_on<'a>(
    events: impl Iterator<Item = (&'a DispatcherEvent, Timestamp)>,
    run: u32,
    at: Timestamp,
) -> Option<TaskRef> {
    let (mut present, mut is_over, mut is_later) = (None::<&TaskRef>, false, false);
    for (event, time) in events {
        match event {
            DispatcherEvent::TaskScheduled(event) => {
                (present, is_over) = (event.task.as_ref(), false);
                is_later = time > at && event.task.as_ref().is_some_and(|task| task.run > 1);
            }
            DispatcherEvent::WorkOrderIssued(event) => present = event.task.as_ref(),
            DispatcherEvent::TaskCompleted(_)
            | DispatcherEvent::TaskFailed(_)
            | DispatcherEvent::TaskCancelled(_) => is_over = true,
            // A blocked run may still be cancelled.
            DispatcherEvent::TaskBlocked(_)
            | DispatcherEvent::WorkOrderExpired(_)
            | DispatcherEvent::ApprovalRequired(_)
            | DispatcherEvent::TaskPaused(_)
            | DispatcherEvent::TaskResumed(_)
            | DispatcherEvent::TransitionRefused(_) => {}
        }
    }
    let is_meant = |task: &&TaskRef| if run == 0 { !is_later } else { task.run == run };
    present.filter(|task| !is_over && is_meant(task)).map(|task| TaskRef { attempt: 0, ..task.clone() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_events::v1::{TaskBlocked, TaskFailed, TaskScheduled};

    use super::*;

    fn task(run: u32) -> Option<TaskRef> {
        Some(TaskRef { task: "VTID-01213".to_owned(), run, attempt: 1, ..TaskRef::default() })
    }

    #[test]
    fn a_cancel_is_about_a_run_that_goes_on_and_was_there() {
        let at = Timestamp::from_millis;
        let mut log: Vec<(DispatcherEvent, Timestamp)> =
            vec![(TaskScheduled { task: task(1), ..Default::default() }.into(), at(10))];
        let meant = |log: &[(DispatcherEvent, Timestamp)], run: u32, time: i64| {
            let found = going_on(log.iter().map(|(event, time)| (event, *time)), run, at(time));
            found.map(|task| (task.run, task.attempt))
        };
        assert_eq!(meant(&[], 1, 5), None);
        assert_eq!((meant(&log, 0, 20), meant(&log, 1, 20)), (Some((1, 0)), Some((1, 0))));
        assert_eq!(meant(&log, 2, 20), None, "a run that is not there yet is not stopped beforehand");
        log.push((TaskBlocked { task: task(1), ..Default::default() }.into(), at(30)));
        assert_eq!(meant(&log, 0, 40), Some((1, 0)));
        log.push((TaskFailed { task: task(1), ..Default::default() }.into(), at(50)));
        assert_eq!(meant(&log, 0, 60), None);
        log.push((TaskScheduled { task: task(2), ..Default::default() }.into(), at(70)));
        assert_eq!(meant(&log, 0, 60), None, "it was made before that run");
        assert_eq!((meant(&log, 1, 80), meant(&log, 0, 80)), (None, Some((2, 0))));
    }
}
