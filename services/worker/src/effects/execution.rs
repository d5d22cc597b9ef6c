//! The frame around the work: the lease that it is done under, the limit that kills it, the order to stop.
//! DESIGN section 4, Leases, and section 5, execution.

use std::time::Duration;

use millrace_events::v1::{
    ExecutionFailed, ExecutionSuspended, Failure, ModelCallRecord, WorkOrder, WorkOrderKind,
};
use millrace_events::{Code, DispatcherEvent, Event, Log, OperatorEvent, Service, WorkerEvent};
use millrace_runtime::host::{Fault, Reports};
use millrace_runtime::lease::{self, Holder, Lease, Lost};
use millrace_runtime::log_reader::LoggedEvent;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::evidence::{Gathered, millis};
use super::failures::{Step, Stop, stage};
use super::{WorkerService, prompts};
use crate::domain::{Execute, Input};
use crate::ports::{Assignment, Journal};

/// How long cancelled work has to kill what it started. The sandbox needs at most 10 s of it.
const WIND_DOWN: Duration = Duration::from_secs(12);
/// Quarters of the grace period that it has when the service stops. In the rest its end is recorded.
const QUARTERS_OF_GRACE: u32 = 3;

/// What the dispatcher says of an order that was just claimed.
enum Standing {
    Open,
    GivenUp,
    Paused,
}

/// How the work came to its end.
enum End {
    Finished(Box<Step<WorkerEvent>>),
    Lost(Lost),
    Stopped,
    TimedOut,
}

impl WorkerService {
    /// Does what an order asks for. `Ok(None)`: it is no longer ours to do, and the dispatcher knows. A fault:
    /// NATS was away for so long that the lease ran out; the order is done again if it is still ours.
    pub(super) async fn execute(
        &self,
        execute: &Execute,
        stop: &CancellationToken,
        reports: Reports<Input>,
    ) -> Result<Option<Input>, Fault> {
        let order = &execute.order;
        let Some(lease) = self.take_lease(execute).await? else {
            tracing::warn!(order = order.id, "somebody else holds the lease; the order is left alone");
            return Ok(None);
        };
        // Asked under the lease: who ends the order from here on finds it, and takes it away.
        match self.standing(execute).await? {
            Standing::Open => {}
            Standing::GivenUp => {
                tracing::info!(order = order.id, "the dispatcher has moved on; the order is left alone");
                lease::end(self.context.leases.as_ref(), &order.id).await?;
                return Ok(None);
            }
            // Said before the lease is given back, so that the dispatcher knows that it may be offered again.
            Standing::Paused => return Ok(Some(self.suspended(execute))),
        }
        let started = self.context.clock.now();
        let limit = Duration::from_millis(order.execution_limit_ms);
        let mut gathered = Gathered::default();
        let journal = Journal::new(execute, reports);
        let end = self.framed(execute, lease, limit, stop, &journal, &mut gathered).await;
        if let Err(error) = self.work.clear(&order.id).await {
            tracing::warn!(order = order.id, %error, "the work's folder could not be removed");
        }
        let stopped = || Failure::new(Code::LeaseLost, "the worker was stopped; its lease is given back");
        let failure = match end {
            // No event: the log of an order that was given up says nothing more.
            End::Lost(Lost::Gone) => return Ok(None),
            // Nobody has decided anything. The dispatcher says whether there is still something to do.
            End::Lost(Lost::RanOut(error)) => return Err(error.into()),
            End::Stopped => stopped(),
            End::TimedOut => Failure::new(
                Code::ExecutionTimeout,
                format!("the work took longer than its limit of {} ms and was killed", limit.as_millis()),
            )
            .with("limit_ms", limit.as_millis().to_string()),
            End::Finished(finished) => match *finished {
                Ok(event) => return Ok(Some(Self::ended(execute, event))),
                Err(Stop::Failed(failure)) => *failure,
                Err(Stop::Cancelled) => stopped(),
            },
        };
        tracing::info!(order = order.id, code = failure.code_name(), message = failure.message, "failed");
        let event = ExecutionFailed {
            worker: self.decider.worker.clone(),
            failure: Some(located(asked(failure, &gathered.asked), order.kind())),
            evidence: gathered.evidence,
            calls: gathered.calls,
            duration_ms: millis(self.context.clock.now().since(started)),
            ..ExecutionFailed::default()
        };
        Ok(Some(Self::failed(execute, event)))
    }

    /// Works until it is done, the lease is gone, the service stops or the limit is over. When this returns,
    /// nothing that the work started is left.
    async fn framed(
        &self,
        execute: &Execute,
        lease: Lease,
        limit: Duration,
        stop: &CancellationToken,
        journal: &Journal,
        gathered: &mut Gathered,
    ) -> End {
        let limits = &self.context.settings.limits;
        let cancel = CancellationToken::new();
        let assignment =
            Assignment { execute, worker: &self.decider.worker, limit, journal, cancel: &cancel };
        let work = self.work.run(&assignment, gathered).instrument(work_span(execute));
        tokio::pin!(work);
        let end = tokio::select! {
            biased;
            lost = lease.keep(limits.lease_renewal, limits.lease) => End::Lost(lost),
            finished = &mut work => End::Finished(Box::new(finished)),
            () = stop.cancelled() => End::Stopped,
            () = self.context.clock.sleep(limit) => End::TimedOut,
        };
        if !matches!(end, End::Finished(_)) {
            cancel.cancel();
            let grace = limits.grace * QUARTERS_OF_GRACE / 4;
            tokio::select! {
                biased;
                _cancelled = work => {}
                () = wound_down(stop, grace) => {
                    tracing::warn!(order = execute.order.id, "the work did not end when it was told to; dropped");
                }
            }
        }
        end
    }

    /// Whether the dispatcher still waits for this order: not expired, not overtaken, its run neither over,
    /// cancelled nor paused. A message that comes back after the order was given up must not do the work again.
    async fn standing(&self, execute: &Execute) -> Result<Standing, Fault> {
        let order = &execute.order.id;
        let logged = self.context.logs().events(Log::Dispatcher, &execute.task).await?;
        let since =
            logged.iter().skip_while(|logged| offer(&logged.event).is_none_or(|offer| offer.id != *order));
        if since.skip(1).any(|logged| gives_up(&logged.event, order)) {
            return Ok(Standing::GivenUp);
        }
        // What a person has cancelled is over, whether or not anybody has answered that yet.
        let asked = self.context.logs().events(Log::Operator, &execute.task).await?;
        let run = execute.order.task.as_ref().map_or(0, |task| task.run);
        if asked.iter().any(|asked| cancels(asked, run, &logged)) {
            return Ok(Standing::GivenUp);
        }
        let is_paused = logged.iter().fold(false, |paused, logged| pauses(&logged.event).unwrap_or(paused));
        Ok(if is_paused { Standing::Paused } else { Standing::Open })
    }

    /// The end of an order that is given back unbegun, because a person has paused the task.
    fn suspended(&self, execute: &Execute) -> Input {
        let suspended = ExecutionSuspended {
            task: execute.order.task.clone(),
            order: execute.order.id.clone(),
            worker: self.decider.worker.clone(),
            fencing_token: execute.token,
            reason: "the task is paused".to_owned(),
            ..ExecutionSuspended::default()
        };
        Self::ended(execute, suspended)
    }

    /// Takes the lease of a claimed order. An entry with our own token is left of a try before this one.
    async fn take_lease(&self, execute: &Execute) -> Result<Option<Lease>, Fault> {
        let holder = Holder {
            worker: self.decider.worker.clone(),
            instance: self.decider.instance.clone(),
            token: execute.token,
        };
        let (order, leases) = (&execute.order.id, &self.context.leases);
        for _ in 0..2 {
            let taken = Lease::take(leases.clone(), self.context.clock.clone(), order, &holder).await?;
            if taken.is_some() {
                return Ok(taken);
            }
            let Some(entry) = leases.get(order).await? else { continue };
            match serde_json::from_slice::<Holder>(&entry.value) {
                Ok(found) if found == holder => lease::end(leases.as_ref(), order).await?,
                _ => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// Returns when cancelled work has had its time: less of it once the service stops, for its end must be
/// recorded before the grace period is over.
async fn wound_down(stop: &CancellationToken, grace: Duration) {
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    let _over = tokio::time::timeout(WIND_DOWN, stopped).await;
}

/// The order that an event of the dispatcher carries.
fn offer(event: &Event) -> Option<&WorkOrder> {
    match event {
        Event::Dispatcher(DispatcherEvent::TaskScheduled(event)) => event.order.as_ref(),
        Event::Dispatcher(DispatcherEvent::WorkOrderIssued(event)) => event.order.as_ref(),
        _ => None,
    }
}

/// Whether an event after the offer of `order` ends it: its expiry, another order, the end of the run.
fn gives_up(event: &Event, order: &str) -> bool {
    let Event::Dispatcher(event) = event else { return false };
    let is_other = |offer: Option<&WorkOrder>| offer.is_some_and(|offer| offer.id != order);
    match event {
        DispatcherEvent::WorkOrderExpired(event) => event.order == order,
        DispatcherEvent::WorkOrderIssued(event) => is_other(event.order.as_ref()),
        DispatcherEvent::TaskScheduled(event) => is_other(event.order.as_ref()),
        DispatcherEvent::TaskCompleted(_)
        | DispatcherEvent::TaskFailed(_)
        | DispatcherEvent::TaskCancelled(_)
        | DispatcherEvent::TaskBlocked(_) => true,
        DispatcherEvent::ApprovalRequired(_)
        | DispatcherEvent::TaskPaused(_)
        | DispatcherEvent::TaskResumed(_)
        | DispatcherEvent::TransitionRefused(_) => false,
    }
}

/// Whether a request cancels `run`, and the dispatcher, whose log of the task this is, has not refused it. Run 0
/// is the present one at the time of the request. Once a run was cancelled it may be that one, whatever the
/// clocks say: then the dispatcher's answer is waited for.
fn cancels(asked: &LoggedEvent, run: u32, logged: &[LoggedEvent]) -> bool {
    let Event::Operator(OperatorEvent::CancelRequested(request)) = &asked.event else { return false };
    let is_of_present = || {
        logged.iter().all(|logged| match &logged.event {
            Event::Dispatcher(DispatcherEvent::TaskCancelled(_)) => false,
            Event::Dispatcher(DispatcherEvent::TaskScheduled(event)) => {
                event.task.as_ref().is_none_or(|task| task.run < run || run == 1) || logged.time <= asked.time
            }
            _ => true,
        })
    };
    let is_answer = |logged: &LoggedEvent| {
        let cause = logged.cause.as_ref();
        cause.is_some_and(|cause| {
            cause.sequence == asked.sequence && Log::from_stream(&cause.stream) == Some(Log::Operator)
        })
    };
    (request.run == run || (request.run == 0 && is_of_present())) && !logged.iter().any(is_answer)
}

/// Whether a person holds the task from this event on; `None`: it says nothing about that.
fn pauses(event: &Event) -> Option<bool> {
    match event {
        Event::Dispatcher(DispatcherEvent::TaskPaused(_)) => Some(true),
        Event::Dispatcher(DispatcherEvent::TaskResumed(_) | DispatcherEvent::TaskScheduled(_)) => Some(false),
        _ => None,
    }
}

fn work_span(execute: &Execute) -> tracing::Span {
    use millrace_telemetry::names::attribute;
    let order = &execute.order;
    let agent = match order.kind() {
        WorkOrderKind::Check => "checker",
        WorkOrderKind::Change | WorkOrderKind::Unspecified => "implementer",
    };
    let task = order.task.as_ref();
    tracing::info_span!(
        "invoke_agent",
        otel.name = %format!("invoke_agent {agent}"),
        { attribute::GEN_AI_OPERATION_NAME } = "invoke_agent",
        gen_ai.agent.name = agent,
        gen_ai.agent.id = %order.id,
        { attribute::MILLRACE_SERVICE } = Service::Worker.name(),
        { attribute::TASK_ID } = execute.task.as_str(),
        { attribute::TASK_RUN } = task.map_or(0, |task| task.run),
        { attribute::TASK_ATTEMPT } = task.map_or(0, |task| task.attempt),
        { attribute::REPOSITORY_ID } = task.map_or("", |task| task.repository.as_str()),
    )
}

/// Names the model that was asked last and the version of what it was asked, by which failures are grouped.
fn asked(failure: Failure, calls: &[ModelCallRecord]) -> Failure {
    match calls.last() {
        Some(call) => failure.with("model", &call.model).with("prompt_version", prompts::version(call)),
        None => failure,
    }
}

fn located(failure: Failure, kind: WorkOrderKind) -> Failure {
    let mut failure = failure.from_source(Service::Worker.name()).at_stage(stage(kind));
    if let Some((traceparent, _)) = millrace_telemetry::context::current_traceparent() {
        failure.trace_id = millrace_telemetry::context::trace_id(&traceparent).unwrap_or_default();
    }
    failure
}
