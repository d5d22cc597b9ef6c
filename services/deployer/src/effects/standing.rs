//! What the logs say right before something is done: whether the run goes on, and what is answered already.

use millrace_events::v1::{TaskRef, WorkOrder};
use millrace_events::{DeployerEvent, DispatcherEvent, Event, Key, Log};
use millrace_runtime::host::Fault;

use super::World;

impl World {
    /// Why nothing more may be done for this attempt; `None`: it goes on.
    pub(super) async fn is_over(&self, key: &Key, task: &TaskRef) -> Result<Option<String>, Fault> {
        Ok(standing(self.dispatched(key).await?.iter(), task))
    }

    /// Whether the work order has expired, or was offered again after a pause: what came of it counts for
    /// nothing, and the same attempt may get another order.
    pub(super) async fn has_expired(&self, key: &Key, order: &str) -> Result<bool, Fault> {
        Ok(expired(&self.dispatched(key).await?, order))
    }

    /// Whether a person holds the run before its next stage.
    pub(super) async fn is_paused(&self, key: &Key, task: &TaskRef) -> Result<bool, Fault> {
        Ok(paused(self.dispatched(key).await?.iter(), task.run))
    }

    async fn dispatched(&self, key: &Key) -> Result<Vec<DispatcherEvent>, Fault> {
        let events = self.logs.events(Log::Dispatcher, key).await?.into_iter();
        let events = events.filter_map(|logged| match logged.event {
            Event::Dispatcher(event) => Some(event),
            _ => None,
        });
        Ok(events.collect())
    }

    /// What the deployer's own log says about a release by now: another handler may have answered since the
    /// effect became due.
    pub(super) async fn answers(&self, key: &Key, task: &TaskRef) -> Result<Answers, Fault> {
        let mut answers = Answers::default();
        for logged in self.logs.events(Log::Deployer, key).await? {
            let Event::Deployer(event) = logged.event else { continue };
            let found = event.task_ref().map(|found| (found.run, found.attempt));
            if found != Some((task.run, task.attempt)) {
                continue;
            }
            match event {
                DeployerEvent::DeploymentVerified(_) | DeployerEvent::DeploymentFailed(_) => {
                    answers.verdict = true;
                }
                DeployerEvent::RollbackCompleted(_) | DeployerEvent::RollbackFailed(_) => {
                    answers.rollback = true;
                }
                _ => {}
            }
        }
        Ok(answers)
    }
}

/// What has been answered about a release.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) verdict: bool,
    pub(super) rollback: bool,
}

fn expired(events: &[DispatcherEvent], order: &str) -> bool {
    let mut own: Option<&WorkOrder> = None;
    for event in events {
        let offered = match event {
            DispatcherEvent::WorkOrderExpired(event) if event.order == order => return true,
            DispatcherEvent::TaskScheduled(event) => event.order.as_ref(),
            DispatcherEvent::WorkOrderIssued(event) => event.order.as_ref(),
            _ => None,
        };
        let Some(offered) = offered else { continue };
        if offered.id == order {
            own = Some(offered);
        } else if own.is_some_and(|own| (&own.task, own.kind) == (&offered.task, offered.kind)) {
            return true;
        }
    }
    false
}

fn paused<'a>(events: impl Iterator<Item = &'a DispatcherEvent>, run: u32) -> bool {
    let of_run = events.filter(|event| event.task_ref().is_some_and(|task| task.run == run));
    of_run.fold(false, |paused, event| match event {
        DispatcherEvent::TaskPaused(_) => true,
        DispatcherEvent::TaskResumed(_) => false,
        _ => paused,
    })
}

fn standing<'a>(events: impl Iterator<Item = &'a DispatcherEvent>, task: &TaskRef) -> Option<String> {
    let mut present = (0, 0);
    let mut ended = None;
    for event in events {
        let named = event.task_ref().map_or((0, 0), |task| (task.run, task.attempt));
        match event {
            DispatcherEvent::TaskScheduled(_) | DispatcherEvent::WorkOrderIssued(_) => {
                present = named;
                ended = None;
            }
            DispatcherEvent::TaskCompleted(_) => ended = Some("is complete"),
            DispatcherEvent::TaskFailed(_) => ended = Some("has failed"),
            DispatcherEvent::TaskBlocked(_) => ended = Some("is blocked"),
            DispatcherEvent::TaskCancelled(_) => ended = Some("was cancelled"),
            _ => {}
        }
    }
    let (run, attempt) = present;
    if present > (task.run, task.attempt) {
        return Some(format!("attempt {run}.{attempt} has taken its place"));
    }
    if present < (task.run, task.attempt) {
        return Some(format!("attempt {}.{} was never opened", task.run, task.attempt));
    }
    ended.map(|how| format!("run {run} {how}"))
}
