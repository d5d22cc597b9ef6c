//! The services, put together over a broker in memory and a clock that stands still. Nothing is performed, so
//! forges, targets and workplaces are nowhere.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::Timestamp;
use millrace_deployer::effects::{DeployerService, Holds, World as DeployerWorld};
use millrace_deployer::ports::{Site, SiteError, Sites, Target};
use millrace_deployer::target_book::TargetBook;
use millrace_dispatcher::admission::{self, Admission};
use millrace_dispatcher::config;
use millrace_dispatcher::domain::Dispatcher;
use millrace_dispatcher::effects::DispatcherService;
use millrace_events::catalogue::{HEALTH_BUCKET, LEASE_BUCKET, QUEUE_BUCKET, SLOT_BUCKET, TARGET_BUCKET};
use millrace_events::{Code, WorkerEvent};
use millrace_failure_analyzer::effects::FailureAnalyzerService;
use millrace_runtime::blobs::Blobs;
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::Broker;
use millrace_runtime::bucket::Bucket;
use millrace_runtime::clock::Clock;
use millrace_runtime::kv::Kv;
use millrace_runtime::memory::{ManualClock, MemoryBroker, SeededIds};
use millrace_runtime::service::ServiceContext;
use millrace_runtime::settings::{ForgeKind, Repository, Settings};
use millrace_spec_registry::adapters::ScriptedSource;
use millrace_spec_registry::effects::RegistryService;
use millrace_spec_registry::repositories::{Repositories, Source};
use millrace_validator::domain::Validator;
use millrace_validator::effects::{ValidatorService, World as ValidatorWorld};
use millrace_validator::ports::{LookError, PullRequests, Shown};
use millrace_worker::effects::{Gathered, Step, Stop, WorkerService};
use millrace_worker::ports::{Assignment, Work};

use crate::facts::BEGIN;

/// Time that passes only when everybody waits for it: for tests with tokio's paused time.
pub struct PausedClock(tokio::time::Instant);

impl PausedClock {
    /// Stands at [`BEGIN`].
    pub fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Default for PausedClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        BEGIN + self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// What every service is given.
pub fn context() -> ServiceContext {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(BEGIN));
    context_on(clock)
}

/// The same on another clock.
pub fn context_on(clock: Arc<dyn Clock>) -> ServiceContext {
    let declared = Declared::of(&Installation::default());
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(clock.clone(), &declared));
    let bucket = |name: &str| -> Arc<dyn Kv> { Arc::new(Bucket::new(broker.clone(), name)) };
    ServiceContext {
        settings: Arc::new(Settings::default()),
        instance: "worker-a-1".to_owned(),
        clock,
        ids: Arc::new(SeededIds::new(1)),
        leases: bucket(LEASE_BUCKET),
        targets: bucket(TARGET_BUCKET),
        queue: bucket(QUEUE_BUCKET),
        slots: bucket(SLOT_BUCKET),
        heartbeats: bucket(HEALTH_BUCKET),
        blobs: Blobs::new(broker.clone(), 1 << 20),
        broker,
        health: Default::default(),
        stop: Default::default(),
    }
}

/// The dispatcher with its default limits.
pub fn dispatcher(context: &ServiceContext) -> DispatcherService {
    let decider = Dispatcher { limits: config::limits(&context.settings) };
    let world = admission::World {
        broker: context.broker.clone(),
        queue: context.queue.clone(),
        slots: context.slots.clone(),
        heartbeats: context.heartbeats.clone(),
        clock: context.clock.clone(),
    };
    let admission = Arc::new(Admission::new(config::rules(&context.settings), world));
    let (leases, clock) = (context.leases.clone(), context.clock.clone());
    DispatcherService::new(decider, context.logs(), leases, clock, admission)
}

/// The worker `worker-a`.
pub fn worker(context: &ServiceContext) -> WorkerService {
    WorkerService::new(context.clone(), "worker-a".to_owned(), Arc::new(Nowhere))
}

/// The validator with its default limits.
pub fn validator(context: &ServiceContext) -> ValidatorService {
    let world = ValidatorWorld {
        pull_requests: Arc::new(Nowhere),
        logs: context.logs(),
        blobs: context.blobs.clone(),
        clock: context.clock.clone(),
        validation: context.settings.limits.validation,
    };
    ValidatorService::new(Validator { checks_wait: context.settings.limits.checks_wait }, world)
}

/// The deployer with its default limits.
pub fn deployer(context: &ServiceContext) -> DeployerService {
    DeployerService::new(DeployerWorld {
        sites: Arc::new(Nowhere),
        targets: TargetBook::new(context.targets.clone()),
        logs: context.logs(),
        blobs: context.blobs.clone(),
        clock: context.clock.clone(),
        wrong_sha_grace: Duration::from_secs(1),
        deployment: context.settings.limits.deployment,
        holds: Holds::default(),
    })
}

/// The registry of one repository, `shop`.
pub fn registry(context: &ServiceContext) -> RegistryService {
    let repository = Repository {
        id: "shop".to_owned(),
        url: "/nowhere".to_owned(),
        forge: ForgeKind::Local,
        base_branch: "main".to_owned(),
        task_prefix: "VTID".to_owned(),
        task_base: 100,
        specs_url: None,
        specs_path: "docs/specs".to_owned(),
        scan_period: Duration::from_secs(30),
        target: "web".to_owned(),
    };
    let source = Source::new(repository, Arc::new(ScriptedSource::new()));
    RegistryService::new(context, Repositories::new(vec![source]))
}

/// The failure analyzer.
pub fn analyzer(context: &ServiceContext) -> FailureAnalyzerService {
    FailureAnalyzerService::new(context.logs())
}

/// The world that nothing reaches.
struct Nowhere;

#[async_trait]
impl Work for Nowhere {
    async fn run(&self, _assignment: &Assignment<'_>, _gathered: &mut Gathered) -> Step<WorkerEvent> {
        Err(Stop::failed(Code::SandboxUnavailable, "there is no workplace"))
    }

    async fn clear(&self, _order: &str) -> std::io::Result<()> {
        Ok(())
    }
}

#[async_trait]
impl PullRequests for Nowhere {
    async fn pull_request(&self, _: &str, _: u64, _: &str) -> Result<Option<Shown>, LookError> {
        Ok(None)
    }
}

#[async_trait]
impl Sites for Nowhere {
    async fn repository(&self, id: &str) -> Result<Site, SiteError> {
        Err(SiteError::Unknown { kind: "repository", id: id.to_owned() })
    }

    async fn target(&self, id: &str) -> Result<Arc<dyn Target>, SiteError> {
        Err(SiteError::Unknown { kind: "target", id: id.to_owned() })
    }
}
