//! The dispatcher's rim: which events concern it, and how its questions are answered.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_events::v1::{TaskRef, TimerFired};
use millrace_events::{
    DeployerEvent, Event, Key, Log, ProjectorEvent, Service, SpecRegistryEvent, WorkerEvent,
};
use millrace_runtime::clock::Clock;
use millrace_runtime::host::{EffectContext, Fault, Hosted, Incoming, Received};
use millrace_runtime::kv::Kv;
use millrace_runtime::lease;
use millrace_runtime::log_reader::LogReader;

use crate::domain::{Dispatcher, Effect, Input, Report};

/// The dispatcher as the runtime hosts it.
pub struct DispatcherService {
    decider: Dispatcher,
    logs: LogReader,
    leases: Arc<dyn Kv>,
    clock: Arc<dyn Clock>,
}

impl DispatcherService {
    /// With its limits, the logs it may ask, and the leases it may take away.
    pub fn new(decider: Dispatcher, logs: LogReader, leases: Arc<dyn Kv>, clock: Arc<dyn Clock>) -> Self {
        Self { decider, logs, leases, clock }
    }

    /// What the worker's and deployer's logs and the lease say about the work order of a deadline.
    async fn inquire(&self, key: &Key, timer: &TimerFired) -> Result<Report, Fault> {
        let order = &timer.about;
        let mut report = Report::default();
        for logged in self.logs.events(Log::Worker, key).await? {
            let Event::Worker(event) = logged.event else { continue };
            match event {
                WorkerEvent::WorkOrderAcknowledged(event) if event.order == *order => {
                    report.acknowledged = true
                }
                WorkerEvent::ExecutionCompleted(event) if event.order == *order => report.finished = true,
                WorkerEvent::ExecutionFailed(event) if event.order == *order => report.finished = true,
                WorkerEvent::ExecutionSuspended(event) if event.order == *order => report.finished = true,
                WorkerEvent::ChecksCompleted(event) if event.order == *order => report.finished = true,
                _ => {}
            }
        }
        for logged in self.logs.events(Log::Deployer, key).await? {
            let Event::Deployer(event) = logged.event else { continue };
            let about_pull_request =
                matches!(event, DeployerEvent::PullRequestOpened(_) | DeployerEvent::PullRequestFailed(_));
            report.pull_request_known |=
                about_pull_request && same_attempt(event.task_ref(), timer.task.as_ref());
        }
        report.lease_alive = lease::is_alive(self.leases.as_ref(), order).await?;
        report.workers_busy = self.leases.entries().await?.iter().any(|(held, _)| held != order);
        Ok(report)
    }

    /// The spec that is registered for a task now.
    async fn find_spec(&self, key: &Key) -> Result<Option<millrace_events::v1::SpecRegistered>, Fault> {
        let events = self.logs.events(Log::SpecRegistry, key).await?;
        Ok(events.into_iter().rev().find_map(|logged| match logged.event {
            Event::SpecRegistry(SpecRegistryEvent::SpecRegistered(spec)) => Some(spec),
            _ => None,
        }))
    }

    /// The merge commit of a run, when there is one.
    async fn merged(&self, key: &Key, run: u32) -> Result<Option<String>, Fault> {
        let events = self.logs.events(Log::Deployer, key).await?;
        Ok(events.into_iter().find_map(|logged| match logged.event {
            Event::Deployer(DeployerEvent::MergeCompleted(event))
                if run == 0 || event.task.as_ref().is_some_and(|task| task.run == run) =>
            {
                Some(event.merge_commit)
            }
            _ => None,
        }))
    }
}

fn same_attempt(one: Option<&TaskRef>, other: Option<&TaskRef>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if (one.run, one.attempt) == (other.run, other.attempt))
}

#[async_trait]
impl Hosted for DispatcherService {
    type Decider = Dispatcher;
    const SERVICE: Service = Service::Dispatcher;

    fn decider(&self) -> &Dispatcher {
        &self.decider
    }

    fn accept(&self, received: &Received) -> Option<Input> {
        let at = received.time;
        let input = match &received.incoming {
            Incoming::Timer(timer) => Input::Timer(timer.clone()),
            Incoming::Event(event) => match event.clone() {
                Event::SpecRegistry(SpecRegistryEvent::SpecRegistered(event)) => Input::SpecRegistered(event),
                Event::SpecRegistry(SpecRegistryEvent::SpecRejected(event)) => Input::SpecRejected(event),
                Event::Worker(event) => Input::Worker { event, at },
                Event::Validator(event) => Input::Validator(event),
                Event::Deployer(event) => Input::Deployer(event),
                Event::Operator(event) => Input::Operator(event),
                Event::Projector(ProjectorEvent::OverdueNoticed(event)) => Input::Overdue(event),
                _ => return None,
            },
        };
        // What names no task (a rejected submission without an id, a prompt's baseline) is not a life cycle.
        Key::new(input.task()).ok()?;
        Some(input)
    }

    #[expect(clippy::expect_used, reason = "`accept` lets only inputs through whose task is a key")]
    fn key(&self, input: &Input) -> Key {
        Key::new(input.task()).expect("the task of an accepted input is a key")
    }

    async fn perform(&self, effect: &Effect, context: &EffectContext) -> Result<Option<Input>, Fault> {
        let key = &context.key;
        Ok(match effect {
            Effect::Inquire(timer) => {
                let report = self.inquire(key, timer).await?;
                Some(Input::Inquired { timer: timer.clone(), report, at: self.clock.now() })
            }
            Effect::FindSpec(request) => {
                Some(Input::Retry { request: request.clone(), spec: self.find_spec(key).await? })
            }
            Effect::AskMerged(request) => {
                let merged = self.merged(key, request.run).await?;
                Some(Input::Cancel { request: request.clone(), merged })
            }
            Effect::RevokeLease { order } => {
                lease::end(self.leases.as_ref(), order).await?;
                millrace_runtime::crash_point::reached("dispatcher.revoked");
                None
            }
            Effect::FollowUp { task } => Some(Input::FollowUp { task: task.clone() }),
        })
    }
}
