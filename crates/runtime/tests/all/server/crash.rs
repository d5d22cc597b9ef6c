use std::time::Duration;

use millrace_events::{Key, Log, Service};
use millrace_runtime::broker::{Append, AppendError, Broker};
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_runtime::permissions::Identity;
use millrace_testkit::eventually;

use super::secured::{BOUND, Secured};

/// A worker's connection that does not wait long for answers.
async fn worker(secured: &Secured) -> NatsBroker {
    let identity = Identity::Service(Service::Worker);
    let options = ConnectOptions::new(secured.server.client_url(), "worker").seed(secured.seed(identity));
    let request_timeout = Duration::from_millis(300);
    NatsBroker::connect(ConnectOptions { request_timeout, ..options }).await.unwrap()
}

fn event(log: Log, number: usize) -> Append {
    let key = Key::new("VTID-01213").unwrap();
    Append::new(log.stream(0), log.subject(&key, 1), number.to_string().into_bytes())
}

#[tokio::test]
async fn acknowledged_events_survive_a_kill_of_the_server() {
    let secured = Secured::start().await;
    let broker = worker(&secured).await;
    let mut last = 0;
    for number in 0..50 {
        last = broker.append(&event(Log::Worker, number).expecting(last)).await.unwrap().sequence;
    }
    secured.server.kill();
    eventually("the loss is noticed", BOUND, async || !broker.is_connected()).await;
    let down = broker.append(&event(Log::Worker, 50).expecting(last)).await;
    assert!(matches!(down, Err(AppendError::Timeout { .. })), "{down:?}");

    secured.server.restart();
    let stream = Log::Worker.stream(0);
    let stored = eventually("the log can be read again", BOUND, async || {
        broker.read(&stream, None, 1, 50).await.ok().filter(|stored| !stored.is_empty())
    })
    .await;
    let numbers: Vec<String> =
        stored.iter().map(|stored| String::from_utf8(stored.payload.clone()).unwrap()).collect();
    assert_eq!(numbers, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(broker.is_connected());
}

#[tokio::test]
async fn a_waiting_fetch_outlives_the_server() {
    let secured = Secured::start().await;
    let broker = worker(&secured).await;
    let dispatcher = secured.connect(Identity::Service(Service::Dispatcher)).await;
    let consumer = broker.consumer(&Log::Dispatcher.stream(0), "worker").await.unwrap();

    let crash = async {
        secured.server.kill();
        secured.server.restart();
        eventually("an append after the restart", BOUND, async || {
            let event = event(Log::Dispatcher, 1);
            matches!(tokio::time::timeout(Duration::from_secs(1), dispatcher.append(&event)).await, Ok(Ok(_)))
        })
        .await;
    };
    // One fetch, from before the crash to after it: nobody has to attach again.
    let (fetched, ()) = tokio::join!(consumer.fetch(1, 2 * BOUND), crash);
    let delivery = fetched.unwrap().remove(0);
    assert_eq!(delivery.message().payload, b"1");
    delivery.acknowledge().await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_time_out_and_no_event() {
    let secured = Secured::start().await;
    let broker = worker(&secured).await;
    secured.server.pause();
    let hung = broker.append(&event(Log::Worker, 1).expecting(0)).await;
    assert!(matches!(hung, Err(AppendError::Timeout { .. })), "{hung:?}");
    secured.server.resume();
    // It was stored or it was not: the expected sequence makes it one event either way.
    eventually("the log has moved on", BOUND, async || {
        matches!(
            broker.append(&event(Log::Worker, 1).expecting(0)).await,
            Ok(_) | Err(AppendError::Conflict { .. })
        )
    })
    .await;
    assert_eq!(broker.stream_state(&Log::Worker.stream(0)).await.unwrap().messages, 1);
}

#[tokio::test]
async fn a_dropped_consumer_hands_back_what_nobody_took() {
    let secured = Secured::start().await;
    let broker = worker(&secured).await;
    let dispatcher = secured.connect(Identity::Service(Service::Dispatcher)).await;
    let bootstrap = secured.raw_client(Identity::Bootstrap).await;
    let stream = Log::Dispatcher.stream(0);
    let first = broker.consumer(&stream, "worker").await.unwrap();
    assert!(first.fetch(10, Duration::from_millis(50)).await.unwrap().is_empty());
    // The fetch is over, what it asked the server for is not: this goes to a consumer that nobody reads.
    let _ = dispatcher.append(&event(Log::Dispatcher, 1)).await.unwrap();
    let info = format!("$JS.API.CONSUMER.INFO.{stream}.worker");
    eventually("the event is delivered", BOUND, async || {
        let answer = bootstrap.request(info.clone(), "".into()).await.unwrap();
        String::from_utf8_lossy(&answer.payload).contains("\"num_ack_pending\":1")
    })
    .await;
    // An answer on the same connection comes after the delivery: it is here.
    broker.stream_state(&stream).await.unwrap();
    drop(first);
    // Long before the acknowledgement time of 30 s.
    let second = broker.consumer(&stream, "worker").await.unwrap();
    let delivery = second.fetch(1, BOUND).await.unwrap().into_iter().next().expect("handed back");
    assert_eq!(delivery.message().payload, b"1");
}
