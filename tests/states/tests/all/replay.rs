//! The same log, folded and decided again, gives the same bytes. S0-5.5.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millrace_decider::{Decider, Recorded};
use millrace_deployer::domain::{Effect as DeployerEffect, Input as DeployerInput};
use millrace_deployer::effects::DeployerService;
use millrace_dispatcher::effects::DispatcherService;
use millrace_events::v1::WorkOrderKind;
use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope, Event, Key, Log, LogEvent, WorkerEvent};
use millrace_runtime::broker::{Append, Stored};
use millrace_runtime::host::{Host, HostOptions, Hosted};
use millrace_runtime::service::ServiceContext;
use millrace_states::facts::{Label, TASK, fact};
use millrace_states::subjects;
use millrace_states::watched::{Decided, Script, Watched};
use millrace_states::world::{self, PausedClock};
use millrace_validator::domain::{Effect as ValidatorEffect, Input as ValidatorInput};
use millrace_validator::effects::ValidatorService;
use millrace_worker::domain::{Effect as WorkerEffect, Input as WorkerInput, Said};
use millrace_worker::effects::WorkerService;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const BOUND: Duration = Duration::from_secs(3600);

type Decisions<H> = Arc<
    Mutex<
        Vec<Decided<<<H as Hosted>::Decider as Decider>::Input, <<H as Hosted>::Decider as Decider>::Event>>,
    >,
>;

/// The first attempt fails; every later change is made, and every check passes.
fn work(effect: &WorkerEffect) -> Option<Option<WorkerInput>> {
    let WorkerEffect::Execute(execute) = effect else { return None };
    let order = &execute.order;
    let task = order.task.as_ref().unwrap();
    let name = match (order.kind(), task.attempt) {
        (WorkOrderKind::Check, _) => "ChecksCompleted",
        (_, 1) => "ExecutionFailed",
        _ => "ExecutionCompleted",
    };
    let rest = order.id.split('/').skip(2).collect::<Vec<_>>().join("/");
    let label = Label::parse(&format!("{name} {}.{} {rest}", task.run, task.attempt));
    let Event::Worker(mut event) = fact(Log::Worker, &label) else { unreachable!() };
    match &mut event {
        WorkerEvent::ExecutionCompleted(event) => event.fencing_token = execute.token,
        WorkerEvent::ExecutionFailed(event) => event.fencing_token = execute.token,
        WorkerEvent::ChecksCompleted(event) => {
            event.fencing_token = execute.token;
            event.pull_request.clone_from(&order.pull_request);
        }
        _ => unreachable!(),
    }
    let ended = Said { task: execute.task.clone(), order: order.id.clone(), token: execute.token, event };
    Some(Some(WorkerInput::Ended(Box::new(ended))))
}

fn inspect(effect: &ValidatorEffect) -> Option<Option<ValidatorInput>> {
    let ValidatorEffect::Inspect { task, .. } = effect else { return None };
    let label = Label::parse(&format!("?inspected {}.{}", task.run, task.attempt));
    let findings = Box::new(subjects::findings(&label));
    Some(Some(ValidatorInput::Inspected { task: task.clone(), findings }))
}

fn release(effect: &DeployerEffect) -> Option<Option<DeployerInput>> {
    let name = match effect {
        DeployerEffect::OpenPullRequest { .. } => "PullRequestOpened",
        DeployerEffect::Merge(_) => "MergeCompleted",
        DeployerEffect::Deploy(_) => "DeploymentVerified",
        _ => return Some(None),
    };
    let task = effect.task();
    let label = Label::parse(&format!("{name} {}.{}", task.run, task.attempt));
    let Event::Deployer(event) = fact(Log::Deployer, &label) else { unreachable!() };
    Some(Some(DeployerInput::found(event)))
}

fn asked<T, I>(_: &T) -> Option<Option<I>> {
    None
}

struct Stage {
    context: ServiceContext,
    running: JoinSet<()>,
    stop: CancellationToken,
}

impl Stage {
    fn start<H>(&mut self, service: H, script: Script<H>) -> Decisions<H>
    where
        H: Hosted<Decider: Clone + Decider<Input: Clone>>,
    {
        let (watched, decisions) = Watched::new(service, script);
        let (broker, clock) = (self.context.broker.clone(), self.context.clock.clone());
        let host = Host::new(watched, broker, clock, HostOptions::default(), self.stop.clone());
        self.running.spawn(async move { host.run().await.unwrap() });
        decisions
    }

    async fn say(&self, log: Log, label: &str) {
        let event = fact(log, &Label::parse(label));
        let key = Key::new(TASK).unwrap();
        let envelope = Envelope::new("test", "/test", key.clone(), self.context.clock.now(), &event);
        let append = Append::new(log.stream(0), log.subject(&key, 1), envelope.encode());
        let append = append.content_type(CONTENT_TYPE_PROTOBUF);
        let _ = self.context.broker.append(&append).await.unwrap();
    }

    async fn log(&self, log: Log) -> Vec<Stored> {
        self.context.broker.read(&log.stream(0), None, 1, 1_000).await.unwrap()
    }

    async fn has(&self, log: Log, name: &str) -> bool {
        self.log(log).await.iter().any(|stored| Envelope::decode(&stored.payload).unwrap().name() == name)
    }
}

/// One event of a log as a replica reads it.
fn read<E: LogEvent>(stored: &Stored) -> (Envelope, E) {
    let envelope = Envelope::decode(&stored.payload).unwrap();
    let event = E::from_event(envelope.event().unwrap().unwrap()).unwrap();
    (envelope, event)
}

fn folded<D: Decider<Event: LogEvent>>(decider: &D, log: &[Stored]) -> D::State {
    let mut state = D::State::default();
    for stored in log {
        let (envelope, event) = read::<D::Event>(stored);
        let (time, cause) = (envelope.time, envelope.cause.as_ref());
        decider.evolve(&mut state, &Recorded { event: &event, sequence: stored.sequence, time, cause });
    }
    state
}

/// Decides each event of the log again, twice, on the log before it.
fn replays<D>(decider: &D, log: &[Stored], decisions: &[Decided<D::Input, D::Event>]) -> Vec<String>
where
    D: Decider<Event: LogEvent, State: Debug>,
{
    let mut names = Vec::new();
    for (at, stored) in log.iter().enumerate() {
        let (envelope, event) = read::<D::Event>(stored);
        // What the test itself said is not decided again.
        let Some(cause) = envelope.cause.clone() else { continue };
        let decided = decisions.iter().find(|decided| {
            decided.context.cause == cause
                && decided.context.now == envelope.time
                && decided.event.name() == event.name()
        });
        let decided = decided.unwrap_or_else(|| panic!("nobody decided {}", envelope.name()));
        for _ in 0..2 {
            let state = folded(decider, &log[..at]);
            assert_eq!(format!("{state:?}"), format!("{:?}", folded(decider, &log[..at])));
            let again = decider.decide(&state, &decided.input, &decided.context);
            let again = match again {
                Ok(event) => event,
                Err(refusal) => decider.refused(&state, &decided.input, &refusal, &decided.context),
            };
            let mut again = again.unwrap_or_else(|| panic!("{} is not decided again", event.name()));
            complete(&mut again);
            assert_eq!(again.into_event().encode(), envelope.data, "{}", event.name());
        }
        names.push(event.name().to_owned());
    }
    names
}

/// What the host adds to a failure.
fn complete<E: LogEvent>(event: &mut E) {
    let mut wire = event.clone().into_event();
    if let Some(failure) = wire.failure_mut()
        && failure.source.is_empty()
    {
        failure.source = E::LOG.name().to_owned();
    }
    *event = E::from_event(wire).unwrap();
}

#[tokio::test(start_paused = true)]
async fn s0_5_5_a_log_that_is_decided_again_has_the_same_bytes() {
    let context = world::context_on(Arc::new(PausedClock::new()));
    let mut stage = Stage { context, running: JoinSet::new(), stop: CancellationToken::new() };
    let context = stage.context.clone();
    let dispatcher = stage.start::<DispatcherService>(world::dispatcher(&context), asked);
    let worker = stage.start::<WorkerService>(world::worker(&context), work);
    let validator = stage.start::<ValidatorService>(world::validator(&context), inspect);
    let deployer = stage.start::<DeployerService>(world::deployer(&context), release);
    stage.say(Log::SpecRegistry, "SpecRegistered").await;
    // Words that contradict the record are part of the log too.
    let started = tokio::time::Instant::now();
    while !stage.has(Log::Dispatcher, "TaskScheduled").await {
        assert!(started.elapsed() < BOUND);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.say(Log::Validator, "ValidationFailed 9.1").await;
    while !(stage.has(Log::Dispatcher, "TaskCompleted").await
        && stage.has(Log::Dispatcher, "TransitionRefused").await)
    {
        assert!(started.elapsed() < BOUND);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.stop.cancel();
    while let Some(ended) = stage.running.join_next().await {
        ended.unwrap();
    }

    let log = stage.log(Log::Dispatcher).await;
    let names = replays(world::dispatcher(&context).decider(), &log, &dispatcher.lock().unwrap());
    let expected = ["TaskScheduled", "WorkOrderIssued", "WorkOrderIssued", "TaskCompleted"];
    let steps: Vec<&String> = names.iter().filter(|name| *name != "TransitionRefused").collect();
    assert_eq!(steps, expected);
    let log = stage.log(Log::Worker).await;
    let names = replays(world::worker(&context).decider(), &log, &worker.lock().unwrap());
    let expected = [
        "WorkOrderAcknowledged",
        "ExecutionFailed",
        "WorkOrderAcknowledged",
        "ExecutionCompleted",
        "WorkOrderAcknowledged",
        "ChecksCompleted",
    ];
    assert_eq!(names, expected);
    let log = stage.log(Log::Validator).await;
    let names = replays(world::validator(&context).decider(), &log, &validator.lock().unwrap());
    assert_eq!(names, ["ValidationPassed"]);
    let log = stage.log(Log::Deployer).await;
    let names = replays(world::deployer(&context).decider(), &log, &deployer.lock().unwrap());
    assert_eq!(names, ["PullRequestOpened", "MergeCompleted", "DeploymentVerified"]);
}
