//! Dead letters: what could not be handled blocks nothing, and is read again when somebody asks for it.
//! S4-SP1, S4-EX1, F18.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_decider::Cause;
use millrace_events::v1::{DeadLetterReplayRequested, DeadLetterReplayed, DeadLettered};
use millrace_events::{CONTENT_TYPE_PROTOBUF, DeadLetterEvent, Envelope, Event, Key, Log, ValidatorEvent};
use millrace_runtime::broker::Append;
use tokio_util::sync::CancellationToken;

use crate::host::{
    BREAKS, FAILS, FOLLOWS_THE_PHASE, IS_EARLY, NEVER_WORKS, PANICS, PASSES, TAKES_LONG, WORKS, World,
};
use crate::through::{Fate, Through};

const SERVICE: &str = "validator";

/// The message at `sequence` of the deployer's log.
fn message(sequence: u64) -> Cause {
    Cause::new(Log::Deployer.stream(0), sequence)
}

/// Publishes what an operator asks for; its sequence.
async fn ask(world: &World, message: &Cause) -> u64 {
    ask_under(world, message, &Key::dead_letter(message, SERVICE)).await
}

async fn ask_under(world: &World, message: &Cause, key: &Key) -> u64 {
    let event: Event = DeadLetterReplayRequested {
        stream: message.stream.clone(),
        sequence: message.sequence,
        service: SERVICE.to_owned(),
        actor: "ada".to_owned(),
        reason: "mended".to_owned(),
    }
    .into();
    let envelope = Envelope::new("1", "/millrace/query", key.clone(), world.clock.now(), &event);
    let append = Append::new(Log::Operator.stream(0), Log::Operator.subject(key, 1), envelope.encode());
    let append = append.content_type(CONTENT_TYPE_PROTOBUF);
    world.broker.append(&append).await.unwrap().sequence
}

/// What is recorded about a message, in order: its sequence, the request that it answers, and the code of a
/// failure.
async fn records(world: &World) -> Vec<(u64, u64, Option<String>)> {
    let told = |event| match event {
        Event::DeadLetter(DeadLetterEvent::DeadLettered(DeadLettered {
            sequence, replay, failure, ..
        })) => (sequence, replay, Some(failure.unwrap().code_name())),
        Event::DeadLetter(DeadLetterEvent::DeadLetterReplayed(DeadLetterReplayed {
            sequence,
            replay,
            ..
        })) => (sequence, replay, None),
        other => panic!("{other:?}"),
    };
    world.log(Log::DeadLetter).await.into_iter().map(told).collect()
}

fn failed(sequence: u64, replay: u64, code: &str) -> (u64, u64, Option<String>) {
    (sequence, replay, Some(code.to_owned()))
}

fn phase(world: &World, phase: u32) {
    world.phase.store(phase, Ordering::SeqCst);
}

/// A message that leads to a dead letter at once.
async fn with_letter(world: &World) -> Cause {
    phase(world, FAILS);
    world.opened("VTID-0001", FOLLOWS_THE_PHASE).await;
    world.run_until(Log::DeadLetter, 1).await;
    assert_eq!(records(world).await, [failed(1, 0, "REPOSITORY_UNAVAILABLE")]);
    message(1)
}

async fn poison_between_good_messages_of_its_key_and_of_others_blocks_none(world: &World) {
    let tasks: Vec<String> = (1..=20).map(|number| format!("VTID-{number:04}")).collect();
    for task in &tasks {
        let key = Key::new(task).unwrap();
        world.raw(&key, b"not an envelope".to_vec()).await;
        world.opened(task, NEVER_WORKS).await;
        world.opened(task, PANICS).await;
        world.raw(&key, Vec::new()).await;
        world.opened(task, PASSES).await;
    }
    let events = world.run_until(Log::Validator, tasks.len()).await;
    let passed = |event: &&Event| matches!(event, Event::Validator(ValidatorEvent::ValidationPassed(_)));
    assert_eq!(events.iter().filter(passed).count(), tasks.len());
    let mut codes: Vec<String> = records(world).await.into_iter().filter_map(|(_, _, code)| code).collect();
    codes.sort();
    codes.dedup_by(|one, other| one == other);
    assert_eq!(records(world).await.len(), 4 * tasks.len());
    assert_eq!(codes, ["EVENT_INVALID", "INTERNAL", "PR_NOT_FOUND"]);
}

/// It fails again while nothing is mended, and afterwards goes the way that it would have gone.
async fn a_replay_after_the_fix_takes_the_normal_way(world: &World) {
    let letter = with_letter(world).await;
    let first = ask(world, &letter).await;
    world.run_until(Log::DeadLetter, 2).await;
    phase(world, WORKS);
    let second = ask(world, &letter).await;
    world.run_until(Log::DeadLetter, 3).await;
    let code = "REPOSITORY_UNAVAILABLE";
    assert_eq!(records(world).await, [failed(1, 0, code), failed(1, first, code), (1, second, None)]);
    // One key, and every record names what led to it: the message, then each request.
    let stored = world.broker.read(&Log::DeadLetter.stream(0), None, 1, 10).await.unwrap();
    let envelopes: Vec<Envelope> =
        stored.iter().map(|stored| Envelope::decode(&stored.payload).unwrap()).collect();
    let key = Key::dead_letter(&letter, SERVICE);
    assert!(envelopes.iter().all(|envelope| envelope.key == key), "{envelopes:?}");
    let request = |sequence| Some(Cause::new(Log::Operator.stream(0), sequence));
    let causes: Vec<Option<Cause>> = envelopes.into_iter().map(|envelope| envelope.cause).collect();
    assert_eq!(causes, [Some(letter.clone()), request(first), request(second)]);
    // The decision names the message, as if it had been delivered.
    let stored = world.broker.read(&Log::Validator.stream(0), None, 1, 10).await.unwrap();
    let envelope = Envelope::decode(&stored[0].payload).unwrap();
    assert_eq!((stored.len(), envelope.cause), (1, Some(letter)));
}

/// "Re-sending any operator event twice changes nothing."
async fn a_request_that_comes_again_changes_nothing(world: &World) {
    let letter = with_letter(world).await;
    phase(world, WORKS);
    let request = ask(world, &letter).await;
    world.run_until(Log::DeadLetter, 2).await;
    let performed = world.performed("VTID-0001");
    for _ in 0..3 {
        ask(world, &letter).await;
    }
    world.opened("VTID-0002", PASSES).await;
    world.run_until(Log::Validator, 2).await;
    let expected = [failed(1, 0, "REPOSITORY_UNAVAILABLE"), (1, request, None)];
    assert_eq!((records(world).await, world.performed("VTID-0001")), (expected.to_vec(), performed));
}

async fn a_replay_that_comes_too_early_is_held_like_any_message(world: &World) {
    let letter = with_letter(world).await;
    phase(world, IS_EARLY);
    let request = ask(world, &letter).await;
    let stop = CancellationToken::new();
    let watch = async {
        // Another message gets through meanwhile: what is held blocks nothing.
        world.opened("VTID-0002", PASSES).await;
        world.until(Log::Validator, 1).await;
        assert_eq!(records(world).await.len(), 1);
        phase(world, WORKS);
        world.until(Log::DeadLetter, 2).await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(world.host(&stop).run(), watch);
    ended.unwrap();
    assert_eq!(records(world).await[1], (1, request, None));
}

async fn a_panic_in_a_replay_is_the_replays(world: &World) {
    let letter = with_letter(world).await;
    phase(world, BREAKS);
    let request = ask(world, &letter).await;
    world.run_until(Log::DeadLetter, 2).await;
    assert_eq!(records(world).await[1], failed(1, request, "INTERNAL"));
    phase(world, WORKS);
    let request = ask(world, &letter).await;
    world.run_until(Log::DeadLetter, 3).await;
    assert_eq!(records(world).await[2], (1, request, None));
}

/// A replay waits for the messages of its key that are in flight, and sees what they decided.
async fn a_replay_does_not_run_beside_a_message_of_its_key(world: &World) {
    let letter = with_letter(world).await;
    phase(world, WORKS);
    let tried = world.performed("VTID-0001");
    world.opened("VTID-0001", TAKES_LONG).await;
    let stop = CancellationToken::new();
    let watch = async {
        while world.performed("VTID-0001") == tried {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let request = ask(world, &letter).await;
        world.until(Log::DeadLetter, 2).await;
        stop.cancel();
        request
    };
    let (ended, request) = tokio::join!(world.host(&stop).run(), watch);
    ended.unwrap();
    assert_eq!(records(world).await[1], (1, request, None));
    assert_eq!(world.performed("VTID-0001"), tried + 1, "the long one decided; the replay found it decided");
    let stored = world.broker.read(&Log::Validator.stream(0), None, 1, 10).await.unwrap();
    let causes: Vec<_> =
        stored.iter().map(|stored| Envelope::decode(&stored.payload).unwrap().cause.unwrap()).collect();
    assert_eq!(causes, [message(2)]);
}

async fn what_cannot_be_replayed_says_why_or_is_left_alone(world: &World) {
    // Letters that stand in the log, but not by this host: of a stream that it does not read, and of a
    // message that is gone.
    let foreign = Cause::new(Log::Intake.stream(0), 1);
    let gone = message(99);
    for place in [&foreign, &gone] {
        let event: Event = DeadLettered {
            stream: place.stream.clone(),
            sequence: place.sequence,
            service: SERVICE.to_owned(),
            ..DeadLettered::default()
        }
        .into();
        let key = Key::dead_letter(place, SERVICE);
        let envelope = Envelope::new("1", "/test", key.clone(), world.clock.now(), &event);
        let (stream, subject) = (Log::DeadLetter.stream(0), Log::DeadLetter.subject(&key, 1));
        let append = Append::new(stream, subject, envelope.encode()).content_type(CONTENT_TYPE_PROTOBUF);
        let _ = world.broker.append(&append).await.unwrap();
    }
    ask(world, &message(7)).await; // no dead letter at all
    let stray = ask_under(world, &gone, &Key::new("VTID-0001").unwrap()).await;
    let asked = [ask(world, &gone).await, ask(world, &foreign).await];
    world.run_until(Log::DeadLetter, 5).await;
    let mut sentences = Vec::new();
    for event in world.log(Log::DeadLetter).await.into_iter().skip(2) {
        let Event::DeadLetter(DeadLetterEvent::DeadLettered(letter)) = event else { panic!("{event:?}") };
        let failure = letter.failure.unwrap();
        assert_eq!(failure.code_name(), "EVENT_INVALID");
        sentences.push((letter.stream, letter.sequence, letter.replay, failure.message));
    }
    sentences.sort();
    let operator = Log::Operator.stream(0);
    assert_eq!(sentences.len(), 3, "{sentences:?}");
    assert_eq!((&sentences[0].0, sentences[0].2), (&gone.stream, asked[0]));
    assert!(sentences[0].3.contains("not in its stream any more"), "{sentences:?}");
    assert_eq!((&sentences[1].0, sentences[1].2), (&foreign.stream, asked[1]));
    assert!(sentences[1].3.contains("does not read the stream"), "{sentences:?}");
    assert_eq!((&sentences[2].0, sentences[2].1, sentences[2].2), (&operator, stray, 0));
}

/// The host dies after the message was handled and before that is recorded: the next one records it, and
/// does nothing a second time.
async fn a_crash_before_the_record_is_made_good(world: &World) {
    let letter = with_letter(world).await;
    phase(world, WORKS);
    let request = ask(world, &letter).await;
    let reached = Arc::new(AtomicBool::new(false));
    let seen = reached.clone();
    let dying = world.behind(Arc::new(Through::new(world.broker.clone(), move |append| {
        let is_record = append.stream == Log::DeadLetter.stream(0);
        seen.fetch_or(is_record, Ordering::SeqCst);
        if is_record { Fate::Hangs } else { Fate::Passes }
    })));
    let stop = CancellationToken::new();
    let dies = async {
        while !reached.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = dying.host(&stop).run() => panic!("it does not end by itself"),
        () = dies => {}
    }
    assert_eq!((world.log(Log::Validator).await.len(), records(world).await.len()), (1, 1));
    let performed = world.performed("VTID-0001");
    world.run_until(Log::DeadLetter, 2).await;
    assert_eq!(records(world).await[1], (1, request, None));
    assert_eq!((world.log(Log::Validator).await.len(), world.performed("VTID-0001")), (1, performed));
}

/// One test per case and broker.
macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod memory {
            $(
                #[tokio::test(start_paused = true)]
                async fn $case() {
                    super::$case(&super::World::in_memory()).await;
                }
            )+
        }
        mod nats {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(&super::World::on_a_server().await).await;
                }
            )+
        }
    };
}

on_both![
    poison_between_good_messages_of_its_key_and_of_others_blocks_none,
    a_replay_after_the_fix_takes_the_normal_way,
    a_request_that_comes_again_changes_nothing,
    a_replay_that_comes_too_early_is_held_like_any_message,
    a_panic_in_a_replay_is_the_replays,
    a_replay_does_not_run_beside_a_message_of_its_key,
    what_cannot_be_replayed_says_why_or_is_left_alone,
    a_crash_before_the_record_is_made_good,
];
