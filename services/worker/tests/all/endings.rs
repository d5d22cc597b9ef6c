//! How work is ended from outside: its limit, its lease, the order to stop, a decision of the dispatcher.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use millrace_events::v1::{TaskCancelled, WorkOrder, WorkOrderExpired};
use millrace_events::{Code, Log};
use millrace_router::{ModelError, ModelRequest, ModelResponse, Provider};
use millrace_runtime::lease;
use millrace_testkit::eventually;
use millrace_worker::WorkerConfig;
use millrace_worker::adapters::{Models, built_in_crew};

use crate::support::{Counting, SOON, World, alive, greeting};

/// A command that sleeps for a time that nobody else on this machine does.
fn hanging(seconds: u32) -> (String, String) {
    (format!("['sleep {seconds}']"), format!("sleep\0{seconds}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_g8a_the_limit_kills_the_command_fails_the_order_and_frees_the_lease() {
    let mut world = World::new();
    let (command, mark) = hanging(7_311);
    let order = WorkOrder { execution_limit_ms: 3_000, ..world.change_order(&greeting(&command)).await };
    world.schedule(&order).await;
    world.start("w1");
    eventually!(SOON, "the command runs", alive(&mark));
    assert!(world.lease_is_alive(&order.id).await);
    let (event, failure) = world.failed(Code::ExecutionTimeout).await;
    assert!(!alive(&mark), "no process of it is left");
    assert!(failure.message.contains("3000 ms"), "{}", failure.message);
    assert_eq!(event.calls.len(), 2, "what was done until then is recorded");
    // The failure analyzer groups by these.
    let fact = |name: &str| failure.context[name].as_str();
    assert_eq!(fact("model"), event.calls[1].model);
    assert!(fact("prompt_version").starts_with("implementer-"), "{failure:?}");
    assert!(!world.lease_is_alive(&order.id).await);
    let folder = world.work_folder("w1");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "only the lock is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_lease_stops_the_work_and_nothing_more_is_said() {
    let mut world = World::new();
    let (command, mark) = hanging(7_312);
    let order = world.change_order(&greeting(&command)).await;
    world.schedule(&order).await;
    world.start("w1");
    eventually!(SOON, "the command runs", alive(&mark));
    // The dispatcher cancels the task and takes the lease away.
    let cancelled = TaskCancelled { task: order.task.clone(), ..TaskCancelled::default() };
    world.append(Log::Dispatcher, cancelled.into()).await;
    lease::end(&world.leases(), &order.id).await.unwrap();
    eventually!(SOON, "the command is killed", !alive(&mark));
    world.settled().await;
    assert_eq!(world.logged().await.len(), 1, "only the claim");
}

/// A model that never answers.
#[derive(Default)]
struct Silent {
    asked: AtomicUsize,
    hung_up: AtomicUsize,
}

struct Call<'a>(&'a Silent);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.hung_up.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Provider for Silent {
    fn name(&self) -> &str {
        "recipe"
    }

    async fn complete(&self, _: &ModelRequest<'_>) -> Result<ModelResponse, ModelError> {
        let _call = Call(self);
        self.asked.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_lease_ends_a_model_call_that_hangs() {
    let mut world = World::new();
    let silent = Arc::new(Silent::default());
    let models = Models::with(built_in_crew(3), vec![silent.clone()]).unwrap();
    let order = world.change_order(&greeting("[]")).await;
    world.schedule(&order).await;
    let running = world.start_with("w1", Arc::new(Counting::default()), models);
    eventually!(SOON, "the model is asked", silent.asked.load(Ordering::SeqCst) == 1);
    let cancelled = TaskCancelled { task: order.task.clone(), ..TaskCancelled::default() };
    world.append(Log::Dispatcher, cancelled.into()).await;
    lease::end(&world.leases(), &order.id).await.unwrap();
    eventually!(SOON, "the call is hung up", silent.hung_up.load(Ordering::SeqCst) == 1);
    running.stop.cancel();
    world.ended().await.unwrap();
    assert_eq!(silent.asked.load(Ordering::SeqCst), 1, "nobody else is asked instead");
    assert_eq!(world.logged().await.len(), 1, "only the claim");
    assert!(!world.lease_is_alive(&order.id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_gives_the_order_back_with_a_reason() {
    let mut world = World::new();
    let (command, mark) = hanging(7_313);
    let order = world.change_order(&greeting(&command)).await;
    world.schedule(&order).await;
    let running = world.start("w1");
    eventually!(SOON, "the command runs", alive(&mark));
    running.stop.cancel();
    world.ended().await.unwrap();
    assert!(!alive(&mark));
    let (_, failure) = world.failed(Code::LeaseLost).await;
    assert!(failure.message.contains("the worker was stopped"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_the_dispatcher_gave_up_is_claimed_and_then_left_alone() {
    let mut world = World::new();
    let order = world.change_order(&greeting("[]")).await;
    world.schedule(&order).await;
    let expired =
        WorkOrderExpired { task: order.task.clone(), order: order.id.clone(), ..Default::default() };
    world.append(Log::Dispatcher, expired.into()).await;
    world.start("w1");
    world.settled().await;
    assert!(world.logged().await.len() <= 1, "no work was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_left_by_an_earlier_try_of_this_process_is_taken_over_and_a_stranger_s_is_not() {
    for (instance, worked) in [("w1-process", 2), ("somebody", 1)] {
        let mut world = World::new();
        let order = world.change_order(&greeting("[]")).await;
        let holder = lease::Holder { worker: "w1".to_owned(), instance: instance.to_owned(), token: 1 };
        let context = world.context("test");
        lease::Lease::take(context.leases, context.clock, &order.id, &holder).await.unwrap().unwrap();
        world.schedule(&order).await;
        world.start("w1");
        if worked == 2 {
            world.completed().await;
        } else {
            world.settled().await;
        }
        assert_eq!(world.logged().await.len(), worked, "{instance}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_of_one_identity_does_not_start() {
    let mut world = World::new();
    world.start("w1");
    eventually!(SOON, "the first has its folder", world.work_folder("w1").join("lock").exists());
    // Whichever of the two comes second is refused.
    world.start_as(WorkerConfig { slots: 1, ..world.config("w1") });
    let ended = tokio::time::timeout(Duration::from_secs(40), world.ended()).await.unwrap();
    let error = ended.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("another process works as `w1`"), "{source}");
}
