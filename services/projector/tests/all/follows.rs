//! Following the logs.

use millrace_decider::{Cause, Timestamp};
use millrace_events::{Code, Log, Service, v1};
use millrace_ledger::{Status, verify};
use millrace_projector::adapters::BrokerReader;
use millrace_runtime::broker::Broker;
use millrace_runtime::clock::{Clock, System};
use millrace_runtime::memory::ManualClock;
use millrace_testkit::eventually;
use std::sync::Arc;
use std::time::Duration;

use super::support::{BOUND, World, about, acknowledged, scheduled};

const TASK: &str = "VTID-00001";

#[tokio::test(flavor = "multi_thread")]
async fn s2_v1_a_failure_is_visible_and_acknowledged_after_its_commit() {
    let clock = Arc::new(ManualClock::at(System.now()));
    let world = World::at(Arc::new(System), clock.clone()).await;
    // Before the start and after it: by reading, and by the consumer's ring.
    let cause = world.append(TASK, None, scheduled(TASK)).await;
    let running = world.start();
    world.wait_for(&cause).await;
    let failure = Some(v1::Failure::new(Code::ChecksFailed, "the check `test` failed"));
    let failed = v1::TaskFailed { task: about(TASK), failure, ..Default::default() };
    let place = world.append(TASK, Some(&cause), failed).await;
    world.wait_for(&place).await;
    let task = world.ledger.get_task(TASK).await.unwrap().unwrap();
    assert_eq!((task.status, task.failure_code.as_str()), (Status::Failed, "CHECKS_FAILED"));
    eventually!(BOUND, running.projector.status().borrow().is_healthy());
    assert!(running.projector.lag().await.unwrap().values().all(|behind| *behind == 0));

    // Everything is acknowledged in the end: nothing comes again however long one waits.
    let consumer = world.broker.consumer(&place.stream, Service::Projector.durable()).await.unwrap();
    eventually!(BOUND, {
        clock.advance(Duration::from_secs(31));
        consumer.fetch(10, Duration::ZERO).await.unwrap().is_empty()
    });
    running.stop().await;
    clock.advance(Duration::from_secs(31));
    assert!(consumer.fetch(10, Duration::ZERO).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_5_5_a_restart_goes_on_where_it_stopped() {
    let world = World::new().await;
    let mut last = None;
    for round in 0..3 {
        let running = world.start();
        for number in 0..20 {
            let task = format!("VTID-{:05}", round * 100 + number);
            let cause = world.append(&task, None, scheduled(&task)).await;
            last = Some(world.append(&task, Some(&cause), acknowledged(&task)).await);
        }
        // In the middle of it, on every round but the last.
        if round == 2 {
            world.wait_for(last.as_ref().unwrap()).await;
        }
        running.stop().await;
    }
    assert_eq!(world.ledger.last_row().await.unwrap(), 120, "each event once");
    let reader = BrokerReader::new(Arc::new(world.broker.clone()));
    assert_eq!(verify(&world.ledger, &reader).await.unwrap().difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_waits_for_a_slow_cause_and_not_for_an_impossible_one() {
    let world = World::new().await;
    let running = world.start();
    // The log `worker` stands in the way of nothing: its cause will never come.
    let nowhere = Cause::new(Log::Dispatcher.stream(0), 40);
    let place = world.append(TASK, Some(&nowhere), acknowledged(TASK)).await;
    let after = world.append("VTID-00002", None, acknowledged("VTID-00002")).await;
    world.wait_for(&place).await;
    world.wait_for(&after).await;
    running.stop().await;

    // A cause that is there is always applied first, whichever stream is read first: there and back.
    for number in 10..30 {
        let task = format!("VTID-{number:05}");
        let cause = world.append(&task, None, scheduled(&task)).await;
        let cause = world.append(&task, Some(&cause), acknowledged(&task)).await;
        let issued = v1::WorkOrderIssued { task: about(&task), ..Default::default() };
        let _ = world.append(&task, Some(&cause), issued).await;
    }
    let running = world.start();
    world.wait_for(&Cause::new(Log::Dispatcher.stream(0), 40)).await;
    for number in 10..30 {
        let rows = world.ledger.history(&format!("VTID-{number:05}")).await.unwrap();
        let names: Vec<_> = rows.iter().map(|row| row.event_type.as_str()).collect();
        assert_eq!(names, ["TaskScheduled", "WorkOrderAcknowledged", "WorkOrderIssued"]);
        assert!(rows.is_sorted_by_key(|row| row.id), "applied in another order: {rows:?}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_b2_a_ledger_that_fails_is_tried_again_and_nothing_is_lost() {
    let clock = Arc::new(ManualClock::at(System.now()));
    let world = World::at(Arc::new(System), clock.clone()).await;
    let running = world.start();
    let first = world.append(TASK, None, scheduled(TASK)).await;
    world.wait_for(&first).await;
    world.ledger.execute_raw("ALTER TABLE events RENAME COLUMN note TO note_lost").await.unwrap();
    let place = world.append(TASK, Some(&first), acknowledged(TASK)).await;
    let mut status = running.projector.status();
    let troubled = status.wait_for(|status| status.problems.contains_key("ledger"));
    let _ = tokio::time::timeout(BOUND, troubled).await.expect("health says so").unwrap();
    assert_eq!(world.ledger.applied().await.unwrap().get(&place.stream), None);
    // Nothing is acknowledged that is not in the ledger: the broker still has it to give.
    let consumer = world.broker.consumer(&place.stream, Service::Projector.durable()).await.unwrap();
    clock.advance(Duration::from_secs(31));
    assert_eq!(consumer.fetch(10, Duration::ZERO).await.unwrap().len(), 1);
    world.ledger.execute_raw("ALTER TABLE events RENAME COLUMN note_lost TO note").await.unwrap();
    world.wait_for(&place).await;
    eventually!(BOUND, running.projector.status().borrow().is_healthy());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_b2_two_projectors_share_a_ledger_and_apply_each_event_once() {
    let world = World::new().await;
    let (one, two) = (world.start(), world.start());
    let mut last = None;
    for number in 0..150 {
        let task = format!("VTID-{number:05}");
        let cause = world.append(&task, None, scheduled(&task)).await;
        last = Some(world.append(&task, Some(&cause), acknowledged(&task)).await);
    }
    world.wait_for(last.as_ref().unwrap()).await;
    one.stop().await;
    two.stop().await;
    assert_eq!(world.ledger.last_row().await.unwrap(), 300);
    let reader = BrokerReader::new(Arc::new(world.broker.clone()));
    assert_eq!(verify(&world.ledger, &reader).await.unwrap().difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_g9b_a_refused_transition_raises_the_alarm_and_the_rest_goes_on() {
    let world = World::new().await;
    let running = world.start();
    let cause = world.append(TASK, None, scheduled(TASK)).await;
    let place = world.append(TASK, Some(&cause), scheduled(TASK)).await;
    world.wait_for(&place).await;
    eventually!(BOUND, running.projector.status().borrow().mismatches == 1);
    let marked = world.ledger.marked_events(10).await.unwrap();
    assert_eq!((marked.len(), marked[0].mark.as_str()), (1, "STATE_MISMATCH"));
    assert!(marked[0].time > Timestamp::default());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_its_consumer_is_followed_all_the_same() {
    let world = World::without_consumers().await;
    let before = world.append(TASK, None, scheduled(TASK)).await;
    let running = world.start();
    world.wait_for(&before).await;
    let after = world.append(TASK, Some(&before), acknowledged(TASK)).await;
    world.wait_for(&after).await;
    running.stop().await;
}
