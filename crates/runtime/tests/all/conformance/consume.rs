use std::collections::BTreeSet;
use std::time::Duration;

use millrace_runtime::broker::Consumer;

use super::world::{ACK_WAIT, BOUND, World, fetch_nothing, fetch_one, fetch_some};

pub(super) async fn what_is_acknowledged_does_not_come_back(world: &World) {
    let consumer = world.consumer("hasty").await;
    let _ = world.log("test.log.a", "1").await;
    let _ = world.log("test.log.a", "2").await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        for delivery in fetch_some(consumer.as_ref(), 10).await {
            delivery.acknowledge().await.unwrap();
            seen.push(delivery.message().sequence);
        }
    }
    assert_eq!(seen, [1, 2]);
    fetch_nothing(consumer.as_ref(), 2 * ACK_WAIT).await;
}

pub(super) async fn a_fetch_comes_back_with_what_there_is(world: &World) {
    let consumer = world.consumer("patient").await;
    fetch_nothing(consumer.as_ref(), Duration::from_millis(20)).await;
    // Far below the batch and far before the end of the wait.
    let late = async {
        tokio::task::yield_now().await;
        world.log("test.log.a", "late").await
    };
    let fetching = tokio::time::timeout(BOUND, consumer.fetch(100, 10 * BOUND));
    let (fetched, _) = tokio::join!(fetching, late);
    assert_eq!(fetched.expect("the fetch comes back early").unwrap().len(), 1);
    // What comes while nobody fetches is not lost either.
    let _ = world.log("test.log.a", "between").await;
    assert_eq!(fetch_one(consumer.as_ref()).await.message().payload, b"between");
}

pub(super) async fn what_is_given_back_comes_after_the_delay(world: &World) {
    let delay = Duration::from_millis(700);
    let consumer = world.consumer("patient").await;
    let _ = world.log("test.log.a", "1").await;
    let first = fetch_one(consumer.as_ref()).await;
    let given_back = world.clock.now();
    first.give_back(delay).await.unwrap();
    let again = fetch_one(consumer.as_ref()).await;
    assert_eq!(again.message().sequence, first.message().sequence);
    assert!(world.clock.now().since(given_back) >= delay, "too early");
    again.give_back(Duration::ZERO).await.unwrap();
    let at_once = fetch_one(consumer.as_ref()).await;
    assert_eq!(at_once.message().sequence, first.message().sequence);
}

pub(super) async fn what_is_not_answered_comes_again(world: &World) {
    let consumer = world.consumer("hasty").await;
    let _ = world.log("test.log.a", "1").await;
    let first = fetch_one(consumer.as_ref()).await;
    let sequence = first.message().sequence;
    drop(first);
    assert_eq!(fetch_one(consumer.as_ref()).await.message().sequence, sequence);
}

pub(super) async fn work_in_progress_is_not_delivered_again(world: &World) {
    let _ = world.log("test.log.a", "1").await;
    let consumer = world.consumer("hasty").await;
    let mut delivery = fetch_one(consumer.as_ref()).await;
    // A machine that stands still for too long between two signs proves nothing: then once more.
    'round: for _ in 0..5 {
        let mut last_sign = world.clock.now();
        for _ in 0..8 {
            delivery.in_progress().await.unwrap();
            let came = consumer.fetch(1, ACK_WAIT / 4).await.unwrap();
            let pause = world.clock.now().since(last_sign);
            last_sign = world.clock.now();
            if let Some(again) = came.into_iter().next() {
                assert!(pause >= ACK_WAIT / 2, "delivered again {pause:?} after a sign of work");
                delivery = again;
                continue 'round;
            }
        }
        return;
    }
    panic!("the machine stands still again and again");
}

pub(super) async fn a_late_acknowledgement_counts(world: &World) {
    let consumer = world.consumer("hasty").await;
    let _ = world.log("test.log.a", "1").await;
    let first = fetch_one(consumer.as_ref()).await;
    let second = fetch_one(consumer.as_ref()).await;
    assert_eq!(first.message().sequence, second.message().sequence);
    first.acknowledge().await.unwrap();
    fetch_nothing(consumer.as_ref(), 2 * ACK_WAIT).await;
}

pub(super) async fn several_fetchers_share_a_consumer(world: &World) {
    const MESSAGES: usize = 60;
    let (one, two) = (world.consumer("patient").await, world.consumer("patient").await);
    for number in 0..MESSAGES {
        let _ = world.log("test.log.a", &number.to_string()).await;
    }
    let (mut seen, mut deliveries) = (BTreeSet::new(), 0);
    while seen.len() < MESSAGES {
        let (from_one, from_two) = tokio::join!(some(one.as_ref(), 7), some(two.as_ref(), 3));
        for sequence in from_one.into_iter().chain(from_two) {
            seen.insert(sequence);
            deliveries += 1;
        }
    }
    assert_eq!(deliveries, MESSAGES, "every message goes to one of them");
}

async fn some(consumer: &dyn Consumer, limit: usize) -> Vec<u64> {
    let deliveries = consumer.fetch(limit, Duration::from_millis(50)).await.unwrap();
    assert!(deliveries.len() <= limit);
    let mut sequences = Vec::new();
    for delivery in deliveries {
        delivery.acknowledge().await.unwrap();
        sequences.push(delivery.message().sequence);
    }
    sequences
}

pub(super) async fn open_deliveries_are_limited(world: &World) {
    let consumer = world.consumer("narrow").await;
    for number in 0..6 {
        let _ = world.log("test.log.a", &number.to_string()).await;
    }
    let mut open = Vec::new();
    while open.len() < 4 {
        open.extend(fetch_some(consumer.as_ref(), 10).await);
    }
    fetch_nothing(consumer.as_ref(), Duration::from_millis(100)).await;
    open[0].acknowledge().await.unwrap();
    let next = fetch_some(consumer.as_ref(), 10).await;
    let sequences: Vec<u64> = next.iter().map(|delivery| delivery.message().sequence).collect();
    assert_eq!(sequences, [5]);
}

pub(super) async fn a_dropped_fetch_loses_nothing(world: &World) {
    const MESSAGES: usize = 40;
    let consumer = world.consumer("patient").await;
    let mut seen = BTreeSet::new();
    for number in 0..MESSAGES {
        let _ = world.log("test.log.a", &number.to_string()).await;
        // Whichever is first; the loser is dropped in the middle of what it does.
        tokio::select! {
            biased;
            fetched = consumer.fetch(3, BOUND) => {
                for delivery in fetched.unwrap() {
                    delivery.acknowledge().await.unwrap();
                    seen.insert(delivery.message().sequence);
                }
            }
            () = yield_a_few_times(number % 7) => {}
        }
    }
    // The consumer's acknowledgement time is longer than this: what was lost would not come.
    while seen.len() < MESSAGES {
        for delivery in fetch_some(consumer.as_ref(), 10).await {
            delivery.acknowledge().await.unwrap();
            seen.insert(delivery.message().sequence);
        }
    }
}

async fn yield_a_few_times(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}
