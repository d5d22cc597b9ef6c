use futures::future::join_all;
use millrace_runtime::broker::{Append, AppendError, BrokerError};
use millrace_testkit::eventually;

use super::world::{BOUND, LOG, MAX_MESSAGE, World, entry};

pub(super) async fn the_expected_sequence_is_a_lock_in_both_directions(world: &World) {
    let append = async |subject: &str, expected: u64| {
        world.broker.append(&entry(subject, "x").expecting(expected)).await
    };
    let first = append("test.log.a", 0).await.unwrap().sequence;
    let _ = world.log("test.log.b", "another subject does not disturb").await;
    let behind = append("test.log.a", 0).await;
    assert!(matches!(behind, Err(AppendError::Conflict { .. })), "{behind:?}");
    let ahead = append("test.log.a", first + 1).await;
    assert!(matches!(ahead, Err(AppendError::Conflict { .. })), "{ahead:?}");
    let second = append("test.log.a", first).await.unwrap().sequence;
    assert!(second > first);
    let empty = append("test.log.c", second).await;
    assert!(matches!(empty, Err(AppendError::Conflict { .. })), "{empty:?}");
    assert_eq!(world.broker.stream_state(LOG).await.unwrap().messages, 3);
}

pub(super) async fn of_many_writers_one_wins(world: &World) {
    for round in 0..10 {
        let subject = format!("test.log.race-{round}");
        let writers = (0..8).map(|writer| {
            let append = entry(&subject, &writer.to_string()).expecting(0);
            async move { world.broker.append(&append).await }
        });
        let answers = join_all(writers).await;
        let winners = answers.iter().filter(|answer| answer.is_ok()).count();
        let losers = answers.iter().filter(|answer| matches!(answer, Err(AppendError::Conflict { .. })));
        assert_eq!((winners, losers.count()), (1, 7), "{answers:?}");
        let stored = world.broker.read(LOG, Some(&subject), 1, 10).await.unwrap();
        assert_eq!(stored.len(), 1);
    }
}

pub(super) async fn a_message_id_counts_until_its_window_ends(world: &World) {
    let first = world.broker.append(&entry("test.log.a", "x").with_id("one")).await.unwrap();
    assert!(!first.duplicate);
    // The window belongs to the stream, not to the subject.
    let again = world.broker.append(&entry("test.log.b", "x").with_id("one")).await.unwrap();
    assert_eq!((again.sequence, again.duplicate), (first.sequence, true));
    let other = world.broker.append(&entry("test.log.a", "x").with_id("two")).await.unwrap();
    assert!(!other.duplicate);
    let late = eventually("an append after the window", BOUND, async || {
        let answer = world.broker.append(&entry("test.log.a", "x").with_id("one")).await.unwrap();
        (!answer.duplicate).then_some(answer)
    })
    .await;
    assert!(late.sequence > other.sequence);
}

pub(super) async fn a_refused_append_does_not_use_up_its_id(world: &World) {
    let refused = world.broker.append(&entry("test.log.a", "x").with_id("one").expecting(7)).await;
    assert!(matches!(refused, Err(AppendError::Conflict { .. })), "{refused:?}");
    let stored = world.broker.append(&entry("test.log.a", "x").with_id("one").expecting(0)).await.unwrap();
    assert!(!stored.duplicate);
}

pub(super) async fn what_is_too_large_is_said_to_be(world: &World) {
    let answer = world.broker.append(&entry("test.log.a", &"x".repeat(MAX_MESSAGE + 1))).await;
    let Err(AppendError::TooLarge { bytes, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(bytes, MAX_MESSAGE + 1);
    assert_eq!(world.broker.stream_state(LOG).await.unwrap().messages, 0);
}

pub(super) async fn a_subject_without_its_stream_is_missing(world: &World) {
    let nowhere = world.broker.append(&Append::new(LOG, "nobody.takes.this", Vec::new())).await;
    assert!(matches!(nowhere, Err(AppendError::Broker(BrokerError::Missing { .. }))), "{nowhere:?}");
    // Another stream takes the subject: stored, but never a success.
    let elsewhere = world.broker.append(&Append::new("OTHER", "test.log.a", Vec::new())).await;
    assert!(matches!(elsewhere, Err(AppendError::Broker(BrokerError::Failed { .. }))), "{elsewhere:?}");
}
