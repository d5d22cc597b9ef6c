//! A registry on a broker in memory, with what it needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_decider::{Cause, Timestamp};
use millrace_events::{Envelope, Event, Key, Log, SpecRegistryEvent, event_id};
use millrace_runtime::blobs::Blobs;
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::{Append, Broker};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::clock::{Clock, System};
use millrace_runtime::log_reader::LogReader;
use millrace_runtime::memory::{MemoryBroker, SeededIds};
use millrace_runtime::service::{ServiceContext, ServiceError};
use millrace_runtime::settings::{ForgeKind, Repository, Settings};
use millrace_spec_registry::adapters::ScriptedSource;
use millrace_spec_registry::intake::{self, Document, HandIn};
use millrace_spec_registry::ports::{Found, Scan, ScanCursor, SourceError, SpecSource};
use millrace_spec_registry::repositories::{Repositories, Source};
use millrace_spec_registry::run_with;
use millrace_testkit::eventually;
use tokio::task::JoinHandle;

pub(crate) const BOUND: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) context: ServiceContext,
    clock: Arc<Ahead>,
}

/// The machine's clock, moved ahead.
#[derive(Default)]
struct Ahead {
    seconds: AtomicU64,
}

#[async_trait::async_trait]
impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        System.now() + Duration::from_secs(self.seconds.load(Ordering::Relaxed))
    }

    async fn sleep(&self, duration: Duration) {
        System.sleep(duration).await;
    }
}

/// A registry that runs.
pub(crate) struct Running {
    context: ServiceContext,
    task: JoinHandle<Result<(), ServiceError>>,
}

pub(crate) fn repository(id: &str, url: &str) -> Repository {
    Repository {
        id: id.to_owned(),
        url: url.to_owned(),
        forge: ForgeKind::Local,
        base_branch: "main".to_owned(),
        task_prefix: "VTID".to_owned(),
        task_base: 100,
        specs_url: None,
        specs_path: "docs/specs".to_owned(),
        scan_period: Duration::from_millis(50),
        target: "local".to_owned(),
    }
}

/// Repositories that are read from scripted sources.
pub(crate) fn scripted(sources: &[(&str, &Arc<ScriptedSource>)]) -> Repositories {
    let source = |(id, files): &(&str, &Arc<ScriptedSource>)| {
        Source::new(repository(id, "/nowhere"), Arc::clone(files) as _)
    };
    Repositories::new(sources.iter().map(source).collect())
}

/// The same, for searches only: a scan finds nothing.
pub(crate) fn unscanned(sources: &[(&str, &Arc<ScriptedSource>)]) -> Repositories {
    let source = |(id, files): &(&str, &Arc<ScriptedSource>)| {
        Source::new(repository(id, "/nowhere"), Arc::new(Unscanned(Arc::clone(files))))
    };
    Repositories::new(sources.iter().map(source).collect())
}

struct Unscanned(Arc<ScriptedSource>);

#[async_trait::async_trait]
impl SpecSource for Unscanned {
    async fn scan(&self, _since: Option<&ScanCursor>) -> Result<Scan, SourceError> {
        ScriptedSource::new().scan(None).await
    }

    async fn find(&self, task_id: &str) -> Result<Option<Found>, SourceError> {
        self.0.find(task_id).await
    }

    async fn head(&self) -> Result<String, SourceError> {
        self.0.head().await
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let ahead = Arc::new(Ahead::default());
        let clock: Arc<dyn Clock> = ahead.clone();
        let broker = MemoryBroker::new(clock.clone(), &Declared::of(&Installation::default()));
        let broker: Arc<dyn Broker> = Arc::new(broker);
        let bucket = |name| Arc::new(Bucket::new(broker.clone(), name));
        let mut settings = Settings::default();
        settings.limits.spec_sync = Duration::from_secs(2);
        let context = ServiceContext {
            settings: Arc::new(settings),
            instance: "spec-registry-1".to_owned(),
            clock,
            ids: Arc::new(SeededIds::new(1)),
            leases: bucket("MILLRACE_LEASES"),
            targets: bucket("MILLRACE_TARGETS"),
            queue: bucket("MILLRACE_QUEUE"),
            slots: bucket("MILLRACE_SLOTS"),
            heartbeats: bucket("MILLRACE_HEALTH"),
            blobs: Blobs::new(broker.clone(), 64 * 1024 * 1024),
            broker,
            health: Default::default(),
            stop: Default::default(),
        };
        Self { context, clock: ahead }
    }

    pub(crate) fn start(&self, repositories: Repositories) -> Running {
        let context = ServiceContext { stop: Default::default(), ..self.context.clone() };
        #[expect(clippy::disallowed_methods, reason = "the test owns the task and joins it")]
        let task = tokio::spawn(run_with(context.clone(), repositories));
        Running { context, task }
    }

    /// Lets ten minutes pass: longer than message ids count.
    pub(crate) fn ten_minutes_later(&self) {
        self.clock.seconds.fetch_add(600, Ordering::Relaxed);
    }

    pub(crate) fn logs(&self) -> LogReader {
        self.context.logs()
    }

    /// Everything that the registry has said about a key.
    pub(crate) async fn said(&self, key: &str) -> Vec<SpecRegistryEvent> {
        let events = self.logs().events(Log::SpecRegistry, &Key::new(key).unwrap()).await.unwrap();
        events
            .into_iter()
            .map(|logged| match logged.event {
                Event::SpecRegistry(event) => event,
                other => panic!("{other:?} in the registry's log"),
            })
            .collect()
    }

    /// Waits until the registry has said `count` things about a key.
    pub(crate) async fn answers(&self, key: &str, count: usize) -> Vec<SpecRegistryEvent> {
        let said = eventually!(BOUND, "the registry's answers", {
            let said = self.said(key).await;
            (said.len() >= count).then_some(said)
        });
        assert_eq!(said.len(), count, "{said:?}");
        said
    }

    /// Everything in the registry's log.
    pub(crate) async fn all_said(&self) -> Vec<(Key, SpecRegistryEvent)> {
        let stored = self.context.broker.read(&Log::SpecRegistry.stream(0), None, 1, 1_000).await.unwrap();
        stored
            .iter()
            .map(|stored| {
                let envelope = Envelope::decode(&stored.payload).unwrap();
                match envelope.event().unwrap() {
                    Some(Event::SpecRegistry(event)) => (envelope.key, event),
                    other => panic!("{other:?} in the registry's log"),
                }
            })
            .collect()
    }

    pub(crate) async fn handed_in(&self) -> u64 {
        self.context.broker.stream_state(&Log::Intake.stream(0)).await.unwrap().messages
    }

    /// Hands in by hand.
    pub(crate) async fn hand_in(&self, path: &str, text: &[u8]) -> Key {
        let hand_in = HandIn {
            producer: "/millrace/test",
            repository: "shop",
            path,
            commit: "",
            source: millrace_events::v1::SpecSource::Manual,
            submitted_by: "somebody",
            spec: Document::Inline(text.to_vec()),
            plan: None,
        };
        let (key, envelope) = intake::submission(hand_in, self.context.clock.now()).unwrap();
        // Without its message id, as after the stream's window: the message really stands there twice.
        let append = Append { message_id: None, ..intake::append(&key, &envelope, 1) };
        let _stored = self.context.broker.append(&append).await.unwrap();
        key
    }

    /// Appends an intake event under `key`.
    pub(crate) async fn publish(&self, key: &str, event: impl Into<Event>) {
        self.write(Log::Intake, key, event.into(), None).await;
    }

    /// Appends an event to a log by hand, caused by a message.
    pub(crate) async fn write(&self, log: Log, key: &str, event: Event, cause: Option<Cause>) {
        let key = Key::new(key).unwrap();
        let now = self.context.clock.now();
        let by = cause.clone().unwrap_or_else(|| Cause::new("TEST", 1));
        let id = event_id(&by, "test", key.as_str(), 0).to_string();
        let mut envelope = Envelope::new(id, "/millrace/test", key.clone(), now, &event);
        envelope.cause = cause;
        let append = Append::new(log.stream(0), log.subject(&key, 1), envelope.encode())
            .content_type(millrace_events::CONTENT_TYPE_PROTOBUF);
        let _stored = self.context.broker.append(&append).await.unwrap();
    }

    /// Waits until the registry has handled everything: a request behind it has been answered.
    pub(crate) async fn settled(&self, marker: &str) {
        let event = millrace_events::v1::TaskRequested { task: "no id".to_owned(), ..Default::default() };
        self.publish(marker, event).await;
        self.answers(marker, 1).await;
    }
}

impl Running {
    /// Stops it and waits for its end.
    pub(crate) async fn stop(self) {
        self.context.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}
