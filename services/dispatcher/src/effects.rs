//! The dispatcher's rim: which events concern it, and how its questions are answered.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_events::v1::{CancelRequested, Phase, StageStopped, TaskRef, TimerFired};
use millrace_events::{
    DeployerEvent, DispatcherEvent, Event, Key, Log, OperatorEvent, ProjectorEvent, Service,
    SpecRegistryEvent, WorkerEvent,
};
use millrace_runtime::clock::Clock;
use millrace_runtime::host::{EffectContext, Fault, Hosted, Incoming, Received};
use millrace_runtime::kv::Kv;
use millrace_runtime::lease;
use millrace_runtime::log_reader::LogReader;

use crate::admission::Admission;
use crate::domain::{Dispatcher, Effect, Input, Release, Report};

/// The dispatcher as the runtime hosts it.
pub struct DispatcherService {
    decider: Dispatcher,
    logs: LogReader,
    leases: Arc<dyn Kv>,
    clock: Arc<dyn Clock>,
    admission: Arc<Admission>,
}

impl DispatcherService {
    /// With its limits, the logs it may ask, the leases it may take away, and who lets runs in.
    pub fn new(
        decider: Dispatcher,
        logs: LogReader,
        leases: Arc<dyn Kv>,
        clock: Arc<dyn Clock>,
        admission: Arc<Admission>,
    ) -> Self {
        Self { decider, logs, leases, clock, admission }
    }

    /// What the worker's and deployer's logs and the lease say about the work order of a deadline.
    async fn inquire(&self, key: &Key, timer: &TimerFired) -> Result<Report, Fault> {
        let order = &timer.about;
        // Before the logs: who ends a work order says so and gives up the lease then. The other way round an end
        // in between would look like a worker that fell silent.
        let lease_alive = lease::is_alive(self.leases.as_ref(), order).await?;
        let mut report = Report { lease_alive, ..Report::default() };
        for logged in self.logs.events(Log::Worker, key).await? {
            let Event::Worker(event) = logged.event else { continue };
            match event {
                WorkerEvent::WorkOrderAcknowledged(event) if event.order == *order => {
                    report.acknowledged = true
                }
                WorkerEvent::ExecutionCompleted(event) if event.order == *order => report.finished = true,
                WorkerEvent::ExecutionFailed(event) if event.order == *order => report.finished = true,
                WorkerEvent::ExecutionSuspended(event) if event.order == *order => {
                    report.finished = true;
                    report.suspended = event.phase() == Phase::Unspecified;
                }
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
        report.workers_busy = self.leases.entries().await?.iter().any(|(held, _)| held != order);
        if !report.acknowledged && !report.finished && self.admission.is_behind(key.as_str()).await? {
            report.workers_busy = true;
        }
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

    /// What the deployer's log says about a run.
    async fn release(&self, key: &Key, run: u32) -> Result<Release, Fault> {
        let mut release = Release::Open;
        for logged in self.logs.events(Log::Deployer, key).await? {
            let Event::Deployer(event) = logged.event else { continue };
            let Some(task) = event.task_ref().filter(|task| task.run == run) else { continue };
            match &event {
                DeployerEvent::MergeCompleted(event) => {
                    return Ok(Release::Merged(event.merge_commit.clone()));
                }
                DeployerEvent::StageStopped(_) if task.attempt == 0 => release = Release::Stopped,
                _ => {}
            }
        }
        Ok(release)
    }

    /// The request that a run was stopped for.
    async fn find_cancel(&self, key: &Key, stopped: &StageStopped) -> Result<CancelRequested, Fault> {
        let run = stopped.task.as_ref().map_or(0, |task| task.run);
        let asked = self.logs.events(Log::Operator, key).await?.into_iter();
        let mut found = asked.filter_map(|logged| match logged.event {
            Event::Operator(OperatorEvent::CancelRequested(request)) => Some(request),
            _ => None,
        });
        let found = found.find(|request| request.run == 0 || request.run == run);
        let (actor, reason) = match found {
            Some(request) => (request.actor, request.reason),
            None => (Service::Deployer.name().to_owned(), stopped.reason.clone()),
        };
        Ok(CancelRequested { task: key.as_str().to_owned(), run, actor, reason })
    }
}

fn same_attempt(one: Option<&TaskRef>, other: Option<&TaskRef>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if (one.run, one.attempt) == (other.run, other.attempt))
}

impl DispatcherService {
    /// What matters to who is let in, whatever the life cycle makes of it.
    fn overhear(&self, received: &Received) {
        match &received.incoming {
            Incoming::Event(Event::Worker(WorkerEvent::WorkOrderAcknowledged(event))) => {
                let task = event.task.as_ref().map_or("", |task| task.task.as_str());
                self.admission.acknowledged(task, received.time);
            }
            Incoming::Event(Event::Projector(event)) => {
                self.admission.hear(received.key.as_str(), received.position.sequence, event);
            }
            _ => {}
        }
    }
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
        self.overhear(received);
        let input = match &received.incoming {
            Incoming::Timer(timer) => Input::Timer { timer: timer.clone(), at },
            Incoming::Event(event) => match event.clone() {
                Event::SpecRegistry(SpecRegistryEvent::SpecRegistered(event)) => Input::SpecRegistered(event),
                Event::SpecRegistry(SpecRegistryEvent::SpecRejected(event)) => Input::SpecRejected(event),
                Event::Worker(event) => Input::Worker { event, at },
                Event::Validator(event) => Input::Validator(event),
                Event::Deployer(event) => Input::Deployer(event),
                Event::Operator(event) => Input::Operator {
                    event,
                    id: received.id.clone(),
                    position: received.position.clone(),
                    at,
                },
                Event::Projector(ProjectorEvent::OverdueNoticed(event)) => Input::Overdue(event),
                _ => return None,
            },
        };
        // What names no task (a rejected submission without an id, a prompt's baseline) is not a life cycle.
        Key::new(input.task()).ok()?;
        Some(input)
    }

    fn withholds(&self, event: &DispatcherEvent) -> Option<String> {
        self.admission.withholds(event)
    }

    #[expect(clippy::expect_used, reason = "`accept` lets only inputs through whose task is a key")]
    fn key(&self, input: &Input) -> Key {
        Key::new(input.task()).expect("the task of an accepted input is a key")
    }

    async fn perform(&self, effect: &Effect, context: &EffectContext) -> Result<Option<Input>, Fault> {
        let key = &context.key;
        Ok(match effect {
            Effect::Admit { candidate, spec } => {
                let room = self.admission.admit(candidate).await?;
                Some(Input::Admitted { candidate: candidate.clone(), spec: spec.clone(), room })
            }
            Effect::Enqueue(candidate) => {
                self.admission.enqueue(candidate).await?;
                None
            }
            Effect::Dequeue { task, run } => {
                self.admission.dequeue(task, *run).await?;
                None
            }
            Effect::Free(candidate) => {
                self.admission.free(candidate).await?;
                None
            }
            Effect::CloseOffer { task } => {
                self.admission.close_offer(task);
                None
            }
            Effect::OpenOffer { task } => {
                self.admission.open_offer(task);
                None
            }
            Effect::Inquire(timer) => {
                let report = self.inquire(key, timer).await?;
                Some(Input::Inquired { timer: timer.clone(), report, at: self.clock.now() })
            }
            Effect::FindSpec(request) => {
                Some(Input::Retry { request: request.clone(), spec: self.find_spec(key).await? })
            }
            Effect::AskCancel(request) => {
                let release = self.release(key, request.run).await?;
                Some(Input::Cancel { request: request.clone(), release })
            }
            Effect::FindCancel(stopped) => {
                let request = self.find_cancel(key, stopped).await?;
                let release = self.release(key, request.run).await?;
                Some(Input::Cancel { request, release })
            }
            Effect::AskPause { request, id } => {
                let release = self.release(key, request.run).await?;
                Some(Input::Pause { request: request.clone(), id: id.clone(), release })
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::time::Duration;

    use millrace_decider::Timestamp;
    use millrace_events::catalogue::{HEALTH_BUCKET, LEASE_BUCKET, QUEUE_BUCKET, SLOT_BUCKET};
    use millrace_events::v1::ExecutionCompleted;
    use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope};
    use millrace_runtime::bootstrap::{Declared, Installation};
    use millrace_runtime::broker::{Append, Broker, BrokerError};
    use millrace_runtime::bucket::Bucket;
    use millrace_runtime::kv::{Change, Entry};
    use millrace_runtime::memory::{ManualClock, MemoryBroker};
    use millrace_runtime::settings::Settings;

    use super::*;
    use crate::admission::World;
    use crate::config;

    const TASK: &str = "VTID-01213";

    /// The leases; right before one is looked at its holder says that it is done, and gives it up.
    struct Ending {
        broker: Arc<dyn Broker>,
        leases: Bucket,
    }

    #[async_trait]
    impl Kv for Ending {
        async fn get(&self, order: &str) -> Result<Option<Entry>, BrokerError> {
            let key = Key::new(TASK).unwrap();
            let event = ExecutionCompleted { order: order.to_owned(), ..Default::default() }.into();
            let envelope = Envelope::new("id", "/test", key.clone(), Timestamp::default(), &event);
            let append = Append::new(Log::Worker.stream(0), Log::Worker.subject(&key, 1), envelope.encode());
            let _ = self.broker.append(&append.content_type(CONTENT_TYPE_PROTOBUF)).await.unwrap();
            self.leases.get(order).await
        }
        async fn create(&self, key: &str, value: &[u8]) -> Result<Option<u64>, BrokerError> {
            self.leases.create(key, value).await
        }
        async fn update(&self, key: &str, value: &[u8], revision: u64) -> Result<Option<u64>, BrokerError> {
            self.leases.update(key, value, revision).await
        }
        async fn put(&self, key: &str, value: &[u8]) -> Result<u64, BrokerError> {
            self.leases.put(key, value).await
        }
        async fn delete(&self, key: &str) -> Result<(), BrokerError> {
            self.leases.delete(key).await
        }
        async fn delete_at(&self, key: &str, revision: u64, keep: Duration) -> Result<bool, BrokerError> {
            self.leases.delete_at(key, revision, keep).await
        }
        async fn changes(&self, revision: u64, limit: usize) -> Result<Vec<Change>, BrokerError> {
            self.leases.changes(revision, limit).await
        }
        async fn entries(&self) -> Result<Vec<(String, Entry)>, BrokerError> {
            self.leases.entries().await
        }
    }

    /// S2-G8b: what ends while it is asked about has not fallen silent.
    #[tokio::test]
    async fn an_order_that_ends_in_this_moment_is_finished_and_not_silent() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_790_000_000_000)));
        let declared = Declared::of(&Installation::default());
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(clock.clone(), &declared));
        let bucket = |name: &str| Arc::new(Bucket::new(broker.clone(), name));
        let settings = Settings::default();
        let world = World {
            broker: broker.clone(),
            queue: bucket(QUEUE_BUCKET),
            slots: bucket(SLOT_BUCKET),
            heartbeats: bucket(HEALTH_BUCKET),
            clock: clock.clone(),
        };
        let leases = Ending { broker: broker.clone(), leases: Bucket::new(broker.clone(), LEASE_BUCKET) };
        let service = DispatcherService::new(
            Dispatcher { limits: config::limits(&settings) },
            LogReader::new(broker.clone(), 1),
            Arc::new(leases),
            clock,
            Arc::new(Admission::new(config::rules(&settings), world)),
        );
        let timer = TimerFired { name: "lease".to_owned(), about: "order".to_owned(), ..Default::default() };
        let report = service.inquire(&Key::new(TASK).unwrap(), &timer).await.unwrap();
        assert_eq!((report.finished, report.lease_alive), (true, false));
    }
}
