//! The host, with a small service in it: on the twin in memory and on a nats-server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::{Context, Deadline, Decider, Due, Recorded, Refusal, Timestamp};
use millrace_events::v1::{
    Failure, PullRequestOpened, TaskRef, TimerFired, ValidationFailed, ValidationPassed,
};
use millrace_events::{
    CONTENT_TYPE_PROTOBUF, Code, DeployerEvent, Envelope, Event, Key, Log, Service, ValidatorEvent,
};
use millrace_runtime::bootstrap::{Declared, Installation, OnDifference, bootstrap};
use millrace_runtime::broker::{Append, Broker, BrokerError};
use millrace_runtime::clock::{Clock, System};
use millrace_runtime::host::{EffectContext, Fault, Host, HostOptions, Hosted, Incoming, Received};
use millrace_runtime::memory::MemoryBroker;
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_testkit::NatsServer;
use tokio_util::sync::CancellationToken;

use crate::through::{Fate, Through};

const BOUND: Duration = Duration::from_secs(60);
const ACK_WAIT: Duration = Duration::from_secs(1);

/// What the service does with a pull request depends on its number.
pub(crate) const PASSES: u64 = 1;
const FAILS_TWICE: u64 = 2;
pub(crate) const NEVER_WORKS: u64 = 3;
const IS_REFUSED: u64 = 4;
const COMES_TOO_EARLY: u64 = 5;
const HAS_A_DEADLINE: u64 = 6;
pub(crate) const TAKES_LONG: u64 = 7;
pub(crate) const PANICS: u64 = 8;
const NATS_IS_AWAY: u64 = 9;
/// Depends on [`World::phase`]: fails for good, comes too early, passes, panics.
pub(crate) const FOLLOWS_THE_PHASE: u64 = 10;
/// Has a deadline half a minute after [`BEGIN`].
const HAS_A_LIMIT: u64 = 11;
const LIMIT: Duration = Duration::from_secs(30);
const BEGIN: Timestamp = Timestamp::from_millis(1_790_000_000_000);
pub(crate) const FAILS: u32 = 0;
pub(crate) const IS_EARLY: u32 = 1;
pub(crate) const WORKS: u32 = 2;
pub(crate) const BREAKS: u32 = 3;

#[derive(Clone, Default)]
pub(crate) struct Judged {
    verdict: bool,
}

pub(crate) enum Input {
    Opened(PullRequestOpened),
    Inspected { task: TaskRef },
    Timer(TimerFired),
}

pub(crate) struct Judge {
    early: Arc<AtomicU32>,
    phase: Arc<AtomicU32>,
}

impl Decider for Judge {
    type State = Judged;
    type Input = Input;
    type Event = ValidatorEvent;
    type Effect = PullRequestOpened;
    type Alarm = TimerFired;

    fn decide(&self, state: &Judged, input: &Input, _: &Context) -> Result<Option<ValidatorEvent>, Refusal> {
        if state.verdict {
            return Ok(None);
        }
        match input {
            Input::Opened(opened) => match number(opened) {
                IS_REFUSED => Err(Refusal::Mismatch("not this one".into())),
                COMES_TOO_EARLY if self.early.fetch_add(1, Ordering::SeqCst) < 3 => {
                    Err(Refusal::TooEarly("wait".into()))
                }
                FOLLOWS_THE_PHASE if self.phase.load(Ordering::SeqCst) == IS_EARLY => {
                    Err(Refusal::TooEarly("not in this phase".into()))
                }
                _ => Ok(None),
            },
            Input::Inspected { task } => {
                Ok(Some(ValidationPassed { task: Some(task.clone()), ..Default::default() }.into()))
            }
            Input::Timer(timer) => {
                let failure = Failure::new(Code::ChecksTimeout, "too late");
                Ok(Some(
                    ValidationFailed {
                        task: timer.task.clone(),
                        failure: Some(failure),
                        ..Default::default()
                    }
                    .into(),
                ))
            }
        }
    }

    fn evolve(&self, state: &mut Judged, _: &Recorded<'_, ValidatorEvent>) {
        state.verdict = true;
    }

    fn due(&self, state: &Judged, input: &Input) -> Vec<Due<PullRequestOpened, TimerFired>> {
        match input {
            Input::Opened(opened)
                if !state.verdict && [HAS_A_DEADLINE, HAS_A_LIMIT].contains(&number(opened)) =>
            {
                let alarm =
                    TimerFired { name: "late".into(), task: opened.task.clone(), ..Default::default() };
                let at = match number(opened) {
                    HAS_A_LIMIT => BEGIN + LIMIT,
                    _ => Timestamp::from_millis(1),
                };
                vec![Due::Deadline(Deadline { name: "late".into(), at, alarm })]
            }
            Input::Opened(opened) if !state.verdict && number(opened) != IS_REFUSED => {
                vec![Due::Effect(opened.clone())]
            }
            _ => Vec::new(),
        }
    }
}

fn number(opened: &PullRequestOpened) -> u64 {
    opened.pull_request.as_ref().map_or(0, |pull_request| pull_request.number)
}

/// How often each task's effect was performed.
type Performed = Arc<std::sync::Mutex<BTreeMap<String, u32>>>;

pub(crate) struct Validator {
    decider: Judge,
    performed: Performed,
    clock: Arc<dyn Clock>,
}

impl Validator {
    fn tries(&self, key: &Key) -> u32 {
        self.performed.lock().unwrap().get(key.as_str()).copied().unwrap_or(0)
    }
}

#[async_trait]
impl Hosted for Validator {
    type Decider = Judge;
    const SERVICE: Service = Service::Validator;

    fn decider(&self) -> &Judge {
        &self.decider
    }

    fn accept(&self, received: &Received) -> Option<Input> {
        match &received.incoming {
            Incoming::Event(Event::Deployer(DeployerEvent::PullRequestOpened(opened))) => {
                Some(Input::Opened(opened.clone()))
            }
            Incoming::Timer(timer) => Some(Input::Timer(timer.clone())),
            Incoming::Event(_) => None,
        }
    }

    fn key(&self, input: &Input) -> Key {
        let task = match input {
            Input::Opened(opened) => opened.task.clone(),
            Input::Inspected { task } => Some(task.clone()),
            Input::Timer(timer) => timer.task.clone(),
        };
        Key::new(task.unwrap().task).unwrap()
    }

    async fn perform(
        &self,
        opened: &PullRequestOpened,
        context: &EffectContext,
    ) -> Result<Option<Input>, Fault> {
        *self.performed.lock().unwrap().entry(context.key.to_string()).or_default() += 1;
        match number(opened) {
            FAILS_TWICE if context.attempt <= 2 => {
                return Err(Fault::transient(Code::ForgeUnavailable, "not now"));
            }
            NEVER_WORKS => return Err(Fault::lasting(Code::PrNotFound, "there is no such thing")),
            PANICS => panic!("on purpose"),
            FOLLOWS_THE_PHASE => match self.decider.phase.load(Ordering::SeqCst) {
                FAILS => return Err(Fault::lasting(Code::RepositoryUnavailable, "it is not configured")),
                BREAKS => panic!("on purpose"),
                _ => {}
            },
            // Far more often than a fault of the world is tried.
            NATS_IS_AWAY if context.attempt == 1 && self.tries(&context.key) <= 12 => {
                let operation = "a question".to_owned();
                return Err(BrokerError::Timeout { operation, after: Duration::from_secs(2) }.into());
            }
            TAKES_LONG => self.clock.sleep(ACK_WAIT * 3).await,
            _ => {}
        }
        Ok(Some(Input::Inspected { task: opened.task.clone().unwrap() }))
    }
}

pub(crate) struct World {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) phase: Arc<AtomicU32>,
    performed: Performed,
    _server: Option<NatsServer>,
}

struct TokioClock(tokio::time::Instant, Timestamp);

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.1 + self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

impl World {
    pub(crate) fn in_memory() -> Self {
        let clock = Arc::new(TokioClock(tokio::time::Instant::now(), BEGIN));
        let broker = Arc::new(MemoryBroker::new(clock.clone(), &Declared::of(&installation())));
        Self { broker, clock, phase: Arc::default(), performed: Performed::default(), _server: None }
    }

    pub(crate) async fn on_a_server() -> Self {
        let server = NatsServer::start();
        let broker = NatsBroker::connect(ConnectOptions::new(server.client_url(), "tester")).await.unwrap();
        bootstrap(&broker, &Declared::of(&installation()), OnDifference::Report).await.unwrap();
        Self {
            broker: Arc::new(broker),
            clock: Arc::new(System),
            phase: Arc::default(),
            performed: Performed::default(),
            _server: Some(server),
        }
    }

    /// The same world behind another broker; its server stays with this one.
    pub(crate) fn behind(&self, broker: Arc<dyn Broker>) -> Self {
        Self {
            broker,
            clock: self.clock.clone(),
            phase: self.phase.clone(),
            performed: self.performed.clone(),
            _server: None,
        }
    }

    pub(crate) fn host(&self, stop: &CancellationToken) -> Host<Validator> {
        let options = HostOptions {
            hold_delay: Duration::from_millis(20),
            progress_every: ACK_WAIT / 4,
            effect_backoff: Duration::from_millis(5),
            grace: Duration::from_secs(20),
            ..HostOptions::default()
        };
        let decider = Judge { early: Arc::default(), phase: self.phase.clone() };
        let service = Validator { decider, performed: self.performed.clone(), clock: self.clock.clone() };
        Host::new(service, self.broker.clone(), self.clock.clone(), options, stop.clone())
    }

    /// Publishes what the deployer would say.
    pub(crate) async fn opened(&self, task: &str, number: u64) {
        let event: Event = PullRequestOpened {
            task: Some(TaskRef { task: task.into(), run: 1, attempt: 1, ..Default::default() }),
            pull_request: Some(millrace_events::v1::PullRequest { number, ..Default::default() }),
            ..Default::default()
        }
        .into();
        let key = Key::new(task).unwrap();
        let envelope =
            Envelope::new(format!("{task}-{number}"), "/test", key.clone(), self.clock.now(), &event);
        self.raw(&key, envelope.encode()).await;
    }

    pub(crate) async fn raw(&self, key: &Key, payload: Vec<u8>) {
        let append = Append::new(Log::Deployer.stream(0), Log::Deployer.subject(key, 1), payload);
        let _ = self.broker.append(&append.content_type(CONTENT_TYPE_PROTOBUF)).await.unwrap();
    }

    pub(crate) async fn log(&self, log: Log) -> Vec<Event> {
        let stored = self.broker.read(&log.stream(0), None, 1, 10_000).await.unwrap();
        stored
            .iter()
            .map(|stored| Envelope::decode(&stored.payload).unwrap().event().unwrap().unwrap())
            .collect()
    }

    pub(crate) fn performed(&self, task: &str) -> u32 {
        self.performed.lock().unwrap().get(task).copied().unwrap_or(0)
    }

    /// Runs one host until `log` holds `count` events, then stops it in order.
    pub(crate) async fn run_until(&self, log: Log, count: usize) -> Vec<Event> {
        let stop = CancellationToken::new();
        let running = self.host(&stop).run();
        let watch = async {
            self.until(log, count).await;
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(running, watch);
        ended.unwrap();
        self.log(log).await
    }

    pub(crate) async fn until(&self, log: Log, count: usize) {
        let started = tokio::time::Instant::now();
        while self.log(log).await.len() < count {
            assert!(
                started.elapsed() < BOUND,
                "{} has {} of {count} events",
                log.name(),
                self.log(log).await.len()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn installation() -> Installation {
    Installation { ack_wait: ACK_WAIT, ..Installation::default() }
}

async fn an_input_leads_to_one_event_however_often_it_comes(world: &World) {
    for _ in 0..3 {
        world.opened("VTID-0001", PASSES).await;
    }
    world.opened("VTID-0002", PASSES).await;
    let events = world.run_until(Log::Validator, 2).await;
    assert_eq!(events.len(), 2);
    assert_eq!((world.performed("VTID-0001"), world.performed("VTID-0002")), (1, 1));
    let stored = world.broker.read(&Log::Validator.stream(0), None, 1, 10).await.unwrap();
    let envelope = Envelope::decode(&stored[0].payload).unwrap();
    assert_eq!(envelope.cause.unwrap().stream, Log::Deployer.stream(0), "the event names its cause");
    assert_eq!((envelope.run, envelope.source.as_str()), (1, "/millrace/validator"));
}

async fn s1_gap6_poison_goes_to_the_dead_letters_and_blocks_nothing(world: &World) {
    let key = Key::new("VTID-0001").unwrap();
    world.raw(&key, b"not an envelope".to_vec()).await;
    let other: Event = PullRequestOpened::default().into();
    let wrong_key = Envelope::new("1", "/test", Key::new("VTID-9999").unwrap(), world.clock.now(), &other);
    world.raw(&key, wrong_key.encode()).await;
    let foreign: Event = ValidationPassed::default().into();
    world.raw(&key, Envelope::new("2", "/test", key.clone(), world.clock.now(), &foreign).encode()).await;
    let mut unknown = Envelope::new("3", "/test", key.clone(), world.clock.now(), &other);
    unknown.event_type = "millrace.deployer.v9.Something".into();
    world.raw(&key, unknown.encode()).await;
    world.opened("VTID-0001", PASSES).await;
    world.opened("VTID-0002", NEVER_WORKS).await;
    world.run_until(Log::Validator, 1).await;
    let dead = world.run_until(Log::DeadLetter, 4).await;
    let mut codes: Vec<(u64, String)> = dead
        .iter()
        .map(|event| {
            let Event::DeadLetter(millrace_events::DeadLetterEvent::DeadLettered(dead)) = event else {
                panic!()
            };
            assert_eq!(dead.service, "validator");
            (dead.sequence, dead.failure.as_ref().unwrap().code_name())
        })
        .collect();
    codes.sort();
    let expected = [(1, "EVENT_INVALID"), (2, "EVENT_INVALID"), (3, "EVENT_INVALID"), (6, "PR_NOT_FOUND")];
    assert_eq!(codes, expected.map(|(sequence, code)| (sequence, code.to_owned())));
}

async fn a_refusal_is_an_answer_and_never_redelivered(world: &World) {
    world.opened("VTID-0001", IS_REFUSED).await;
    world.opened("VTID-0002", PASSES).await;
    world.run_until(Log::Validator, 1).await;
    assert!(world.log(Log::DeadLetter).await.is_empty());
    assert_eq!(world.performed("VTID-0001"), 0);
}

async fn what_comes_too_early_is_held_and_asked_again(world: &World) {
    world.opened("VTID-0001", COMES_TOO_EARLY).await;
    world.run_until(Log::Validator, 1).await;
    assert_eq!(world.performed("VTID-0001"), 1);
}

async fn an_effect_is_tried_again_while_its_fault_may_pass(world: &World) {
    world.opened("VTID-0001", FAILS_TWICE).await;
    world.run_until(Log::Validator, 1).await;
    assert_eq!(world.performed("VTID-0001"), 3);
}

/// An outage of NATS is waited out: it never counts as a try, and never becomes a decision.
async fn an_outage_of_nats_is_waited_out(world: &World) {
    world.opened("VTID-0001", NATS_IS_AWAY).await;
    let events = world.run_until(Log::Validator, 1).await;
    assert!(matches!(&events[0], Event::Validator(ValidatorEvent::ValidationPassed(_))), "{events:?}");
    assert_eq!(world.performed("VTID-0001"), 13);
    assert!(world.log(Log::DeadLetter).await.is_empty());
}

/// A fault of ours with one input is that input's; the others go on.
async fn a_panic_is_one_dead_letter_and_stops_nobody(world: &World) {
    world.opened("VTID-0001", PANICS).await;
    world.opened("VTID-0002", PASSES).await;
    world.run_until(Log::Validator, 1).await;
    let dead = world.run_until(Log::DeadLetter, 1).await;
    let Event::DeadLetter(millrace_events::DeadLetterEvent::DeadLettered(dead)) = &dead[0] else { panic!() };
    let failure = dead.failure.as_ref().unwrap();
    assert_eq!((dead.sequence, failure.code_name().as_str()), (1, "INTERNAL"));
    assert!(failure.message.contains("on purpose"), "{failure:?}");
}

async fn a_deadline_fires_and_is_decided_on(world: &World) {
    world.opened("VTID-0001", HAS_A_DEADLINE).await;
    let events = world.run_until(Log::Validator, 1).await;
    assert!(matches!(&events[0], Event::Validator(ValidatorEvent::ValidationFailed(_))), "{events:?}");
    let stored = world.broker.read(&Log::Validator.stream(0), None, 1, 10).await.unwrap();
    let cause = Envelope::decode(&stored[0].payload).unwrap().cause.unwrap();
    assert_eq!(
        cause.stream,
        Log::Deployer.stream(0),
        "the cause of a fired deadline is the event that armed it"
    );
}

async fn work_that_takes_longer_than_the_acknowledgement_wait_is_done_once(world: &World) {
    world.opened("VTID-0001", TAKES_LONG).await;
    world.run_until(Log::Validator, 1).await;
    assert_eq!(world.performed("VTID-0001"), 1);
}

/// Two hosts of one service share the inputs; the expected sequence lets one of them write.
async fn s2_g2_of_two_hosts_one_decides(world: &World) {
    for number in 0..40 {
        // Each task twice, so that both hosts get to see it.
        world.opened(&format!("VTID-{number:04}"), PASSES).await;
        world.opened(&format!("VTID-{number:04}"), PASSES).await;
    }
    let stop = CancellationToken::new();
    let (one, other) = (world.host(&stop).run(), world.host(&stop).run());
    let watch = async {
        world.until(Log::Validator, 40).await;
        stop.cancel();
    };
    let (one, other, ()) = tokio::join!(one, other, watch);
    one.unwrap();
    other.unwrap();
    let events = world.log(Log::Validator).await;
    let mut tasks: Vec<String> = events.iter().map(|event| event.task_ref().unwrap().task.clone()).collect();
    tasks.sort();
    tasks.dedup();
    assert_eq!((tasks.len(), events.len()), (40, 40));
}

/// A host that dies in the middle of an effect leaves the input to the next one.
async fn s2_g10_what_a_crash_cut_short_is_finished(world: &World) {
    world.opened("VTID-0001", TAKES_LONG).await;
    let stop = CancellationToken::new();
    let dies = async {
        while world.performed("VTID-0001") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = world.host(&stop).run() => panic!("it does not end by itself"),
        () = dies => {}
    }
    assert!(world.log(Log::Validator).await.is_empty());
    let events = world.run_until(Log::Validator, 1).await;
    assert_eq!(events.len(), 1);
}

/// A stop in order finishes what is in flight.
async fn a_stop_in_order_finishes_what_is_in_flight(world: &World) {
    world.opened("VTID-0001", TAKES_LONG).await;
    let stop = CancellationToken::new();
    let watch = async {
        while world.performed("VTID-0001") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(world.host(&stop).run(), watch);
    ended.unwrap();
    assert_eq!(world.log(Log::Validator).await.len(), 1);
}

/// What one replica waits for, another may write: a held input is not asked of a state of long ago.
#[tokio::test(start_paused = true)]
async fn what_is_held_sees_what_another_replica_wrote_meanwhile() {
    let clock = TokioClock(tokio::time::Instant::now(), BEGIN);
    let broker = MemoryBroker::new(Arc::new(clock), &Declared::of(&installation()));
    let world = World::in_memory().behind(Arc::new(broker.clone()));
    world.phase.store(IS_EARLY, Ordering::SeqCst);
    world.opened("VTID-0001", FOLLOWS_THE_PHASE).await;
    let owed = || {
        let all = broker.consumers();
        all.iter()
            .filter(|one| one.stream == Log::Deployer.stream(0) && one.durable == "validator")
            .map(|one| one.unanswered + one.undelivered)
            .sum::<usize>()
    };
    let stop = CancellationToken::new();
    let watch = async {
        // Held more than once, so that its state is known.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(owed(), 1);
        let key = Key::new("VTID-0001").unwrap();
        let task = TaskRef { task: key.to_string(), run: 1, attempt: 1, ..Default::default() };
        let event: Event = ValidationPassed { task: Some(task), ..Default::default() }.into();
        let envelope = Envelope::new("verdict", "/millrace/validator", key.clone(), BEGIN, &event);
        let append =
            Append::new(Log::Validator.stream(0), Log::Validator.subject(&key, 1), envelope.encode());
        let _ = broker.append(&append.content_type(CONTENT_TYPE_PROTOBUF).expecting(0)).await.unwrap();
        let told = async {
            while owed() > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(BOUND, told).await.expect("it is still held");
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(world.host(&stop).run(), watch);
    ended.unwrap();
}

/// The server counts a deadline. For a process whose clock is behind the server's, it would have passed there
/// already, and one that arms itself again would do so without end.
#[tokio::test(start_paused = true)]
async fn a_deadline_of_a_process_whose_clock_is_behind_has_its_whole_time() {
    let ahead = TokioClock(tokio::time::Instant::now(), BEGIN + Duration::from_secs(3_600));
    let server: Arc<dyn Broker> =
        Arc::new(MemoryBroker::new(Arc::new(ahead), &Declared::of(&installation())));
    let world = World::in_memory().behind(server);
    let began = tokio::time::Instant::now();
    world.opened("VTID-0001", HAS_A_LIMIT).await;
    world.run_until(Log::Validator, 1).await;
    assert!(began.elapsed() >= LIMIT, "it fired after {:?}", began.elapsed());
}

/// Where the answers come late, the same deadline again and again would only make them later.
#[tokio::test(start_paused = true)]
async fn a_deadline_whose_answer_is_lost_is_armed_once() {
    let world = World::in_memory();
    world.opened("VTID-0001", HAS_A_LIMIT).await;
    let armed = Arc::new(AtomicU32::new(0));
    let (count, timers) = (armed.clone(), Service::Validator.timer_stream());
    let behind = world.behind(Arc::new(Through::new(world.broker.clone(), move |append| {
        if append.stream != timers {
            return Fate::Passes;
        }
        count.fetch_add(1, Ordering::SeqCst);
        Fate::StoredUnanswered
    })));
    behind.run_until(Log::Validator, 1).await;
    assert_eq!(armed.load(Ordering::SeqCst), 1);
}

/// One test per case and broker.
macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod memory {
            $(
                #[tokio::test(start_paused = true)]
                async fn $case() {
                    super::$case(&super::World::in_memory()).await;
                }
            )+
        }
        mod nats {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(&super::World::on_a_server().await).await;
                }
            )+
        }
    };
}

on_both![
    an_input_leads_to_one_event_however_often_it_comes,
    s1_gap6_poison_goes_to_the_dead_letters_and_blocks_nothing,
    a_refusal_is_an_answer_and_never_redelivered,
    what_comes_too_early_is_held_and_asked_again,
    an_effect_is_tried_again_while_its_fault_may_pass,
    an_outage_of_nats_is_waited_out,
    a_panic_is_one_dead_letter_and_stops_nobody,
    a_deadline_fires_and_is_decided_on,
    work_that_takes_longer_than_the_acknowledgement_wait_is_done_once,
    s2_g2_of_two_hosts_one_decides,
    s2_g10_what_a_crash_cut_short_is_finished,
    a_stop_in_order_finishes_what_is_in_flight,
];
