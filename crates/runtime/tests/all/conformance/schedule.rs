use std::time::Duration;

use millrace_decider::Timestamp;
use millrace_runtime::broker::{Append, Schedule, Stored};

use super::world::{TIMERS, World, fetch_nothing, fetch_one};

const TIMER: &str = "test.timers.VTID-1.lease";
const DUE: &str = "test.due.VTID-1.lease";
/// Schedules know whole seconds only.
const SECOND: Duration = Duration::from_secs(1);

fn deadline(at: Timestamp, text: &str) -> Append {
    let schedule = Schedule { at, target: DUE.to_owned(), keep: Duration::from_secs(3_600) };
    Append::new(TIMERS, TIMER, text.as_bytes().to_vec()).content_type("text/plain").scheduled(schedule)
}

async fn arm(world: &World, at: Timestamp, text: &str) {
    let _ = world.broker.append(&deadline(at, text)).await.unwrap();
}

pub(super) async fn a_deadline_fires_once(world: &World) {
    let consumer = world.broker.consumer(TIMERS, "patient").await.unwrap();
    let at = world.clock.now() + SECOND;
    arm(world, at, "fired").await;
    let armed = world.broker.last(TIMERS, TIMER).await.unwrap().unwrap();
    assert_eq!(armed.header("Nats-Schedule-Target"), Some(DUE));
    assert_eq!(armed.header("Nats-Rollup"), Some("sub"));

    let delivery = fetch_one(consumer.as_ref()).await;
    assert!(world.clock.now() >= at, "fired too early");
    let Stored { subject, payload, headers, .. } = delivery.message().clone();
    assert_eq!((subject.as_str(), payload.as_slice()), (DUE, b"fired".as_slice()));
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("Content-Type", "text/plain"),
        ("Nats-Schedule-Next", "purge"),
        ("Nats-Scheduler", TIMER),
        ("Nats-TTL", "3600s"),
    ];
    assert_eq!(headers, expected);
    delivery.acknowledge().await.unwrap();
    fetch_nothing(consumer.as_ref(), 2 * SECOND).await;
    assert_eq!(world.broker.last(TIMERS, TIMER).await.unwrap(), None, "an armed deadline is left");
}

pub(super) async fn a_new_deadline_replaces_the_former(world: &World) {
    let consumer = world.broker.consumer(TIMERS, "patient").await.unwrap();
    let now = world.clock.now();
    arm(world, now + SECOND, "former").await;
    arm(world, now + 2 * SECOND, "new").await;
    let delivery = fetch_one(consumer.as_ref()).await;
    assert_eq!(delivery.message().payload, b"new");
    delivery.acknowledge().await.unwrap();
    fetch_nothing(consumer.as_ref(), SECOND).await;
}

pub(super) async fn a_deadline_in_the_past_fires_at_once(world: &World) {
    let consumer = world.broker.consumer(TIMERS, "patient").await.unwrap();
    arm(world, world.clock.now() - 60 * SECOND, "late").await;
    assert_eq!(fetch_one(consumer.as_ref()).await.message().payload, b"late");
}

pub(super) async fn a_purged_deadline_does_not_fire(world: &World) {
    let consumer = world.broker.consumer(TIMERS, "patient").await.unwrap();
    arm(world, world.clock.now() + SECOND, "cancelled").await;
    world.broker.purge_subject(TIMERS, TIMER).await.unwrap();
    assert_eq!(world.broker.last(TIMERS, TIMER).await.unwrap(), None);
    fetch_nothing(consumer.as_ref(), 3 * SECOND).await;
}
