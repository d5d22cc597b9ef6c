//! How the worker's decisions meet the world: orders come in, work is done, its end goes back.

mod change;
mod check;
mod commands;
mod evidence;
mod execution;
mod failures;
mod job;
mod onboarding;
pub(crate) mod prompts;

pub use evidence::Gathered;
pub use failures::{Step, Stop};
pub use job::Workbench;
pub use prompts::Prompts;

use std::sync::Arc;

use async_trait::async_trait;
use millrace_events::v1::{ExecutionFailed, Failure, WorkOrder};
use millrace_events::{DispatcherEvent, Event, Key, Service};
use millrace_runtime::host::{EffectContext, Fault, Hosted, Incoming, Received, Reports};
use millrace_runtime::lease;
use millrace_runtime::service::ServiceContext;

use crate::domain::{Effect, Execute, Input, Offer, Orders, Said, Worker};
use crate::ports::Work;

/// The worker, ready to be hosted.
pub struct WorkerService {
    decider: Worker,
    context: ServiceContext,
    work: Arc<dyn Work>,
}

impl WorkerService {
    /// The worker of that identity; the process is the context's.
    pub fn new(context: ServiceContext, worker: String, work: Arc<dyn Work>) -> Self {
        let decider = Worker { worker, instance: context.instance.clone() };
        Self { decider, context, work }
    }

    /// The input that says that the work on an order failed.
    fn failed(execute: &Execute, event: ExecutionFailed) -> Input {
        let event = ExecutionFailed {
            task: execute.order.task.clone(),
            order: execute.order.id.clone(),
            kind: execute.order.kind,
            fencing_token: execute.token,
            ..event
        };
        Self::ended(execute, event)
    }

    fn ended(execute: &Execute, event: impl Into<millrace_events::WorkerEvent>) -> Input {
        Input::Ended(Box::new(Said {
            task: execute.task.clone(),
            order: execute.order.id.clone(),
            token: execute.token,
            event: event.into(),
        }))
    }
}

#[async_trait]
impl Hosted for WorkerService {
    type Decider = Worker;

    const SERVICE: Service = Service::Worker;

    fn decider(&self) -> &Worker {
        &self.decider
    }

    fn accept(&self, received: &Received) -> Option<Input> {
        let Incoming::Event(Event::Dispatcher(event)) = &received.incoming else { return None };
        let order: &WorkOrder = match event {
            DispatcherEvent::TaskScheduled(event) => event.order.as_ref(),
            DispatcherEvent::WorkOrderIssued(event) => event.order.as_ref(),
            _ => None,
        }?;
        let is_of_this_task = order.task.as_ref().is_some_and(|task| task.task == received.key.as_str());
        is_of_this_task
            .then(|| Input::Offered(Box::new(Offer { task: received.key.clone(), order: order.clone() })))
    }

    fn key(&self, input: &Input) -> Key {
        input.task().clone()
    }

    fn came_second(&self, orders: &Orders, input: &Input) -> bool {
        self.decider.came_second(orders, input)
    }

    async fn perform(&self, effect: &Effect, context: &EffectContext) -> Result<Option<Input>, Fault> {
        self.perform_reporting(effect, context, Reports::unheard()).await
    }

    async fn perform_reporting(
        &self,
        effect: &Effect,
        context: &EffectContext,
        reports: Reports<Input>,
    ) -> Result<Option<Input>, Fault> {
        match effect {
            Effect::Execute(execute) => self.execute(execute, &context.stop, reports).await,
            Effect::Release { order } => {
                if let Err(error) = lease::end(self.context.leases.as_ref(), order).await {
                    // The end of the order is recorded; its lease runs out by itself.
                    tracing::warn!(order, %error, "the lease could not be given back");
                }
                Ok(None)
            }
        }
    }

    /// Work that could not even be begun ends the order all the same, so that the task says why.
    fn gave_up(&self, effect: &Effect, fault: &Fault) -> Option<Input> {
        match effect {
            Effect::Execute(execute) => {
                let failure: Failure =
                    fault.to_failure(Service::Worker.name(), failures::stage(execute.order.kind()));
                Some(Self::failed(
                    execute,
                    ExecutionFailed {
                        worker: self.decider.worker.clone(),
                        failure: Some(failure),
                        ..ExecutionFailed::default()
                    },
                ))
            }
            Effect::Release { .. } => None,
        }
    }
}
