//! More than there is room for: bounded, nothing lost. And nobody to do it, and logs that cannot be trusted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millrace_events::DispatcherEvent;
use millrace_events::catalogue::QUEUE_BUCKET;
use millrace_events::v1::*;
use millrace_runtime::kv::Kv;
use millrace_runtime::settings::Settings;

use crate::world::{Told, Watched, World, memory, paused_clock};

fn with(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings);
    settings
}

async fn register(world: &World, tasks: std::ops::RangeInclusive<u32>) {
    for n in tasks {
        world.register(&format!("VTID-{n:05}"), &format!("d{}", n % 5), Priority::Normal).await;
    }
}

fn scheduled(told: &Told) -> usize {
    told.active.len() + told.pending.len() + told.ended.len()
}

/// No more is on offer than the soft limit, and every order that is taken makes room for one.
#[tokio::test(start_paused = true)]
async fn offers_that_nobody_has_taken_yet_are_bounded() {
    let mut world = World::new(with(|settings| settings.dispatch.open_offers = 2));
    world.beat().await;
    world.start();
    register(&world, 1..=5).await;
    let told = world.until("all are scheduled", |told| scheduled(told) == 5).await;
    assert_eq!((told.active.len(), told.pending.len()), (2, 3));
    assert!(told.pending.values().all(|reason| reason.contains("2 runs are on offer")), "{:?}", told.pending);
    let first = told.active.values().next().unwrap();
    world.take(first).await;
    world.until("the next one", |told| told.active.len() == 3).await;
    world.pass(5).await;
    assert_eq!(world.told().await.active.len(), 3, "one for one");
}

/// An offer that nobody may take, because its run is paused, keeps no other waiting; offered again, it
/// counts again.
#[tokio::test(start_paused = true)]
async fn a_paused_offer_makes_room_until_the_resume() {
    const PAUSED: &str = "VTID-00001";
    let mut world = World::new(with(|settings| settings.dispatch.open_offers = 1));
    world.beat().await;
    world.start();
    register(&world, 1..=1).await;
    let told = world.until("it is on offer", |told| told.active.len() == 1).await;
    let first = told.active[PAUSED].id.clone();
    register(&world, 2..=2).await;
    world.until("another waits", |told| told.pending.len() == 1).await;
    world.say(PAUSED, PauseRequested { task: PAUSED.into(), run: 1, ..Default::default() }).await;
    let told = world.until("it is let in", |told| told.active.len() == 2).await;
    world.take(&told.active["VTID-00002"]).await;
    world.say(PAUSED, ResumeRequested { task: PAUSED.into(), run: 1, ..Default::default() }).await;
    world.until("it is offered again", |told| told.active[PAUSED].id != first).await;
    world.pass(5).await;
    register(&world, 3..=3).await;
    let told = world.until("a third is scheduled", |told| scheduled(told) == 3).await;
    assert!(told.pending["VTID-00003"].contains("1 runs are on offer"), "{:?}", told.pending);
}

/// Thousands at once. What waits is bounded, the rest stays in its log, everything is let in at last.
#[tokio::test(start_paused = true)]
async fn a_flood_is_bounded_and_nothing_of_it_is_lost() {
    const COUNT: u32 = 1_000;
    const WAITING: usize = 200;
    let mut world = World::new(with(|settings| {
        settings.dispatch.open_offers = 200;
        settings.dispatch.waiting = WAITING as u32;
        settings.limits.acknowledge = Duration::from_secs(24 * 3600);
        settings.limits.lease = Duration::from_secs(48 * 3600);
    }));
    world.start();
    register(&world, 1..=COUNT).await;
    let told = world.until("the queue is full", |told| told.pending.len() >= WAITING).await;
    assert_eq!(told.active.len(), 200);
    world.pass(20).await;
    let queued = world.bucket(QUEUE_BUCKET).entries().await.unwrap().len();
    // What was being decided when the queue became full may come on top.
    assert!((WAITING..WAITING + 256).contains(&queued), "{queued}");
    assert!(scheduled(&world.told().await) < WAITING + 200 + 256, "the rest stays in its log");
    // Workers come, and a crash in the middle.
    let mut taken = BTreeSet::new();
    let mut crashes = 0;
    while taken.len() < COUNT as usize {
        if taken.len() > 500 && crashes == 0 {
            crashes += 1;
            world.kill();
            world.start();
        }
        let told = world.told().await;
        for order in
            told.active.values().filter(|order| !taken.contains(&order.id)).cloned().collect::<Vec<_>>()
        {
            world.take(&order).await;
            taken.insert(order.id);
        }
        assert!(world.bucket(QUEUE_BUCKET).entries().await.unwrap().len() < WAITING + 256);
        world.pass(4).await;
    }
    let told = world.told().await;
    assert_eq!((told.active.len(), told.pending.len(), told.let_in.len()), (1_000, 0, 1_000));
}

/// Without any worker one task at a time is tried; the others wait, and go on as soon as one runs.
#[tokio::test(start_paused = true)]
async fn s2_g1_a_night_without_workers_blocks_few_tasks_and_a_worker_frees_the_rest() {
    let mut world = World::new(Settings::default());
    world.start();
    // These come while nobody knows yet that there is no worker.
    register(&world, 1..=10).await;
    world.until("all are on offer", |told| told.active.len() == 10).await;
    world.pass(60).await;
    register(&world, 11..=20).await;
    let told = world.until("all are scheduled", |told| scheduled(told) == 20).await;
    assert!(told.pending.values().all(|reason| reason == "no worker is running"), "{:?}", told.pending);
    // Each has its three tries of 30 s, with a pause after the first and the second, once it is the first.
    let mut blocked = vec![tokio::time::Instant::now() - Duration::from_secs(60)];
    while blocked.len() < 6 {
        world.until("the next one is blocked", |told| told.ended.len() == blocked.len()).await;
        blocked.push(tokio::time::Instant::now());
    }
    let gaps: Vec<u64> = blocked.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!(gaps.iter().all(|gap| (90..150).contains(gap)), "one after the other: {gaps:?}");
    let told = world.told().await;
    assert!(told.ended.values().all(|event| matches!(event, DispatcherEvent::TaskBlocked(_))));
    assert!(told.ended.contains_key("VTID-00001"), "the oldest first");
    world.beat().await;
    let told = world.until("the rest is on offer", |told| told.pending.is_empty()).await;
    assert_eq!(told.active.len(), 20 - told.ended.len());
}

/// While a log is under an alarm nothing is put on offer: neither a new run, nor the next order of one.
#[tokio::test(start_paused = true)]
async fn an_alarm_of_a_log_stops_dispatch_and_its_end_lets_everything_go_on() {
    let mut world = World::new(Settings::default());
    world.start();
    world.beat().await;
    register(&world, 1..=1).await;
    let told = world.until("it is on offer", |told| told.active.len() == 1).await;
    let order = told.active["VTID-00001"].clone();
    world.take(&order).await;
    let failure = Failure::new(millrace_events::Code::LedgerRegressed, "worker lost 7 events");
    let lost = LedgerRegressed { log: "worker".into(), failure: Some(failure), ..Default::default() };
    world.say("worker", lost).await;
    world.say("intake", LogDiffers { log: "intake".into(), ..Default::default() }).await;
    world.pass(1).await;
    let broken = ExecutionFailed {
        task: order.task.clone(),
        order: order.id.clone(),
        failure: Some(Failure::new(millrace_events::Code::CommandFailed, "exit code 1")),
        ..Default::default()
    };
    world.say("VTID-00001", broken).await;
    register(&world, 2..=2).await;
    let told = world.until("it waits", |told| told.pending.len() == 1).await;
    assert!(told.pending["VTID-00002"].starts_with("dispatch is stopped: "), "{:?}", told.pending);
    world.pass(120).await;
    assert_eq!(world.told().await.let_in.len(), 1);
    assert!(!world.told().await.names.contains(&"WorkOrderIssued"), "the next attempt is withheld");
    world.say("intake", LogRecovered { log: "intake".into(), ..Default::default() }).await;
    world.pass(60).await;
    assert_eq!(world.told().await.let_in.len(), 1, "the other alarm stands");
    // A dispatcher that is started meanwhile knows of it, although nobody tells it.
    world.kill();
    world.start();
    register(&world, 3..=3).await;
    let told = world.until("it waits", |told| told.pending.len() == 2).await;
    assert_eq!(told.pending["VTID-00003"], "dispatch is stopped: worker lost 7 events");
    world.say("worker", LogRecovered { log: "worker".into(), ..Default::default() }).await;
    let attempt = |told: &Told| told.active["VTID-00001"].task.as_ref().unwrap().attempt;
    let all = |told: &Told| told.active.len() == 3 && told.pending.is_empty() && attempt(told) == 2;
    let told = world.until("all go on", all).await;
    assert!(told.ended.is_empty());
}

/// Two dispatchers, one of which is told of an alarm: the other finds it.
#[tokio::test(start_paused = true)]
async fn an_alarm_reaches_every_dispatcher() {
    let mut world = World::new(Settings::default());
    world.beat().await;
    world.start();
    world.start();
    world.pass(1).await;
    world.say("worker", LogDiffers { log: "worker".into(), ..Default::default() }).await;
    world.pass(30).await;
    register(&world, 1..=30).await;
    let told = world.until("all are scheduled", |told| scheduled(told) == 30).await;
    assert!(told.active.is_empty());
}

/// Where nothing is limited, a task costs the broker what it did before: one look, one event, one deadline;
/// its end one event.
#[tokio::test(start_paused = true)]
async fn without_a_limit_nothing_more_is_asked_of_the_broker() {
    let clock = paused_clock();
    let counting = Arc::new(Watched::new(memory(&clock), Duration::ZERO));
    let mut world = World::on(counting.clone(), clock, Settings::default());
    world.start();
    world.pass(1).await;
    let before = counting.about_tasks.load(Ordering::SeqCst);
    register(&world, 1..=1).await;
    let told = world.until("it is on offer", |told| told.active.len() == 1).await;
    world.pass(1).await;
    assert_eq!(counting.about_tasks.load(Ordering::SeqCst) - before, 1 + 3, "the spec itself, and three");
    let before = counting.about_tasks.load(Ordering::SeqCst);
    world.release(&told.active["VTID-00001"]).await;
    world.until("it is complete", |told| told.ended.len() == 1).await;
    world.pass(1).await;
    assert_eq!(counting.about_tasks.load(Ordering::SeqCst) - before, 1 + 1, "the release itself, and one");
}
