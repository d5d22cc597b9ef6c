//! Limits of repositories and domains: strict, also with several dispatchers and after crashes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_events::DispatcherEvent;
use millrace_events::catalogue::{QUEUE_BUCKET, SLOT_BUCKET};
use millrace_events::v1::*;
use millrace_runtime::broker::Broker;
use millrace_runtime::kv::Kv;
use millrace_runtime::settings::Settings;

use crate::world::{Watched, World, memory, paused_clock};

fn limited(repository: u32, domain: Option<(&str, u32)>) -> Settings {
    let mut settings = Settings::default();
    settings.dispatch.repositories.insert("shop".to_owned(), repository);
    settings.dispatch.domains.extend(domain.map(|(name, most)| (name.to_owned(), most)));
    // Nobody answers offers in most of these scenarios.
    settings.limits.acknowledge = Duration::from_secs(10 * 24 * 3600);
    settings
}

async fn holders(world: &World, key: &str) -> Vec<String> {
    let entry = world.bucket(SLOT_BUCKET).get(key).await.unwrap();
    let value = entry.map(|entry| serde_json::from_slice::<serde_json::Value>(&entry.value).unwrap());
    let holders = value.map(|value| value["holders"].as_array().unwrap().clone()).unwrap_or_default();
    holders.iter().map(|holder| holder["task"].as_str().unwrap().to_owned()).collect()
}

/// Releases what is active until nothing is left, one at a time.
async fn release_all(world: &World, count: usize) -> Vec<String> {
    loop {
        let told = world
            .until("something is under way", |told| !told.active.is_empty() || told.ended.len() == count);
        let told = told.await;
        let Some(order) = told.active.values().next() else { return told.let_in };
        world.release(order).await;
        let ended = told.ended.len() + 1;
        world.until("it ends", |told| told.ended.len() >= ended).await;
    }
}

/// S4-SP5: with a limit of one, one is let in after the other, and those that wait say for what.
#[tokio::test(start_paused = true)]
async fn s4_sp5_a_limit_of_one_lets_in_one_after_the_other() {
    let mut world = World::new(limited(1, None));
    world.start();
    for task in ["VTID-00001", "VTID-00002", "VTID-00003"] {
        world.register(task, "", Priority::Normal).await;
        world
            .until("it is scheduled", |told| {
                told.active.contains_key(task) || told.pending.contains_key(task)
            })
            .await;
    }
    let told = world.told().await;
    assert_eq!(told.active(), ["VTID-00001"]);
    assert_eq!(told.pending["VTID-00002"], "repository shop has 1 of 1 runs under way");
    assert_eq!(holders(&world, "repository.shop").await, ["VTID-00001"]);
    assert_eq!(world.bucket(QUEUE_BUCKET).entries().await.unwrap().len(), 2);
    let order = release_all(&world, 3).await;
    assert_eq!(order, ["VTID-00001", "VTID-00002", "VTID-00003"]);
    let told = world.told().await;
    assert_eq!((told.most, told.ended.len()), (1, 3));
    world.pass(5).await;
    assert!(holders(&world, "repository.shop").await.is_empty());
    assert!(world.bucket(QUEUE_BUCKET).entries().await.unwrap().is_empty());
}

/// The urgent first, then domains in turns, then the oldest; a low one that has waited long enough is as high.
#[tokio::test(start_paused = true)]
async fn s4_sp5_priority_fairness_and_age_decide_who_comes_next() {
    let mut world = World::new(limited(1, None));
    world.start();
    world.register("VTID-00001", "", Priority::Normal).await;
    world.until("it is under way", |told| told.active.len() == 1).await;
    for (task, domain, priority) in [
        ("VTID-00002", "a", Priority::Normal),
        ("VTID-00003", "a", Priority::Normal),
        ("VTID-00004", "a", Priority::Normal),
        ("VTID-00005", "b", Priority::Unspecified),
        ("VTID-00006", "b", Priority::Low),
        ("VTID-00007", "c", Priority::Urgent),
    ] {
        world.register(task, domain, priority).await;
        world.until("it waits", |told| told.pending.contains_key(task)).await;
    }
    let order = release_all(&world, 7).await;
    let numbers: Vec<&str> = order.iter().map(|task| &task[9..]).collect();
    assert_eq!(numbers, ["1", "7", "2", "5", "3", "4", "6"]);

    world.register("VTID-00011", "", Priority::Normal).await;
    world.until("it is under way", |told| told.active.len() == 1).await;
    world.register("VTID-00012", "", Priority::Low).await;
    world.pass(30 * 60).await;
    world.register("VTID-00013", "", Priority::Urgent).await;
    world.until("it waits", |told| told.pending.len() == 2).await;
    let order = release_all(&world, 10).await;
    assert_eq!(order[8..], ["VTID-00012", "VTID-00013"]);
}

/// The same limit by domain, whatever its case; who is not concerned goes past.
#[tokio::test(start_paused = true)]
async fn a_domain_has_a_limit_of_its_own() {
    let mut world = World::new(limited(3, Some(("Check out", 1))));
    world.start();
    for (task, domain) in [
        ("VTID-00001", "check out"),
        ("VTID-00002", "CHECK OUT"),
        ("VTID-00003", "search"),
        ("VTID-00004", ""),
    ] {
        world.register(task, domain, Priority::Normal).await;
        world
            .until("it is scheduled", |told| {
                told.active.contains_key(task) || told.pending.contains_key(task)
            })
            .await;
    }
    let told = world.told().await;
    assert_eq!(told.active(), ["VTID-00001", "VTID-00003", "VTID-00004"]);
    assert_eq!(told.pending["VTID-00002"], "domain Check out has 1 of 1 runs under way");
    // It has no share of the repository meanwhile, and needs both when its turn comes.
    assert_eq!(holders(&world, "repository.shop").await.len(), 3);
    world.release(&told.active["VTID-00001"]).await;
    let told = world.until("it comes in", |told| told.pending.is_empty()).await;
    assert_eq!(told.most, 3);
}

/// Two dispatchers never let in more than the limit together; when one of them dies, the other lets in the rest.
#[tokio::test(start_paused = true)]
async fn s4_sp5_two_dispatchers_keep_one_limit() {
    let mut world = World::new(limited(2, None));
    world.start();
    world.start();
    for n in 1..=20 {
        world.register(&format!("VTID-{n:05}"), &format!("d{}", n % 3), Priority::Normal).await;
    }
    world.until("all are scheduled", |told| told.active.len() + told.pending.len() == 20).await;
    for ended in 1..=10 {
        let told = world.until("something is under way", |told| !told.active.is_empty()).await;
        world.release(told.active.values().next().unwrap()).await;
        world.until("it ends", |told| told.ended.len() == ended).await;
    }
    world.kill();
    world.start();
    release_all(&world, 20).await;
    let told = world.told().await;
    assert_eq!((told.most, told.ended.len()), (2, 20));
    assert!(!told.names.contains(&"TransitionRefused"));
}

/// A crash between taking the share and arming the turn: the share is found, and the task is let in.
#[tokio::test(start_paused = true)]
async fn a_share_that_was_taken_before_a_crash_lets_its_task_in() {
    let mut world = World::new(limited(1, None));
    world.start();
    world.register("VTID-00001", "", Priority::Normal).await;
    world.until("it is under way", |told| told.active.len() == 1).await;
    for task in ["VTID-00002", "VTID-00003"] {
        world.register(task, "", Priority::Normal).await;
        world.until("it waits", |told| told.pending.contains_key(task)).await;
    }
    world.kill();
    let told = world.told().await;
    world.release(&told.active["VTID-00001"]).await;
    // The younger one: it was chosen, for whatever reason.
    let taken = br#"{"holders":[{"task":"VTID-00003","run":1,"since":0}]}"#;
    world.bucket(SLOT_BUCKET).put("repository.shop", taken).await.unwrap();
    world.start();
    let told = world.until("it is let in", |told| told.let_in.len() == 2).await;
    assert_eq!(told.active(), ["VTID-00003"]);
    assert_eq!(release_all(&world, 3).await.len(), 3);
}

/// A crash between the end of a run and giving back its share: the log is asked, and the share is free.
#[tokio::test(start_paused = true)]
async fn a_share_of_a_run_that_is_over_is_found_and_given_back() {
    let mut world = World::new(limited(1, None));
    let task = Some(TaskRef { task: "VTID-00009".into(), run: 1, ..Default::default() });
    world.say("VTID-00009", TaskScheduled { task: task.clone(), ..Default::default() }).await;
    world.say("VTID-00009", TaskBlocked { task, ..Default::default() }).await;
    let left = br#"{"holders":[{"task":"VTID-00009","run":1,"since":0}]}"#;
    world.bucket(SLOT_BUCKET).put("repository.shop", left).await.unwrap();
    world.start();
    world.register("VTID-00001", "", Priority::Normal).await;
    let started = tokio::time::Instant::now();
    // The log of the other task is not of the form that `told` reads.
    while !holders(&world, "repository.shop").await.contains(&"VTID-00001".to_owned()) {
        assert!(started.elapsed() < Duration::from_secs(120));
        world.pass(1).await;
    }
}

/// A crash between any two operations: what is due follows from state and input.
#[tokio::test(start_paused = true)]
async fn s4_sp5_a_dispatcher_that_is_killed_again_and_again_keeps_the_limit_and_loses_nothing() {
    let clock = paused_clock();
    let broker = memory(&clock);
    let slow = Watched::new(broker.clone(), Duration::from_millis(1));
    let mut world = World::on(Arc::new(broker), clock, limited(2, None));
    let slow: Arc<dyn Broker> = Arc::new(slow);
    for n in 1..=12 {
        world.register(&format!("VTID-{n:05}"), "", Priority::Normal).await;
    }
    let mut lives = 0;
    loop {
        // Ever other lengths of life, from before it has begun on.
        let process = crate::world::start(&slow, &world.clock, &world.settings);
        tokio::time::sleep(Duration::from_millis(30 + lives * 7 % 101)).await;
        drop(process);
        lives += 1;
        let told = world.told().await;
        assert!(told.most <= 2, "{told:?}");
        if told.ended.len() == 12 {
            break;
        }
        if lives % 5 == 0 {
            for order in told.active.values() {
                world.release(order).await;
            }
        }
        // What it had been given comes again.
        world.pass(31).await;
        assert!(lives < 2_000, "{told:?}");
    }
    assert!(lives > 20, "{lives}");
    world.start();
    world.pass(60).await;
    assert!(holders(&world, "repository.shop").await.is_empty());
    assert!(world.bucket(QUEUE_BUCKET).entries().await.unwrap().is_empty());
}

/// A retry waits for room like any other run, and a cancelled task that waits is let in never.
#[tokio::test(start_paused = true)]
async fn s1_ops_2_a_retry_waits_and_a_cancel_takes_a_task_out_of_the_queue() {
    let mut world = World::new(limited(1, None));
    world.start();
    for task in ["VTID-00001", "VTID-00002", "VTID-00003"] {
        world.register(task, "", Priority::Normal).await;
        world
            .until("it is scheduled", |told| {
                told.active.contains_key(task) || told.pending.contains_key(task)
            })
            .await;
    }
    let cancel =
        |task: &str| CancelRequested { task: task.into(), run: 1, actor: "ada".into(), ..Default::default() };
    world.say("VTID-00002", cancel("VTID-00002")).await;
    let told = world.until("it is cancelled", |told| told.ended.len() == 1).await;
    assert!(matches!(told.ended["VTID-00002"], DispatcherEvent::TaskCancelled(_)));
    world.pass(2).await;
    assert_eq!(world.bucket(QUEUE_BUCKET).entries().await.unwrap().len(), 1);
    world.say("VTID-00002", RetryRequested { task: "VTID-00002".into(), run: 1, ..Default::default() }).await;
    let told = world.until("it waits again", |told| told.pending.contains_key("VTID-00002")).await;
    assert_eq!(told.pending["VTID-00002"], "repository shop has 1 of 1 runs under way");
    world.release(&told.active["VTID-00001"]).await;
    let told = world.until("the next one", |told| told.let_in.len() == 2).await;
    assert_eq!(told.active(), ["VTID-00003"]);
    world.release(&told.active["VTID-00003"]).await;
    let told = world.until("the retry", |told| told.let_in.len() == 3).await;
    let runs: BTreeMap<_, _> =
        told.active.iter().map(|(task, order)| (task.as_str(), order.task.as_ref().unwrap().run)).collect();
    assert_eq!(runs, BTreeMap::from([("VTID-00002", 2)]));
}
