//! A broker that can be away, and what happens when something else happens at the wrong moment.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use millrace_events::catalogue::{BLOB_STREAM, LEASE_BUCKET};
use millrace_events::v1::TaskCancelled;
use millrace_events::{Code, Log, LogEvent as _};
use millrace_runtime::broker::{Append, Broker, BrokerError};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::kv::{Change, Entry, Kv};
use millrace_runtime::memory::GatedBroker;
use millrace_runtime::settings::{Limits, Settings};
use millrace_sandbox::{Finished, SandboxError, SandboxUnavailable};
use millrace_testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::support::{Counting, SOON, World, greeting, recipe};

/// Whether the broker is away, and how often the blob store was asked in vain.
#[derive(Default)]
pub(crate) struct Outage {
    is_down: AtomicBool,
    refused: AtomicUsize,
}

impl Outage {
    /// Whether a question about `stream` is answered.
    fn answers(&self, stream: &str) -> bool {
        let is_down = self.is_down.load(Ordering::SeqCst);
        if is_down && stream == BLOB_STREAM {
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
        !is_down
    }
}

/// A sandbox whose first command takes the broker away.
struct CutsOff {
    outage: Arc<Outage>,
    counting: Counting,
}

#[async_trait]
impl millrace_worker::ports::Commands for CutsOff {
    fn ready(&self) -> Result<(), SandboxUnavailable> {
        Ok(())
    }
    async fn run(
        &self,
        command: &str,
        folder: &Path,
        cancel: &CancellationToken,
    ) -> Result<Finished, SandboxError> {
        if self.counting.commands.load(Ordering::SeqCst) == 0 {
            self.outage.is_down.store(true, Ordering::SeqCst);
        }
        self.counting.run(command, folder, cancel).await
    }
    fn bound(&self, _: &Finished) -> Option<String> {
        None
    }
}

fn cut_off(world: &mut World, limits: Limits) -> Arc<CutsOff> {
    let outage = Arc::new(Outage::default());
    let through = world.broker.clone();
    let gate = outage.clone();
    world.broker = Arc::new(GatedBroker::new(through.clone(), move |stream: &str| gate.answers(stream)));
    let mut context = world.context("w1-process");
    context.settings = Arc::new(Settings { limits, ..context.settings.as_ref().clone() });
    // The test itself is never cut off.
    world.broker = through;
    let commands = Arc::new(CutsOff { outage, counting: Counting::default() });
    world.start_in(context, "w1", commands.clone(), recipe());
    commands
}

async fn ended_with(world: &World) -> Vec<&'static str> {
    eventually!(SOON, "an end", world.events().await.len() == 2);
    world.events().await.iter().map(|event| event.name()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn work_waits_for_a_store_that_is_away_and_goes_on() {
    let mut world = World::new();
    world.schedule(&world.change_order(&greeting("['true']")).await).await;
    let commands = cut_off(&mut world, Limits::default());
    // More often than anybody would try who counts.
    eventually!(SOON, "it keeps asking", commands.outage.refused.load(Ordering::SeqCst) > 5);
    commands.outage.is_down.store(false, Ordering::SeqCst);
    assert_eq!(ended_with(&world).await, ["WorkOrderAcknowledged", "ExecutionCompleted"]);
    assert_eq!(commands.counting.commands.load(Ordering::SeqCst), 1, "nothing was done twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_ran_out_in_an_outage_ends_nothing() {
    let mut world = World::new();
    world.schedule(&world.change_order(&greeting("['true']")).await).await;
    let second = Duration::from_secs(1);
    let limits = Limits { lease: second, lease_renewal: second / 4, ..Limits::default() };
    let commands = cut_off(&mut world, limits);
    let folder = world.work_folder("w1");
    eventually!(SOON, "it is cut off", commands.outage.is_down.load(Ordering::SeqCst));
    eventually!(SOON, "the work is stopped", std::fs::read_dir(&folder).unwrap().count() == 1);
    commands.outage.is_down.store(false, Ordering::SeqCst);
    assert_eq!(ended_with(&world).await, ["WorkOrderAcknowledged", "ExecutionCompleted"]);
    assert_eq!(commands.counting.commands.load(Ordering::SeqCst), 2, "it was done again, under a new lease");
}

/// Leases, of which the first comes too late: the run is cancelled right before.
struct CancelledFirst {
    leases: Bucket,
    broker: Arc<dyn Broker>,
    cancel: Append,
    done: AtomicBool,
}

#[async_trait]
impl Kv for CancelledFirst {
    async fn get(&self, key: &str) -> Result<Option<Entry>, BrokerError> {
        self.leases.get(key).await
    }
    async fn create(&self, key: &str, value: &[u8]) -> Result<Option<u64>, BrokerError> {
        if !self.done.swap(true, Ordering::SeqCst) {
            let _ = self.broker.append(&self.cancel).await.unwrap();
            self.leases.delete(key).await?;
        }
        self.leases.create(key, value).await
    }
    async fn update(&self, key: &str, value: &[u8], revision: u64) -> Result<Option<u64>, BrokerError> {
        self.leases.update(key, value, revision).await
    }
    async fn put(&self, key: &str, value: &[u8]) -> Result<u64, BrokerError> {
        self.leases.put(key, value).await
    }
    async fn delete(&self, key: &str) -> Result<(), BrokerError> {
        self.leases.delete(key).await
    }
    async fn delete_at(&self, key: &str, revision: u64, keep: Duration) -> Result<bool, BrokerError> {
        self.leases.delete_at(key, revision, keep).await
    }
    async fn changes(&self, revision: u64, limit: usize) -> Result<Vec<Change>, BrokerError> {
        self.leases.changes(revision, limit).await
    }
    async fn entries(&self) -> Result<Vec<(String, Entry)>, BrokerError> {
        self.leases.entries().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_right_before_the_lease_is_taken_is_not_missed() {
    let mut world = World::new();
    let order = world.change_order(&greeting("['true']")).await;
    world.schedule(&order).await;
    let cancelled = TaskCancelled { task: order.task.clone(), ..TaskCancelled::default() };
    let leases = Arc::new(CancelledFirst {
        leases: Bucket::new(world.broker.clone(), LEASE_BUCKET),
        broker: world.broker.clone(),
        cancel: world.message(Log::Dispatcher, cancelled.into()),
        done: AtomicBool::new(false),
    });
    let mut context = world.context("w1-process");
    context.leases = leases.clone();
    let commands = Arc::new(Counting::default());
    world.start_in(context, "w1", commands.clone(), recipe());
    eventually!(SOON, "the lease was wanted", leases.done.load(Ordering::SeqCst));
    world.settled().await;
    assert_eq!(world.logged().await.len(), 1, "only the claim");
    assert!(!world.lease_is_alive(&order.id).await, "it is given back");
}

/// A sandbox that does not hear when it is told to end.
#[derive(Default)]
struct Deaf {
    is_running: AtomicBool,
}

#[async_trait]
impl millrace_worker::ports::Commands for Deaf {
    fn ready(&self) -> Result<(), SandboxUnavailable> {
        Ok(())
    }
    async fn run(&self, _: &str, _: &Path, _: &CancellationToken) -> Result<Finished, SandboxError> {
        self.is_running.store(true, Ordering::SeqCst);
        std::future::pending().await
    }
    fn bound(&self, _: &Finished) -> Option<String> {
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_recorded_within_the_grace_period_whatever_the_work_does() {
    let mut world = World::new();
    world.schedule(&world.change_order(&greeting("['true']")).await).await;
    let mut context = world.context("w1-process");
    let limits = Limits { grace: Duration::from_secs(4), ..Limits::default() };
    context.settings = Arc::new(Settings { limits, ..context.settings.as_ref().clone() });
    let commands = Arc::new(Deaf::default());
    let running = world.start_in(context, "w1", commands.clone(), recipe());
    eventually!(SOON, "the command runs", commands.is_running.load(Ordering::SeqCst));
    running.stop.cancel();
    world.ended().await.unwrap();
    let (_, failure) = world.failed(Code::LeaseLost).await;
    assert!(failure.message.contains("the worker was stopped"), "{}", failure.message);
}
