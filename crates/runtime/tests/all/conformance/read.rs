use millrace_runtime::broker::{BrokerError, Stored, StreamState};

use super::world::{LOG, World, entry, fetch_one, texts};

pub(super) async fn messages_are_read_by_sequence_by_subject_and_all(world: &World) {
    let broker = &world.broker;
    assert_eq!(broker.stream_state(LOG).await.unwrap(), StreamState::default());
    assert_eq!(broker.last(LOG, "test.log.a").await.unwrap(), None);
    assert!(broker.read(LOG, None, 1, 10).await.unwrap().is_empty());
    let subjects = [("a", "1"), ("b", "2"), ("a", "3"), ("c.d", "4"), ("a", "5")];
    for (subject, text) in subjects {
        let _ = world.log(&format!("test.log.{subject}"), text).await;
    }
    let state = StreamState { first: 1, last: 5, messages: 5 };
    assert_eq!(broker.stream_state(LOG).await.unwrap(), state);

    let last = broker.last(LOG, "test.log.a").await.unwrap().unwrap();
    assert_eq!((last.sequence, last.payload.as_slice()), (5, b"5".as_slice()));
    assert_eq!(last.subject, "test.log.a");
    assert_eq!(broker.last(LOG, "test.log.z").await.unwrap(), None);
    assert_eq!(broker.get(LOG, 4).await.unwrap().unwrap().subject, "test.log.c.d");
    assert_eq!(broker.get(LOG, 6).await.unwrap(), None);
    assert_eq!(broker.get(LOG, 0).await.unwrap(), None);

    let read = async |subject: Option<&str>, from, limit| {
        texts(&broker.read(LOG, subject, from, limit).await.unwrap())
    };
    assert_eq!(read(None, 1, 10).await, ["1", "2", "3", "4", "5"]);
    assert_eq!(read(None, 2, 3).await, ["2", "3", "4"]);
    assert_eq!(read(None, 0, 1).await, ["1"]);
    assert_eq!(read(None, 6, 10).await, [""; 0]);
    assert_eq!(read(Some("test.log.a"), 1, 10).await, ["1", "3", "5"]);
    assert_eq!(read(Some("test.log.a"), 2, 1).await, ["3"]);
    assert_eq!(read(Some("test.log.z"), 1, 10).await, [""; 0]);
    assert_eq!(read(Some("test.log.*"), 1, 10).await, ["1", "2", "3", "5"]);
    assert_eq!(read(None, 1, 0).await, [""; 0]);
}

pub(super) async fn a_long_log_is_read_in_one_call(world: &World) {
    // More than fits into one batch of the server.
    for number in 0..1_100 {
        let _ = world.log(if number % 2 == 0 { "test.log.even" } else { "test.log.odd" }, "x").await;
    }
    let all = world.broker.read(LOG, None, 1, 5_000).await.unwrap();
    let sequences: Vec<u64> = all.iter().map(|stored| stored.sequence).collect();
    assert_eq!(sequences, (1..=1_100).collect::<Vec<u64>>());
    let odd = world.broker.read(LOG, Some("test.log.odd"), 1, 520).await.unwrap();
    assert_eq!(odd.len(), 520);
    assert!(odd.iter().all(|stored| stored.sequence % 2 == 0));
}

pub(super) async fn a_message_is_the_same_on_every_way(world: &World) {
    let mut append = entry("test.log.picked.a", "x").content_type("text/plain").expecting(0).with_id("one");
    append.headers.push(("Another".into(), "value: with colon".to_owned()));
    let sequence = world.broker.append(&append).await.unwrap().sequence;
    let consumer = world.consumer("picky").await;
    let delivered = fetch_one(consumer.as_ref()).await.message().clone();
    let by_sequence = world.broker.get(LOG, sequence).await.unwrap().unwrap();
    let by_subject = world.broker.last(LOG, "test.log.picked.a").await.unwrap().unwrap();
    let read = world.broker.read(LOG, None, sequence, 1).await.unwrap().remove(0);
    assert_eq!(delivered, by_sequence);
    assert_eq!(delivered, by_subject);
    assert_eq!(delivered, read);
    let Stored { stream, subject, headers, time, .. } = delivered;
    assert_eq!((stream.as_str(), subject.as_str()), (LOG, "test.log.picked.a"));
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("Another", "value: with colon"),
        ("Content-Type", "text/plain"),
        ("Nats-Expected-Last-Subject-Sequence", "0"),
        ("Nats-Msg-Id", "one"),
    ];
    assert_eq!(headers, expected);
    assert!(world.clock.now().since(time) < super::world::BOUND, "{time}");
}

pub(super) async fn a_missing_stream_is_said_to_be_missing(world: &World) {
    fn is_missing<T>(answer: Result<T, BrokerError>) -> bool {
        matches!(answer, Err(BrokerError::Missing { .. }))
    }
    let broker = &world.broker;
    assert!(is_missing(broker.last("NONE", "a").await));
    assert!(is_missing(broker.get("NONE", 1).await));
    assert!(is_missing(broker.read("NONE", None, 1, 1).await));
    assert!(is_missing(broker.stream_state("NONE").await));
    assert!(is_missing(broker.purge_subject("NONE", "a").await));
    assert!(is_missing(broker.consumer("NONE", "patient").await));
    assert!(is_missing(broker.consumer(LOG, "nobody").await));
}
