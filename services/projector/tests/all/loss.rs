//! Loss is noticed: streams that are behind the ledger or are not what it remembers, a server that is not as
//! declared; and the way back (S4-FUND-01, I5).

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use millrace_events::{Envelope, Event, Log, ProjectorEvent, Service, v1};
use millrace_ledger::{append_missing, survey, verify};
use millrace_projector::adapters::{BrokerReader, BrokerWriter};
use millrace_runtime::bootstrap::{Declared, Installation, StreamDeclaration};
use millrace_runtime::broker::Broker;
use millrace_testkit::eventually;

use super::support::{BOUND, World, acknowledged, append, scheduled};
use super::watched::Watched;

const STREAM: &str = "MILLRACE_DISPATCHER_0";

/// What the projector has said about logs, in order.
async fn alarms(world: &World) -> Vec<ProjectorEvent> {
    let messages = world.broker.read(&Log::Projector.stream(0), None, 1, 100).await.unwrap();
    let events = messages.iter().map(|message| Envelope::decode(&message.payload).unwrap().event().unwrap());
    events
        .map(|event| match event {
            Some(Event::Projector(event)) => event,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// The same as `Name log`.
async fn said(world: &World) -> Vec<String> {
    let named = alarms(world).await.into_iter().map(|event| match event {
        ProjectorEvent::LedgerRegressed(event) => format!("LedgerRegressed {}", event.log),
        ProjectorEvent::LogDiffers(event) => format!("LogDiffers {}", event.log),
        ProjectorEvent::LogRecovered(event) => format!("LogRecovered {}", event.log),
        other => panic!("{other:?}"),
    });
    named.collect()
}

/// Writes back what the ledger has, as `millrace ledger reseed` does.
async fn reseed(world: &World, stream: &str) -> u64 {
    let broker: Arc<dyn Broker> = Arc::new(world.broker.clone());
    let found = survey(&world.ledger, &BrokerReader::new(broker.clone()), stream).await.unwrap();
    assert_eq!(found.diverged, []);
    let writer = BrokerWriter::new(broker);
    append_missing(&world.ledger, &writer, &found, &mut |_| {}).await.unwrap()
}

/// Six tasks, scheduled and acknowledged, all in the ledger.
async fn filled() -> World {
    let world = World::new().await;
    let running = world.start();
    fill(&world, 1..=6).await;
    running.stop().await;
    world
}

async fn fill(world: &World, tasks: std::ops::RangeInclusive<u32>) {
    let mut last = None;
    for number in tasks {
        let task = format!("VTID-{number:05}");
        let cause = world.append(&task, None, scheduled(&task)).await;
        last = Some(world.append(&task, Some(&cause), acknowledged(&task)).await);
    }
    world.wait_for(&last.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_fund_01_a_stream_restored_from_an_old_copy_is_noticed_reseeded_and_followed_again() {
    let world = filled().await;
    world.broker.roll_back(STREAM, 2);
    let running = world.start();
    eventually!(BOUND, said(&world).await == ["LedgerRegressed dispatcher"]);
    let ProjectorEvent::LedgerRegressed(event) = alarms(&world).await.remove(0) else { panic!() };
    assert_eq!((event.ledger_sequence, event.stream_sequence), (6, 2));
    let failure = event.failure.unwrap();
    assert!(failure.message.contains("4 events are missing, 3 to 6"), "{}", failure.message);
    assert_eq!(failure.context["tasks"], "VTID-00003, VTID-00004, VTID-00005, VTID-00006");
    // Written back while everything runs; a second time there is nothing to do.
    assert_eq!((reseed(&world, STREAM).await, reseed(&world, STREAM).await), (4, 0));
    eventually!(BOUND, said(&world).await == ["LedgerRegressed dispatcher", "LogRecovered dispatcher"]);
    // Followed again without a restart.
    fill(&world, 7..=8).await;
    eventually!(BOUND, running.projector.status().borrow().is_healthy());
    running.stop().await;
    let reader = BrokerReader::new(Arc::new(world.broker.clone()));
    assert_eq!(verify(&world.ledger, &reader).await.unwrap().difference, None);
    assert_eq!(world.ledger.last_row().await.unwrap(), 2 * 8 + 2, "each event once, and the two notices");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reseed_that_was_cut_short_goes_on_and_nobody_else_may_write_meanwhile() {
    let world = filled().await;
    world.broker.roll_back(STREAM, 1);
    let broker: Arc<dyn Broker> = Arc::new(world.broker.clone());
    let (reader, writer) = (BrokerReader::new(broker.clone()), BrokerWriter::new(broker));
    let found = survey(&world.ledger, &reader, STREAM).await.unwrap();
    assert_eq!(found.lacking(), Some((2, 6)));
    // Killed after two of the five.
    let half = millrace_ledger::Survey { ledger: 3, ..found.clone() };
    assert_eq!(append_missing(&world.ledger, &writer, &half, &mut |_| {}).await.unwrap(), 2);
    assert_eq!(reseed(&world, STREAM).await, 3);
    // A stranger's event between the survey and the writing is noticed.
    world.broker.roll_back(STREAM, 1);
    append(&world.broker, "VTID-00090", None, scheduled("VTID-00090")).await;
    let error = append_missing(&world.ledger, &writer, &found, &mut |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("somebody else writes"), "{error}");
    let found = survey(&world.ledger, &reader, STREAM).await.unwrap();
    assert_eq!(found.diverged.first().map(|diverged| (diverged.sequence, diverged.holds)), Some((2, true)));
    assert!(!found.is_whole() && !found.goes_on());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_grew_again_with_other_events_is_noticed_while_it_runs() {
    let world = World::new().await;
    let running = world.start();
    fill(&world, 1..=6).await;
    world.broker.roll_back(STREAM, 4);
    for task in ["VTID-00091", "VTID-00092", "VTID-00093"] {
        append(&world.broker, task, None, scheduled(task)).await;
    }
    eventually!(BOUND, said(&world).await == ["LedgerRegressed dispatcher"]);
    running.stop().await;
    assert_eq!(world.ledger.applied().await.unwrap()[STREAM], 6, "none of the others is applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_changed_or_unreadable_old_message_is_found_by_the_scan() {
    let world = World::new().await;
    let running = world.start();
    fill(&world, 1..=6).await;
    let kept = world.broker.get(STREAM, 2).await.unwrap().unwrap().payload;
    for payload in [Some(b"changed".to_vec()), None] {
        // Put right by hand, which a server does not let anybody do: only then is it well again.
        let before = said(&world).await.len();
        world.broker.tamper(STREAM, 2, payload.clone());
        eventually!(BOUND, said(&world).await.len() == before + 1);
        let ProjectorEvent::LedgerRegressed(event) = alarms(&world).await.remove(before) else { panic!() };
        assert!(event.failure.unwrap().message.starts_with("MILLRACE_DISPATCHER_0:2 "));
        // Neither sweeps nor a restart take it for mended.
        let restarted = world.start();
        eventually!(BOUND, restarted.projector.status().borrow().regressed.contains(STREAM));
        restarted.stop().await;
        assert_eq!(said(&world).await.len(), before + 1);
        if payload.is_some() {
            world.broker.tamper(STREAM, 2, Some(kept.clone()));
            eventually!(BOUND, said(&world).await.len() == before + 2);
        }
    }
    running.stop().await;
    assert_eq!(
        said(&world).await,
        ["LedgerRegressed dispatcher", "LogRecovered dispatcher", "LedgerRegressed dispatcher"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_deleted_stream_is_a_loss_until_it_is_made_and_written_again() {
    let world = World::new().await;
    let running = world.start();
    fill(&world, 1..=3).await;
    world.broker.delete_stream(STREAM);
    eventually!(BOUND, said(&world).await == ["LedgerRegressed dispatcher"]);
    world.broker.declare(&Declared::of(&Installation::default()));
    assert_eq!(reseed(&world, STREAM).await, 3);
    eventually!(BOUND, said(&world).await.last().is_some_and(|last| last == "LogRecovered dispatcher"));
    // Its consumers are new and begin at the start: what they bring again changes nothing.
    fill(&world, 4..=5).await;
    running.stop().await;
    assert_eq!(world.ledger.applied().await.unwrap()[STREAM], 5);
    let reader = BrokerReader::new(Arc::new(world.broker.clone()));
    assert_eq!(verify(&world.ledger, &reader).await.unwrap().difference, None);
}

/// F13: a server that is stopped in order says that its streams are missing before it ends its connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_missing_at_one_look_is_not_lost_and_at_two_in_a_row_it_is() {
    let world = filled().await;
    let watched = Watched::new(&world.broker);
    // From the start to the end of the first sweep; after that at single ones.
    watched.missing.store(true, SeqCst);
    let running = world.start_on(Arc::new(watched.clone()));
    for _ in 0..5 {
        watched.sweeps(3).await;
        assert_eq!(said(&world).await, Vec::<String>::new());
        eventually!(BOUND, running.projector.status().borrow().is_healthy());
        watched.away.store(1, SeqCst);
        eventually!(BOUND, watched.away.load(SeqCst) == 0);
    }
    watched.sweeps(3).await;
    assert_eq!(said(&world).await, Vec::<String>::new());
    fill(&world, 7..=8).await;
    watched.away.store(2, SeqCst);
    eventually!(BOUND, said(&world).await == ["LedgerRegressed dispatcher", "LogRecovered dispatcher"]);
    fill(&world, 9..=10).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_proven_a_page_at_a_time_and_keeps_no_other_alarm_waiting() {
    let world = World::new().await;
    let watched = Watched::new(&world.broker);
    let running = world.start_scanning(Arc::new(watched.clone()), 3);
    fill(&world, 1..=100).await;
    let kept = world.broker.get(STREAM, 90).await.unwrap().unwrap().payload;
    world.broker.tamper(STREAM, 90, Some(b"changed".to_vec()));
    eventually!(BOUND, said(&world).await == ["LedgerRegressed dispatcher"]);
    // While it stands the known place is looked at, and nothing is read.
    watched.sweeps(1).await;
    watched.most_read.store(0, SeqCst);
    world.broker.roll_back(&Log::Worker.stream(0), 90);
    eventually!(BOUND, said(&world).await == ["LedgerRegressed dispatcher", "LedgerRegressed worker"]);
    watched.sweeps(5).await;
    assert_eq!(watched.most_read.load(SeqCst), 0);
    world.broker.tamper(STREAM, 90, Some(kept));
    eventually!(BOUND, said(&world).await.last().is_some_and(|last| last == "LogRecovered dispatcher"));
    let most = watched.most_read.load(SeqCst);
    assert!((1..=33).contains(&most), "{most} at a sweep");
    // A restart while it stands takes nothing for mended before all is proven.
    world.broker.tamper(STREAM, 90, Some(b"changed".to_vec()));
    eventually!(BOUND, said(&world).await.len() == 4);
    running.stop().await;
    let running = world.start_scanning(Arc::new(watched.clone()), 3);
    watched.sweeps(10).await;
    running.stop().await;
    assert_eq!(said(&world).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_has_recovered_when_neither_a_loss_nor_a_difference_stands_any_more() {
    let world = filled().await;
    let running = world.start();
    let declared = Declared::of(&Installation::default());
    let dispatcher = declared.streams.iter().find(|stream| stream.name == STREAM).unwrap();
    let forgetful = StreamDeclaration { max_age: Some(Duration::from_secs(3_600)), ..dispatcher.clone() };
    let mut expected = vec!["LogDiffers dispatcher", "LedgerRegressed dispatcher", "LogDiffers dispatcher"];
    world.broker.reconfigure(forgetful.clone());
    eventually!(BOUND, said(&world).await == expected[..1]);
    world.broker.roll_back(STREAM, 4);
    eventually!(BOUND, said(&world).await == expected[..2]);
    assert_eq!(reseed(&world, STREAM).await, 2);
    eventually!(BOUND, said(&world).await == expected);
    world.broker.reconfigure(dispatcher.clone());
    expected.push("LogRecovered dispatcher");
    eventually!(BOUND, said(&world).await == expected);
    // The other way round: the difference is mended first.
    world.broker.reconfigure(forgetful);
    world.broker.roll_back(STREAM, 4);
    eventually!(BOUND, said(&world).await.last().is_some_and(|last| last == expected[1]));
    world.broker.reconfigure(dispatcher.clone());
    let before = said(&world).await.len();
    let watched = Watched::new(&world.broker);
    let other = world.start_on(Arc::new(watched.clone()));
    watched.sweeps(5).await;
    other.stop().await;
    assert_eq!(said(&world).await.len(), before);
    assert_eq!(reseed(&world, STREAM).await, 2);
    eventually!(BOUND, said(&world).await.len() == before + 1);
    running.stop().await;
    assert_eq!(said(&world).await.last().unwrap(), "LogRecovered dispatcher");
}

/// Held deliveries are no loss: it is said in the status, and nothing stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_holds_most_of_what_it_may_is_noticed() {
    let mut declared = Declared::of(&Installation::default());
    declared.consumers.iter_mut().for_each(|consumer| consumer.max_ack_pending = 10);
    let world = World::declaring(declared).await;
    let running = world.start();
    fill(&world, 1..=9).await;
    let consumer = world.broker.consumer(STREAM, Service::Worker.durable()).await.unwrap();
    let held = consumer.fetch(8, BOUND).await.unwrap();
    let watched = Watched::new(&world.broker);
    let other = world.start_on(Arc::new(watched.clone()));
    watched.sweeps(2).await;
    assert!(other.projector.status().borrow().crowded.is_empty(), "eight of ten are 80 %");
    let last = consumer.fetch(1, BOUND).await.unwrap();
    let crowded = || other.projector.status().borrow().crowded.clone();
    eventually!(BOUND, !crowded().is_empty());
    assert_eq!(crowded()["MILLRACE_DISPATCHER_0 > worker"], "holds 9 of 10");
    assert!(other.projector.status().borrow().is_healthy());
    for delivery in held.iter().chain(&last) {
        delivery.acknowledge().await.unwrap();
    }
    eventually!(BOUND, crowded().is_empty());
    other.stop().await;
    running.stop().await;
    assert_eq!(said(&world).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_stream_and_a_deleted_consumer_of_any_service_are_said_once_and_taken_back() {
    let world = World::new().await;
    let running = world.start();
    let declared = Declared::of(&Installation::default());
    let worker = declared.streams.iter().find(|stream| stream.name == Log::Worker.stream(0)).unwrap();
    let forgetful = StreamDeclaration { max_age: Some(Duration::from_secs(3_600)), ..worker.clone() };
    world.broker.reconfigure(forgetful);
    eventually!(BOUND, said(&world).await == ["LogDiffers worker"]);
    world.broker.delete_consumer(&Log::Worker.stream(0), Service::Dispatcher.durable());
    eventually!(BOUND, said(&world).await.len() == 2);
    let ProjectorEvent::LogDiffers(v1::LogDiffers { differences, .. }) = alarms(&world).await.remove(1)
    else {
        panic!()
    };
    let expected = "MILLRACE_WORKER_0 > dispatcher does not exist".to_owned();
    assert!(differences.len() == 2 && differences.contains(&expected), "{differences:?}");
    world.broker.declare(&declared);
    world.broker.reconfigure(worker.clone());
    eventually!(BOUND, said(&world).await.last().is_some_and(|last| last == "LogRecovered worker"));
    // A bucket and deadlines, under the log of the service that needs them.
    world.broker.delete_stream("KV_MILLRACE_LEASES");
    world.broker.delete_stream(&Service::Deployer.timer_stream());
    eventually!(BOUND, {
        let said = said(&world).await;
        said.contains(&"LogDiffers deployer".to_owned())
            && said.iter().filter(|said| *said == "LogDiffers worker").count() >= 2
    });
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_projectors_own_log_is_written_back_before_anything_is_added_to_it() {
    let world = filled().await;
    world.broker.roll_back(STREAM, 2);
    let running = world.start();
    eventually!(BOUND, said(&world).await == ["LedgerRegressed dispatcher"]);
    let own = Log::Projector.stream(0);
    world.wait_for(&millrace_decider::Cause::new(&own, 1)).await;
    running.stop().await;
    world.broker.roll_back(&own, 0);
    let running = world.start();
    eventually!(BOUND, {
        said(&world).await
            == ["LedgerRegressed dispatcher", "LedgerRegressed projector", "LogRecovered projector"]
    });
    running.stop().await;
    let reader = BrokerReader::new(Arc::new(world.broker.clone()));
    let found = survey(&world.ledger, &reader, &own).await.unwrap();
    assert_eq!(found.diverged, [], "the first notice is the one that the ledger has");
}

/// An alarm that stands is not said again into a log that has forgotten it.
#[tokio::test(flavor = "multi_thread")]
async fn the_projectors_own_log_is_mended_at_the_first_look() {
    let world = filled().await;
    let watched = Watched::new(&world.broker);
    let running = world.start_on(Arc::new(watched.clone()));
    world.broker.delete_consumer(&Log::Worker.stream(0), Service::Dispatcher.durable());
    eventually!(BOUND, said(&world).await == ["LogDiffers worker"]);
    let own = Log::Projector.stream(0);
    world.wait_for(&millrace_decider::Cause::new(&own, 1)).await;
    let first = world.broker.get(&own, 1).await.unwrap();
    watched.empties_own.store(true, SeqCst);
    let expected = ["LogDiffers worker", "LedgerRegressed projector", "LogRecovered projector"];
    eventually!(BOUND, said(&world).await == expected);
    running.stop().await;
    let again = world.broker.get(&own, 1).await.unwrap();
    assert_eq!(again.unwrap().payload, first.unwrap().payload);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_changed_is_said_and_nothing_is_written_from_it() {
    let world = filled().await;
    world.ledger.execute_raw("DROP TRIGGER events_fixed").await.unwrap();
    let forged = "UPDATE events SET payload = x'00' WHERE stream = 'MILLRACE_DISPATCHER_0' AND sequence = 3";
    world.ledger.execute_raw(forged).await.unwrap();
    let guard = "CREATE TRIGGER events_fixed BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'no'); END";
    world.ledger.execute_raw(guard).await.unwrap();
    let running = world.start();
    eventually!(BOUND, said(&world).await == ["LogDiffers dispatcher"]);
    running.stop().await;
    // A restart does not take it back before the scan has been there again.
    let watched = Watched::new(&world.broker);
    let running = world.start_scanning(Arc::new(watched.clone()), 1);
    watched.sweeps(20).await;
    running.stop().await;
    assert_eq!(said(&world).await, ["LogDiffers dispatcher"]);
    let reader = BrokerReader::new(Arc::new(world.broker.clone()));
    let error = survey(&world.ledger, &reader, STREAM).await.unwrap_err();
    assert!(error.to_string().contains("the ledger itself was changed"), "{error}");
}
