//! What the projector says in its own log.

use std::sync::Arc;
use std::time::Duration;

use millrace_decider::Cause;
use millrace_events::{Log, v1};
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::Broker;
use millrace_runtime::clock::{Clock, System};
use millrace_runtime::memory::{ManualClock, MemoryBroker};
use millrace_testkit::eventually;

use super::support::{BOUND, World, acknowledged, append, scheduled};

/// Names of the projector's events, in order.
async fn said(world: &World) -> Vec<String> {
    let stream = Log::Projector.stream(0);
    let messages = world.broker.read(&stream, None, 1, 100).await.unwrap();
    let names = messages.iter().map(|message| {
        let envelope = millrace_events::Envelope::decode(&message.payload).unwrap();
        format!("{} {}", envelope.name(), envelope.key)
    });
    names.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_mon2_a_silent_active_task_is_noticed_once_after_ninety_minutes() {
    let clock = Arc::new(ManualClock::at(System.now()));
    let world = World::at(clock.clone(), Arc::new(System)).await;
    let running = world.start();
    let cause = world.append("VTID-00001", None, scheduled("VTID-00001")).await;
    world.wait_for(&cause).await;
    clock.advance(Duration::from_secs(89 * 60));
    // A waiting task is nobody's fault; it is there so that something is said about the other one only.
    let other = world.append("VTID-00002", None, scheduled("VTID-00002")).await;
    let waiting = v1::ApprovalRequired { task: super::support::about("VTID-00002"), ..Default::default() };
    let place = world.append("VTID-00002", Some(&other), waiting).await;
    world.wait_for(&place).await;
    assert!(said(&world).await.is_empty());

    clock.advance(Duration::from_secs(5 * 60));
    let notice = Cause::new(Log::Projector.stream(0), 1);
    world.wait_for(&notice).await;
    // Sweep upon sweep says nothing new, until something happens and silence falls again.
    clock.advance(Duration::from_secs(5 * 60));
    let again = world.append("VTID-00001", Some(&cause), acknowledged("VTID-00001")).await;
    world.wait_for(&again).await;
    clock.advance(Duration::from_secs(180 * 60));
    world.wait_for(&Cause::new(Log::Projector.stream(0), 2)).await;
    running.stop().await;
    assert_eq!(said(&world).await, ["OverdueNoticed VTID-00001", "OverdueNoticed VTID-00001"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_stream_that_lost_events_is_said_once_and_left_alone() {
    let mut world = World::new().await;
    let running = world.start();
    let first = world.append("VTID-00001", None, scheduled("VTID-00001")).await;
    let last = world.append("VTID-00002", None, scheduled("VTID-00002")).await;
    world.wait_for(&last).await;
    running.stop().await;

    // The broker comes back from an old copy: its last event is gone.
    let old = MemoryBroker::new(Arc::new(System), &Declared::of(&Installation::default()));
    let message = world.broker.get(&first.stream, 1).await.unwrap().unwrap();
    let append_again = millrace_runtime::broker::Append::new(first.stream, message.subject, message.payload);
    let _ = old.append(&append_again.content_type("application/cloudevents+protobuf")).await.unwrap();
    world.broker = old;
    for round in 0..2 {
        if round == 1 {
            // It grows again, past what the ledger has, with other events.
            for task in ["VTID-00003", "VTID-00004", "VTID-00005"] {
                append(&world.broker, task, None, scheduled(task)).await;
            }
        }
        let running = world.start();
        let mut status = running.projector.status();
        let lost = status.wait_for(|status| status.regressed.contains("MILLRACE_DISPATCHER_0"));
        let _ = tokio::time::timeout(BOUND, lost).await.expect("it is noticed").unwrap();
        assert!(!running.projector.status().borrow().is_healthy());
        eventually!(BOUND, said(&world).await == ["LedgerRegressed dispatcher"]);
        // The other logs go on, also where they build on what was lost.
        let built = Cause::new("MILLRACE_DISPATCHER_0", if round == 0 { 2 } else { 4 });
        let place = append(&world.broker, "VTID-00002", Some(&built), acknowledged("VTID-00002")).await;
        world.wait_for(&place).await;
        running.stop().await;
    }
    assert_eq!(said(&world).await, ["LedgerRegressed dispatcher"]);
    assert_eq!(world.ledger.applied().await.unwrap()["MILLRACE_DISPATCHER_0"], 2, "left alone");
    let failures = world.ledger.list_failures(&Default::default(), 10, None).await.unwrap().items;
    assert_eq!(failures[0].code, "LEDGER_REGRESSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_hole_inside_a_stream_is_a_loss_too() {
    let world = World::new().await;
    let running = world.start();
    let first = world.append("VTID-00001", None, scheduled("VTID-00001")).await;
    world.wait_for(&first).await;
    running.stop().await;
    let _ = world.append("VTID-00002", None, scheduled("VTID-00002")).await;
    let _ = world.append("VTID-00003", None, scheduled("VTID-00003")).await;
    world.broker.purge_subject(&first.stream, "millrace.dispatcher.0.VTID-00002").await.unwrap();
    let running = world.start();
    eventually!(BOUND, said(&world).await == ["LedgerRegressed dispatcher"]);
    eventually!(BOUND, !running.projector.status().borrow().is_healthy());
    running.stop().await;
    assert_eq!(world.ledger.applied().await.unwrap()[&first.stream], 1, "nothing is applied over the hole");
}
