//! A broker in memory, a ledger in a file, and projectors between them.

use std::sync::Arc;
use std::time::Duration;

use millrace_decider::Cause;
use millrace_events::v1::{self, TaskRef};
use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope, Event, Key};
use millrace_ledger::Ledger;
use millrace_projector::{Options, Projector, ProjectorError};
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::{Append, Broker};
use millrace_runtime::clock::{Clock, System};
use millrace_runtime::memory::MemoryBroker;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Long enough for a busy machine; failures must be visible to a query within it (S2-V1).
pub(crate) const BOUND: Duration = Duration::from_secs(5);

pub(crate) struct World {
    pub(crate) broker: MemoryBroker,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    declared: Declared,
    _folder: tempfile::TempDir,
}

/// A projector that runs.
pub(crate) struct Running {
    pub(crate) projector: Projector,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ProjectorError>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::at(Arc::new(System), Arc::new(System)).await
    }

    /// With the projector's clock and the broker's, by which it delivers again.
    pub(crate) async fn at(clock: Arc<dyn Clock>, of_broker: Arc<dyn Clock>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/ledger.db", folder.path().display());
        let ledger = Ledger::open(&url).await.unwrap();
        ledger.migrate().await.unwrap();
        let declared = Declared::of(&Installation::default());
        Self { broker: MemoryBroker::new(of_broker, &declared), ledger, clock, declared, _folder: folder }
    }

    /// With another installation.
    pub(crate) async fn declaring(declared: Declared) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(System);
        Self { broker: MemoryBroker::new(clock, &declared), declared, ..Self::new().await }
    }

    /// A broker that has lost its consumers: their streams are there, nobody rings.
    pub(crate) async fn without_consumers() -> Self {
        let declared = Declared { consumers: Vec::new(), ..Declared::of(&Installation::default()) };
        Self::declaring(declared).await
    }

    pub(crate) fn start(&self) -> Running {
        self.start_on(Arc::new(self.broker.clone()))
    }

    pub(crate) fn start_on(&self, broker: Arc<dyn Broker>) -> Running {
        self.start_scanning(broker, Options::default().scan)
    }

    /// With so many events compared at a sweep.
    pub(crate) fn start_scanning(&self, broker: Arc<dyn Broker>, scan: usize) -> Running {
        let options = Options {
            scan,
            poll: Duration::from_millis(50),
            sweep_every: Duration::from_millis(20),
            declared: self.declared.clone(),
            ..Options::default()
        };
        let projector = Projector::new(broker, self.clock.clone(), self.ledger.clone(), options);
        let stop = CancellationToken::new();
        #[allow(clippy::disallowed_methods)]
        let task = tokio::spawn(projector.clone().run(stop.clone()));
        Running { projector, stop, task }
    }

    /// Appends an event to its log.
    pub(crate) async fn append(&self, key: &str, cause: Option<&Cause>, event: impl Into<Event>) -> Cause {
        append(&self.broker, key, cause, event).await
    }

    pub(crate) async fn wait_for(&self, place: &Cause) {
        assert!(self.ledger.wait_for(&place.stream, place.sequence, BOUND).await.unwrap(), "{place}");
    }
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) async fn append(
    broker: &dyn Broker,
    key: &str,
    cause: Option<&Cause>,
    event: impl Into<Event>,
) -> Cause {
    let event = event.into();
    let (log, key) = (event.log(), Key::new(key).unwrap());
    let id = format!("{key}-{}-{cause:?}", event.name());
    let mut envelope = Envelope::new(id, "/millrace/test", key.clone(), System.now(), &event);
    envelope.cause = cause.cloned();
    let append = Append::new(log.stream(0), log.subject(&key, 1), envelope.encode());
    let appended = broker.append(&append.content_type(CONTENT_TYPE_PROTOBUF)).await.unwrap();
    Cause::new(log.stream(0), appended.sequence)
}

pub(crate) fn about(task: &str) -> Option<TaskRef> {
    let task = task.to_owned();
    Some(TaskRef { task, run: 1, attempt: 1, repository: "storefront".to_owned(), ..TaskRef::default() })
}

pub(crate) fn scheduled(task: &str) -> v1::TaskScheduled {
    v1::TaskScheduled { task: about(task), spec_registered: true, ..Default::default() }
}

pub(crate) fn acknowledged(task: &str) -> v1::WorkOrderAcknowledged {
    v1::WorkOrderAcknowledged { task: about(task), worker: "worker-1".to_owned(), ..Default::default() }
}
