//! The failure analyzer's rim: what counts as a failure, and where its domain is asked for.

use async_trait::async_trait;
use millrace_events::v1::{Failure, SpecRejected, TaskRef};
use millrace_events::{Code, DispatcherEvent, Event, Key, Log, Service, SpecRegistryEvent};
use millrace_runtime::host::{EffectContext, Fault, Hosted, Incoming, Received};
use millrace_runtime::log_reader::LogReader;

use crate::domain::{Classification, Classifier, Effect, Input, Reported};

/// The failure analyzer as the runtime hosts it.
pub struct FailureAnalyzerService {
    decider: Classifier,
    logs: LogReader,
}

impl FailureAnalyzerService {
    /// With the logs it may ask.
    pub fn new(logs: LogReader) -> Self {
        Self { decider: Classifier, logs }
    }

    /// What the run's work orders say that the task is about; empty: no order was ever issued.
    async fn domain(&self, task: &TaskRef) -> Result<String, Fault> {
        let Ok(key) = Key::new(task.task.as_str()) else { return Ok(String::new()) };
        let events = self.logs.events(Log::Dispatcher, &key).await?;
        let of_run = events.into_iter().rev().find_map(|logged| {
            let order = match logged.event {
                Event::Dispatcher(DispatcherEvent::TaskScheduled(event)) => event.order,
                Event::Dispatcher(DispatcherEvent::WorkOrderIssued(event)) => event.order,
                _ => None,
            }?;
            let is_of_run = order.task.as_ref().is_some_and(|found| found.run == task.run);
            (is_of_run && task.attempt > 0).then_some(order.domain)
        });
        Ok(of_run.unwrap_or_default())
    }
}

#[async_trait]
impl Hosted for FailureAnalyzerService {
    type Decider = Classifier;
    const SERVICE: Service = Service::FailureAnalyzer;

    fn decider(&self) -> &Classifier {
        &self.decider
    }

    fn accept(&self, received: &Received) -> Option<Input> {
        let Incoming::Event(event) = &received.incoming else { return None };
        let (task, failure) = match event {
            Event::Dispatcher(DispatcherEvent::TaskFailed(event)) => (event.task.clone(), &event.failure),
            Event::Dispatcher(DispatcherEvent::TaskBlocked(event)) => (event.task.clone(), &event.failure),
            Event::SpecRegistry(SpecRegistryEvent::SpecRejected(event)) => {
                (Some(rejected(event)), &event.failure)
            }
            _ => return None,
        };
        let failure = failure.clone().unwrap_or_else(|| {
            Failure::new(Code::Internal, format!("{} came without a failure", event.name()))
        });
        let reported = Reported { task: task.unwrap_or_default(), failure };
        Some(Input::Reported(Box::new(reported)))
    }

    /// A report belongs to no group until it is classified; it is decided on nothing.
    #[expect(clippy::expect_used, reason = "the group's key is a fixed text and 16 hex digits")]
    fn key(&self, input: &Input) -> Key {
        match input {
            Input::Reported(reported) => Classification::new(reported, "").group(),
            Input::Classified(found) | Input::Grown(found) => found.group(),
        }
        .expect("a group's key is a key")
    }

    async fn perform(&self, effect: &Effect, _context: &EffectContext) -> Result<Option<Input>, Fault> {
        Ok(Some(match effect {
            Effect::Classify(reported) => {
                let domain = self.domain(&reported.task).await?;
                Input::Classified(Box::new(Classification::new(reported, &domain)))
            }
            Effect::Publish(found) => Input::Grown(found.clone()),
        }))
    }

    /// A failure is classified even where its domain cannot be asked for.
    fn gave_up(&self, effect: &Effect, _fault: &Fault) -> Option<Input> {
        match effect {
            Effect::Classify(reported) => {
                Some(Input::Classified(Box::new(Classification::new(reported, ""))))
            }
            Effect::Publish(_) => None,
        }
    }
}

/// A rejected spec, as the failed task that follows on it is named.
fn rejected(event: &SpecRejected) -> TaskRef {
    TaskRef {
        task: event.task.clone(),
        repository: event.repository.clone(),
        spec_checksum: event.checksum.clone(),
        run: 1,
        ..TaskRef::default()
    }
}
