//! The processes of a run: each is a real service on its own connection, dies and is started again.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use millrace_deployer::effects::{DeployerService, Holds};
use millrace_deployer::target_book::TargetBook;
use millrace_events::catalogue::{HEALTH_BUCKET, LEASE_BUCKET, QUEUE_BUCKET, SLOT_BUCKET, TARGET_BUCKET};
use millrace_runtime::blobs::Blobs;
use millrace_runtime::broker::Broker;
use millrace_runtime::bucket::Bucket;
use millrace_runtime::memory::{MemoryBroker, SeededIds};
use millrace_runtime::service::{ServiceContext, ServiceError};
use millrace_runtime::settings::Settings;
use millrace_spec_registry::adapters::ScriptedSource;
use millrace_spec_registry::repositories::{Repositories, Source};
use millrace_validator::effects::ValidatorService;
use millrace_worker::effects::WorkerService;

use crate::broker::FaultyBroker;
use crate::dice::{Dice, named};
use crate::forge::ForgeWorld;
use crate::gate::{Gate, ProcessClock, Weather};
use crate::ledger::MemoryLedger;
use crate::projector;
use crate::specs::SimulatedSpecs;
use crate::target::{Places, TargetWorld};
use crate::work::ScriptedWork;

/// Largest blob of a run.
const MAX_BLOB_BYTES: usize = 1 << 20;
/// Orders that a worker has at a time.
const SLOTS: usize = 2;
/// How often a worker shows that it is there.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Inputs in flight at most.
const CONCURRENCY: usize = 32;

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// spec-registry
    SpecRegistry,
    /// dispatcher
    Dispatcher,
    /// worker
    Worker,
    /// validator
    Validator,
    /// deployer
    Deployer,
    /// failure-analyzer
    FailureAnalyzer,
    /// projector
    Projector,
}

/// The processes of every run, by name.
pub const PROCESSES: [(&str, Role); 11] = [
    ("spec-registry", Role::SpecRegistry),
    ("dispatcher-a", Role::Dispatcher),
    ("dispatcher-b", Role::Dispatcher),
    ("worker-a", Role::Worker),
    ("worker-b", Role::Worker),
    ("worker-c", Role::Worker),
    ("validator", Role::Validator),
    ("deployer", Role::Deployer),
    ("analyzer", Role::FailureAnalyzer),
    ("projector-a", Role::Projector),
    ("projector-b", Role::Projector),
];

/// What the processes of a run share: the world outside.
#[derive(Clone)]
pub struct Outside {
    /// Faults and history.
    pub weather: Arc<Weather>,
    /// The server.
    pub broker: MemoryBroker,
    /// Forges.
    pub forges: Arc<ForgeWorld>,
    /// Targets.
    pub targets: Arc<TargetWorld>,
    /// The ledger's database.
    pub ledger: MemoryLedger,
    /// Spec files by repository.
    pub files: BTreeMap<String, Arc<ScriptedSource>>,
    /// The configuration of all.
    pub settings: Arc<Settings>,
}

type Running = Pin<Box<dyn Future<Output = Result<(), ServiceError>> + Send>>;

/// Runs a process for ever: one life after another.
pub async fn keep_running(outside: Outside, name: &'static str, role: Role) {
    let seed = outside.weather.seed;
    let dice = Arc::new(Dice::new(seed, name));
    let skew = outside.weather.profile.skew;
    let skew_micros = i64::try_from(dice.between(Duration::ZERO, skew * 2).as_micros()).unwrap_or(0)
        - i64::try_from(skew.as_micros()).unwrap_or(0);
    let mut life = 0;
    loop {
        life += 1;
        let title = format!("{name}#{life}");
        let gate = Gate::new(title.clone(), outside.weather.clone(), dice.clone(), true);
        let history = &outside.weather.history;
        history.tell(&title, || format!("starts, its clock is {} s off", skew_micros / 1_000_000));
        let context = outside.context(&title, &gate, skew_micros);
        let beat = beat(context.clone(), role);
        let ended = tokio::select! {
            biased;
            () = gate.died() => None,
            () = beat => None,
            ended = outside.start(name, role, context, gate.clone()) => Some(ended),
        };
        match ended {
            None => history.tell(&title, || "is dead".to_owned()),
            Some(Ok(())) if gate.stop().is_cancelled() => history.tell(&title, || "has stopped".to_owned()),
            Some(Ok(())) => history.trouble(&title, "ended by itself".to_owned()),
            Some(Err(error)) => history.trouble(&title, format!("ended: {error}")),
        }
        tokio::time::sleep(dice.between(Duration::from_millis(10), Duration::from_secs(20))).await;
    }
}

/// Shows every few seconds that a worker is there, as the launcher does: a dispatcher looks for them.
async fn beat(context: ServiceContext, role: Role) {
    let key = format!("worker.{}", context.instance);
    loop {
        if role == Role::Worker {
            let value = serde_json::json!({
                "service": "worker",
                "instance": context.instance,
                "beat": context.clock.now().to_string(),
                "ready": true,
            });
            // The next one comes soon.
            let _shown = context.heartbeats.put(&key, value.to_string().as_bytes()).await;
        }
        context.clock.sleep(HEARTBEAT).await;
    }
}

impl Outside {
    /// The context of one life of a process.
    pub fn context(&self, title: &str, gate: &Gate, skew_micros: i64) -> ServiceContext {
        let ids = Arc::new(SeededIds::new(named(self.weather.seed, title)));
        let broker: Arc<dyn Broker> = Arc::new(FaultyBroker::new(self.broker.clone(), gate.clone()));
        let bucket = |name: &str| Arc::new(Bucket::new(broker.clone(), name));
        ServiceContext {
            settings: self.settings.clone(),
            instance: title.replace('#', "-"),
            clock: Arc::new(ProcessClock::new(gate.clone(), skew_micros)),
            ids,
            leases: bucket(LEASE_BUCKET),
            targets: bucket(TARGET_BUCKET),
            queue: bucket(QUEUE_BUCKET),
            slots: bucket(SLOT_BUCKET),
            heartbeats: bucket(HEALTH_BUCKET),
            blobs: Blobs::new(broker.clone(), MAX_BLOB_BYTES),
            broker,
            health: millrace_rpc::HealthHandle::new(),
            stop: gate.stop().clone(),
        }
    }

    /// The service itself.
    fn start(&self, name: &'static str, role: Role, context: ServiceContext, gate: Gate) -> Running {
        let places =
            Places { forges: self.forges.clone(), targets: self.targets.clone(), gate: gate.clone() };
        let limits = &context.settings.limits;
        match role {
            Role::SpecRegistry => {
                let repositories = self.repositories(&gate);
                Box::pin(millrace_spec_registry::run_with(context, repositories))
            }
            Role::Dispatcher => Box::pin(millrace_dispatcher::run(context)),
            Role::FailureAnalyzer => Box::pin(millrace_failure_analyzer::run(context)),
            Role::Worker => {
                let work = Arc::new(ScriptedWork::new(context.clone(), gate));
                let service = WorkerService::new(context.clone(), name.to_owned(), work);
                Box::pin(async move { Ok(context.host(service, SLOTS).await?) })
            }
            Role::Validator => {
                let decider = millrace_validator::domain::Validator { checks_wait: limits.checks_wait };
                let world = millrace_validator::effects::World {
                    pull_requests: Arc::new(places),
                    logs: context.logs(),
                    blobs: context.blobs.clone(),
                    clock: context.clock.clone(),
                    validation: limits.validation,
                };
                let service = ValidatorService::new(decider, world);
                Box::pin(async move { Ok(context.host(service, CONCURRENCY).await?) })
            }
            Role::Deployer => {
                let world = millrace_deployer::effects::World {
                    sites: Arc::new(places),
                    targets: TargetBook::new(context.targets.clone()),
                    logs: context.logs(),
                    blobs: context.blobs.clone(),
                    clock: context.clock.clone(),
                    wrong_sha_grace: Duration::from_secs(5),
                    deployment: limits.deployment,
                    holds: Holds::default(),
                };
                let service = DeployerService::new(world);
                Box::pin(async move { Ok(context.host(service, CONCURRENCY).await?) })
            }
            Role::Projector => {
                let ledger = self.ledger.clone();
                Box::pin(async move {
                    projector::run(context.broker, ledger, gate).await;
                    Ok(())
                })
            }
        }
    }

    fn repositories(&self, gate: &Gate) -> Repositories {
        let source = |repository: &millrace_runtime::settings::Repository| {
            let files = self.files.get(&repository.id).cloned().unwrap_or_default();
            let specs = SimulatedSpecs {
                files,
                forges: self.forges.clone(),
                repository: repository.id.clone(),
                gate: gate.clone(),
            };
            Source::new(repository.clone(), Arc::new(specs))
        };
        Repositories::new(self.settings.repositories.iter().map(source).collect())
    }
}
