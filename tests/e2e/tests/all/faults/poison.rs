//! Messages that nobody can handle.

use std::collections::BTreeMap;

use millrace_e2e::{Campaign, Cluster, writer};
use millrace_events::v1::{ExecutionCompleted, TaskCompleted, TaskRef};
use millrace_events::{CONTENT_TYPE_JSON, DeadLetterEvent, Envelope, Event, Key, Log, Service};
use millrace_runtime::broker::{Append, Broker as _};
use millrace_runtime::clock::{Clock as _, System};

use super::BOUND;

/// An event in an envelope about `key`.
fn envelope(id: &str, key: &Key, event: &Event) -> Envelope {
    Envelope::new(id, "/tests/poison", key.clone(), System.now(), event)
}

/// An end of a task: what it must never do is end one.
fn end_of(task: &Key) -> TaskCompleted {
    let task = Some(TaskRef { task: task.to_string(), run: 1, attempt: 1, ..TaskRef::default() });
    TaskCompleted { task, ..TaskCompleted::default() }
}

/// What cannot be handled, under the key of a task that is under way.
fn poisons(log: Log, key: &Key) -> Vec<(Vec<u8>, Option<&'static str>)> {
    let another = Key::new("VTID-99999").unwrap();
    // An event of another log, for the right task.
    let of_another_log: Event = match log {
        Log::Dispatcher => ExecutionCompleted::default().into(),
        _ => end_of(key).into(),
    };
    let of_this_log = Event::CATALOGUE.iter().find(|(of, _)| *of == log).unwrap();
    let known = Event::empty(of_this_log.0, of_this_log.1).unwrap();
    let mut cut = envelope("cut", key, &known);
    cut.data = vec![0xff; 7];
    let protobuf = Some(millrace_events::CONTENT_TYPE_PROTOBUF);
    let mut poisons = vec![
        (b"\xff\xfe no envelope".to_vec(), protobuf),
        (envelope("misplaced", &another, &known).encode(), protobuf),
        (envelope("foreign", key, &of_another_log).encode(), protobuf),
        (cut.encode(), protobuf),
    ];
    if log.has_message_ids() {
        poisons.push((b"{ \"specversion\": ".to_vec(), Some(CONTENT_TYPE_JSON)));
        poisons.push((b"{}".to_vec(), Some(CONTENT_TYPE_JSON)));
    }
    poisons
}

/// F18, I6, I7: bad bytes, bad JSON, events in the wrong log or under the wrong key, an unknown version, and
/// 8 MB. What cannot be handled is a dead letter of each service that reads it, once; what is only unknown is
/// skipped; what stands behind them goes on.
#[tokio::test(flavor = "multi_thread")]
async fn f18_poison_goes_to_the_dead_letters_and_blocks_nothing() {
    let cluster = Cluster::start_with(Campaign::options()).await;
    let mut campaign = Campaign::on("F18", cluster).await;
    campaign.push(10);
    let mut bad: Vec<(Log, u64)> = Vec::new();
    for log in Log::ALL {
        let key = if log == Log::Intake { Key::new("req-poison").unwrap() } else { campaign.any_task() };
        for (payload, content_type) in poisons(log, &key) {
            bad.push((log, campaign.put(log, &key, payload, content_type).await));
            campaign.injected("poison");
        }
        // Only unknown.
        let mut newer = envelope("newer", &key, &end_of(&key).into());
        newer.event_type = format!("millrace.{}.v2.TaskCompleted", log.name());
        campaign.put_event(log, &key, &newer).await;
        campaign.injected("unknown-version");
        // Too large: the server takes none of it.
        let broker = campaign.cluster.connect(writer(log)).await;
        let before = campaign.cluster.auditor().await.stream_state(&log.stream(0)).await.unwrap().last;
        let large = Append::new(log.stream(0), log.subject(&key, 1), vec![0; 8 * 1024 * 1024]);
        assert!(broker.append(&large).await.is_err(), "8 MB in {}", log.name());
        let after = campaign.cluster.auditor().await.stream_state(&log.stream(0)).await.unwrap().last;
        assert!(after < before + 8, "8 MB in {}", log.name());
        campaign.injected("8-MB");
    }
    let submitting = campaign.submit(4).await;
    submitting.await.unwrap();
    let evidence = campaign.reckon(BOUND).await;
    let mut letters: BTreeMap<(String, u64, String), usize> = BTreeMap::new();
    for (_, event) in evidence.events(Log::DeadLetter) {
        let Event::DeadLetter(DeadLetterEvent::DeadLettered(letter)) = event else { continue };
        let place = (letter.stream.clone(), letter.sequence, letter.service.clone());
        *letters.entry(place).or_default() += 1;
    }
    let readers = |log: Log| {
        // The projector keeps what it cannot read and marks it.
        let reads =
            move |service: &Service| service.consumes().contains(&log) && *service != Service::Projector;
        Service::ALL.into_iter().filter(reads)
    };
    let mut expected: BTreeMap<(String, u64, String), usize> = BTreeMap::new();
    for (log, sequence) in &bad {
        for service in readers(*log) {
            expected.insert((log.stream(0), *sequence, service.name().to_owned()), 1);
        }
    }
    assert_eq!(letters, expected);
    for mark in ["EVENT_INVALID", "EVENT_UNKNOWN"] {
        assert!(evidence.ledger.live.contains(mark), "the ledger shows what it skipped: {mark}");
    }
}
