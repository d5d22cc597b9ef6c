//! A cancel, up to the stop of its run.

use millrace_decider::{Cause, Timestamp};
use millrace_events::v1::{CancelRequested, MergeCompleted, PullRequest, TaskRef};
use millrace_events::{Code, DispatcherEvent, Event, Log};
use millrace_forge::{Forge, ForgeError};
use millrace_runtime::host::{EffectContext, Fault};
use millrace_runtime::log_reader::LoggedEvent;

use super::{World, site_fault};
use crate::domain::Input;
use crate::ports::SiteError;

impl World {
    /// The run that a cancel is about, if that goes on. `None`: it is over, or the dispatcher has refused the
    /// cancel.
    pub(super) async fn find_run(
        &self,
        context: &EffectContext,
        request: &CancelRequested,
        at: Timestamp,
    ) -> Result<Option<Input>, Fault> {
        let logged = self.logs.events(Log::Dispatcher, &context.key).await?;
        let task = match meant(&logged, request.run, at, &context.cause) {
            Meant::Run(task) => task,
            Meant::Nothing => return Ok(None),
            Meant::NotKnown => {
                let task = TaskRef { task: request.task.clone(), run: request.run, ..TaskRef::default() };
                let reason = "the dispatcher has neither that run nor refused the cancel yet".to_owned();
                return Ok(Some(Input::NotYet { task, reason }));
            }
        };
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

/// What a cancel is about.
#[derive(Debug)]
enum Meant {
    /// A run that goes on, by its last reference and with attempt 0.
    Run(TaskRef),
    /// Nothing that could be stopped, and the dispatcher does not wait for a stop.
    Nothing,
    /// The dispatcher may still open the run and then wait for its stop; if not, it refuses the cancel.
    NotKnown,
}

/// The run that is meant. Run 0 is the present one at the time of the request, which a run that was scheduled
/// later is not. `asked` is where the request stands.
fn meant(logged: &[LoggedEvent], run: u32, at: Timestamp, asked: &Cause) -> Meant {
    let (mut present, mut end, mut is_later) = (None::<&TaskRef>, None, false);
    for LoggedEvent { event, time, cause, .. } in logged {
        let Event::Dispatcher(event) = event else { continue };
        match event {
            DispatcherEvent::TransitionRefused(_) if cause.as_ref() == Some(asked) => return Meant::Nothing,
            DispatcherEvent::TaskScheduled(event) => {
                (present, end) = (event.task.as_ref(), None);
                is_later = *time > at && event.task.as_ref().is_some_and(|task| task.run > 1);
            }
            DispatcherEvent::WorkOrderIssued(event) => present = event.task.as_ref(),
            // A task that never had a registered spec has failed without having been scheduled.
            DispatcherEvent::TaskCompleted(_)
            | DispatcherEvent::TaskFailed(_)
            | DispatcherEvent::TaskCancelled(_) => (present, end) = (event.task_ref(), Some(event)),
            // A blocked run may still be cancelled.
            DispatcherEvent::TaskBlocked(_)
            | DispatcherEvent::WorkOrderExpired(_)
            | DispatcherEvent::ApprovalRequired(_)
            | DispatcherEvent::TaskPaused(_)
            | DispatcherEvent::TaskResumed(_)
            | DispatcherEvent::TransitionRefused(_) => {}
        }
    }
    let Some(present) = present else { return Meant::NotKnown };
    match (end, run) {
        (_, 0) if is_later => Meant::Nothing,
        // Of a cancelled run a cancel is not refused: it is met.
        (Some(DispatcherEvent::TaskCancelled(_)), 0) => Meant::Nothing,
        (Some(_), 0) => Meant::NotKnown,
        (_, run) if run > present.run => Meant::NotKnown,
        (None, run) if run == 0 || run == present.run => {
            Meant::Run(TaskRef { attempt: 0, ..present.clone() })
        }
        _ => Meant::Nothing,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_events::v1::{TaskBlocked, TaskCancelled, TaskFailed, TaskScheduled, TransitionRefused};

    use super::*;

    fn task(run: u32) -> Option<TaskRef> {
        Some(TaskRef { task: "VTID-01213".to_owned(), run, attempt: 1, ..TaskRef::default() })
    }

    const NOTHING: &str = "nothing";
    const NOT_KNOWN: &str = "not known";

    fn asked() -> Cause {
        Cause::new("MILLRACE_OPERATOR_0", 7)
    }

    fn logged(event: impl Into<DispatcherEvent>, at: i64) -> LoggedEvent {
        let event = Event::Dispatcher(event.into());
        LoggedEvent { event, sequence: 1, time: Timestamp::from_millis(at), cause: None }
    }

    fn run_of(log: &[LoggedEvent], run: u32, at: i64) -> Result<u32, &'static str> {
        match meant(log, run, Timestamp::from_millis(at), &asked()) {
            Meant::Run(task) if task.attempt == 0 => Ok(task.run),
            Meant::Run(_) => Err("an attempt"),
            Meant::Nothing => Err(NOTHING),
            Meant::NotKnown => Err(NOT_KNOWN),
        }
    }

    fn scheduled(run: u32) -> TaskScheduled {
        TaskScheduled { task: task(run), ..Default::default() }
    }

    #[test]
    fn a_cancel_is_about_a_run_that_goes_on_and_was_there() {
        let mut log = vec![logged(scheduled(1), 10)];
        assert_eq!((run_of(&log, 0, 20), run_of(&log, 1, 20)), (Ok(1), Ok(1)));
        log.push(logged(TaskBlocked { task: task(1), ..Default::default() }, 30));
        assert_eq!(run_of(&log, 0, 40), Ok(1));
        log.push(logged(TaskFailed { task: task(1), ..Default::default() }, 50));
        assert_eq!(run_of(&log, 1, 60), Err(NOTHING));
        log.push(logged(scheduled(2), 70));
        assert_eq!(run_of(&log, 0, 60), Err(NOTHING), "it was made before that run");
        assert_eq!((run_of(&log, 1, 80), run_of(&log, 0, 80)), (Err(NOTHING), Ok(2)));
        log.push(logged(TaskCancelled { task: task(2), ..Default::default() }, 90));
        assert_eq!(run_of(&log, 0, 80), Err(NOTHING));
    }

    /// The dispatcher could open the run after the cancel was given up here, and wait for its stop for ever.
    #[test]
    fn a_cancel_of_a_run_that_is_not_there_is_held_until_the_dispatcher_has_it_or_refuses() {
        let refused = |cause| LoggedEvent { cause, ..logged(TransitionRefused::default(), 15) };
        let another = refused(Some(Cause::new("MILLRACE_OPERATOR_0", 8)));
        let gate = logged(TaskFailed { task: task(1), ..Default::default() }, 10);
        let failed = vec![logged(scheduled(1), 5), gate.clone()];
        for (log, run) in [
            (vec![], 0),
            (vec![], 1),
            (vec![another], 1),
            (vec![logged(scheduled(1), 10)], 2),
            (vec![gate], 0),
            (failed, 0),
        ] {
            assert_eq!(run_of(&log, run, 20), Err(NOT_KNOWN), "{run} in {log:?}");
            let answered = [log.clone(), vec![refused(Some(asked())), logged(scheduled(1), 18)]].concat();
            assert_eq!(run_of(&answered, run, 20), Err(NOTHING), "{run} in {answered:?}");
            let next = run.max(log.iter().filter_map(|logged| logged.event.task_ref()).count() as u32 + 1);
            let opened = [log, vec![logged(scheduled(next), 18)]].concat();
            assert_eq!(run_of(&opened, run, 20), Ok(next), "{run} in {opened:?}");
        }
    }
}
