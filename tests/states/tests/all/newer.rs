//! Events that a later version wrote: kept, skipped, and in nobody's way. F25.

use std::time::Duration;

use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope, Event, Key, Log, Service};
use millrace_runtime::broker::Append;
use millrace_runtime::host::{Host, HostOptions, Hosted};
use millrace_runtime::service::ServiceContext;
use millrace_states::facts::{Label, TASK, fact, names_of};
use millrace_states::world::{self, PausedClock};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const BOUND: Duration = Duration::from_secs(600);

/// A service with what a later version has written into every log that it reads, its own included.
pub(crate) struct Stage {
    pub(crate) context: ServiceContext,
    service: Service,
    own: Log,
    written: u32,
    _running: JoinSet<()>,
}

impl Stage {
    pub(crate) fn host<H: Hosted>(make: fn(&ServiceContext) -> H) -> Self {
        let context = world::context_on(std::sync::Arc::new(PausedClock::new()));
        let options = HostOptions { effect_backoff: Duration::from_millis(10), ..HostOptions::default() };
        let (broker, clock) = (context.broker.clone(), context.clock.clone());
        let host = Host::new(make(&context), broker, clock, options, CancellationToken::new());
        let mut running = JoinSet::new();
        running.spawn(async move { host.run().await.unwrap() });
        let own = H::SERVICE.own_log().unwrap();
        Self { context, service: H::SERVICE, own, written: 0, _running: running }
    }

    async fn write(&mut self, log: Log, key: &Key, event_type: String, data: Vec<u8>) {
        self.written += 1;
        // A known event only lends its envelope.
        let event = fact(log, &Label::parse(names_of(log)[0]));
        let id = format!("later-{}", self.written);
        let envelope = Envelope::new(id, "/millrace/later", key.clone(), self.context.clock.now(), &event);
        let envelope = Envelope { event_type, data, ..envelope };
        let append = Append::new(log.stream(0), log.subject(key, 1), envelope.encode());
        let append = append.content_type(CONTENT_TYPE_PROTOBUF);
        let _ = self.context.broker.append(&append).await.unwrap();
    }

    /// Two events of types that this version does not know.
    async fn write_unknown(&mut self, log: Log, key: &Key) {
        for event_type in ["v1.SomethingLater", "v2.TaskScheduled"] {
            let event_type = format!("millrace.{}.{event_type}", log.name());
            self.write(log, key, event_type, vec![8, 1, 200]).await;
        }
    }

    pub(crate) async fn say(&mut self, log: Log, key: &Key, label: &str) {
        let event = fact(log, &Label::parse(label));
        self.write_event(key, &event).await;
    }

    pub(crate) async fn write_event(&mut self, key: &Key, event: &Event) {
        self.write(event.log(), key, event.type_name(), event.encode()).await;
    }

    /// Names of the service's own events, the unknown ones shown as `?`.
    async fn said(&self) -> Vec<String> {
        let stored = self.context.broker.read(&self.own.stream(0), None, 1, 1_000).await.unwrap();
        let names = stored.iter().map(|stored| match Envelope::decode(&stored.payload).unwrap().event() {
            Ok(Some(event)) => event.name().to_owned(),
            _ => "?".to_owned(),
        });
        names.collect()
    }

    pub(crate) async fn says(&self, expected: &[&str]) {
        let started = tokio::time::Instant::now();
        loop {
            let said = self.said().await;
            if said == expected {
                return;
            }
            let name = self.service.name();
            assert!(started.elapsed() < BOUND, "{name} should say {expected:?}, and says {said:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn dead_letters(&self) -> u64 {
        self.context.broker.stream_state(&Log::DeadLetter.stream(0)).await.unwrap().last
    }
}

/// Two inputs that lead to events; before each, a later version writes into the same key of the service's own
/// log: once before the state is loaded, once while it is cached.
struct Case {
    log: Log,
    inputs: [&'static str; 2],
    key: &'static str,
    own_key: String,
    events: [&'static [&'static str]; 2],
}

async fn plays<H: Hosted>(make: fn(&ServiceContext) -> H, case: Case) {
    let mut stage = Stage::host(make);
    let (key, own_key) = (Key::new(case.key).unwrap(), Key::new(case.own_key).unwrap());
    for log in stage.service.consumes() {
        let key = if *log == Log::Intake { Key::new("req-0").unwrap() } else { key.clone() };
        stage.write_unknown(*log, &key).await;
    }
    let mut expected = Vec::new();
    for (input, events) in case.inputs.into_iter().zip(case.events) {
        stage.write_unknown(stage.own, &own_key).await;
        expected.extend(["?", "?"]);
        let key = if case.log == Log::Intake {
            Key::new(format!("req-{}", stage.written)).unwrap()
        } else {
            key.clone()
        };
        stage.say(case.log, &key, input).await;
        expected.extend(events);
        stage.says(&expected).await;
    }
    assert_eq!(stage.dead_letters().await, 0, "{}", stage.service.name());
}

#[tokio::test(start_paused = true)]
async fn f25_the_worker_skips_what_a_later_version_wrote() {
    let case = Case {
        log: Log::Dispatcher,
        inputs: ["TaskScheduled", "WorkOrderIssued 1.1 change/2"],
        key: TASK,
        own_key: TASK.to_owned(),
        events: [&["WorkOrderAcknowledged", "ExecutionFailed"]; 2],
    };
    plays(world::worker, case).await;
}

#[tokio::test(start_paused = true)]
async fn f25_the_validator_skips_what_a_later_version_wrote() {
    let case = Case {
        log: Log::Deployer,
        inputs: ["PullRequestOpened unchecked odd", "PullRequestOpened 1.2 unchecked"],
        key: TASK,
        own_key: TASK.to_owned(),
        events: [&["ValidationFailed"]; 2],
    };
    plays(world::validator, case).await;
}

#[tokio::test(start_paused = true)]
async fn f25_the_deployer_skips_what_a_later_version_wrote() {
    let case = Case {
        log: Log::Worker,
        inputs: ["ExecutionCompleted odd", "ExecutionCompleted 1.2"],
        key: TASK,
        own_key: TASK.to_owned(),
        // Nothing is done for a run that the dispatcher does not know.
        events: [&["StageStopped"]; 2],
    };
    plays(world::deployer, case).await;
}

#[tokio::test(start_paused = true)]
async fn f25_the_registry_skips_what_a_later_version_wrote() {
    let case = Case {
        log: Log::Intake,
        inputs: ["TaskRequested elsewhere odd", "TaskRequested elsewhere"],
        key: TASK,
        own_key: TASK.to_owned(),
        events: [&["SpecRejected"]; 2],
    };
    plays(world::registry, case).await;
}

#[tokio::test(start_paused = true)]
async fn f25_the_failure_analyzer_skips_what_a_later_version_wrote() {
    let group = millrace_states::subjects::analyzer().key.to_string();
    let case = Case {
        log: Log::Dispatcher,
        inputs: ["TaskFailed", "TaskFailed 2.1"],
        key: TASK,
        own_key: group,
        events: [&["FailureClassified", "InsightPublished"]; 2],
    };
    plays(world::analyzer, case).await;
}

/// The dispatcher, the owner of the life cycle: and the fields and numbers of a later version change nothing
/// of what this one understands.
#[tokio::test(start_paused = true)]
async fn f25_the_dispatcher_skips_what_a_later_version_wrote() {
    let mut stage = Stage::host(world::dispatcher);
    let key = Key::new(TASK).unwrap();
    for log in stage.service.consumes() {
        stage.write_unknown(*log, &key).await;
    }
    stage.write_unknown(Log::Dispatcher, &key).await;
    stage.say(Log::SpecRegistry, &key, "SpecRegistered").await;
    stage.says(&["?", "?", "TaskScheduled"]).await;
    stage.write_unknown(Log::Dispatcher, &key).await;
    stage.say(Log::Deployer, &key, "DeploymentVerified odd").await;
    stage.says(&["?", "?", "TaskScheduled", "?", "?", "TaskCompleted"]).await;
    assert_eq!(stage.dead_letters().await, 0);
    let stored = stage.context.broker.read(&Log::Dispatcher.stream(0), None, 1, 10).await.unwrap();
    let last = Envelope::decode(&stored[5].payload).unwrap().event().unwrap().unwrap();
    assert_eq!(last.task_ref().unwrap().run, 1);
    assert!(matches!(last, Event::Dispatcher(_)));
}
