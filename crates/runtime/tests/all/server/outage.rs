//! A connection that is away for long: nothing may pile up in the client, whose queue is short.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use millrace_events::{Key, Log, Service};
use millrace_runtime::broker::{Append, Broker, BrokerError};
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_runtime::permissions::Identity;
use millrace_testkit::eventually;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::secured::{BOUND, Secured};

const PATIENCE: Duration = Duration::from_millis(300);
/// More than the client's queue has room for.
const MANY: usize = 3_000;

async fn worker(secured: &Secured) -> NatsBroker {
    let identity = Identity::Service(Service::Worker);
    let options = ConnectOptions::new(secured.server.client_url(), "worker").seed(secured.seed(identity));
    NatsBroker::connect(ConnectOptions { request_timeout: PATIENCE, ..options }).await.unwrap()
}

fn event(payload: &str) -> Append {
    let (log, key) = (Log::Dispatcher, Key::new("VTID-01213").unwrap());
    Append::new(log.stream(0), log.subject(&key, 1), payload.as_bytes().to_vec())
}

#[tokio::test]
async fn without_a_connection_nobody_is_blocked_however_much_is_said() {
    let secured = Secured::start().await;
    let broker = worker(&secured).await;
    let dispatcher = secured.connect(Identity::Service(Service::Dispatcher)).await;
    let consumer = broker.consumer(&Log::Dispatcher.stream(0), "worker").await.unwrap();
    let _ = dispatcher.append(&event("1")).await.unwrap();
    let delivery = consumer.fetch(1, BOUND).await.unwrap().remove(0);
    secured.server.kill();
    eventually("the loss is noticed", BOUND, async || !broker.is_connected()).await;

    let told = join_all((0..MANY).map(|_| delivery.in_progress()));
    let told = tokio::time::timeout(BOUND, told).await.expect("every call ends");
    assert!(told.iter().all(|told| matches!(told, Err(BrokerError::Timeout { .. }))));
    let stream = Log::Dispatcher.stream(0);
    let asked = join_all((0..MANY).map(|_| broker.last(&stream, "x")));
    let asked = tokio::time::timeout(BOUND, asked).await.expect("every call ends");
    assert!(asked.iter().all(|asked| matches!(asked, Err(BrokerError::Timeout { .. }))));
    let read = join_all((0..MANY).map(|_| broker.read(&stream, None, 1, 1)));
    let read = tokio::time::timeout(BOUND, read).await.expect("every call ends");
    assert!(read.iter().all(|read| matches!(read, Err(BrokerError::Timeout { .. }))));

    secured.server.restart();
    eventually("the log can be read again", BOUND, async || broker.read(&stream, None, 1, 1).await.is_ok())
        .await;
    delivery.acknowledge().await.unwrap();
}

#[tokio::test]
async fn a_fetch_asks_for_nothing_while_there_is_no_connection() {
    let secured = Secured::start().await;
    let broker = worker(&secured).await;
    let consumer = broker.consumer(&Log::Dispatcher.stream(0), "worker").await.unwrap();
    let address = secured.server.address();
    secured.server.kill();
    eventually("the loss is noticed", BOUND, async || !broker.is_connected()).await;
    // As long as four missing signs of life of a pull, each of which it is repeated after.
    let fetched = consumer.fetch(1, Duration::from_millis(3_300)).await.unwrap();
    assert!(fetched.is_empty());

    let pulls = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind(address).await.unwrap();
    let counted = pulls.clone();
    let session = async move {
        let (stream, peer) = listener.accept().await.unwrap();
        count_pulls(stream, peer, &counted).await;
    };
    let fetch = async {
        eventually("there is a connection", BOUND, async || broker.is_connected()).await;
        // Shorter than the wait for a sign of life: one pull.
        consumer.fetch(1, Duration::from_millis(500)).await.unwrap()
    };
    tokio::select! {
        () = session => panic!("the client went away"),
        fetched = fetch => assert!(fetched.is_empty()),
    }
    let pulls = pulls.load(Ordering::SeqCst);
    // A second one may follow where the news of the connection came after it.
    assert!((1..=2).contains(&pulls), "{pulls} pulls");
}

/// A server that lets everybody in, answers pings and counts pulls.
async fn count_pulls(stream: TcpStream, peer: SocketAddr, pulls: &AtomicUsize) {
    let (reading, mut writing) = stream.into_split();
    let info = format!(
        "INFO {{\"server_id\":\"S\",\"server_name\":\"s\",\"version\":\"2.12.0\",\"go\":\"go\",\"host\":\"127.0.0.1\",\
         \"port\":{},\"headers\":true,\"max_payload\":1048576,\"proto\":1,\"jetstream\":true,\"nonce\":\"bm9uY2U\",\
         \"client_id\":1,\"client_ip\":\"127.0.0.1\"}}\r\n",
        peer.port()
    );
    writing.write_all(info.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(reading).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.starts_with("PING") {
            writing.write_all(b"PONG\r\n").await.unwrap();
        } else if line.starts_with("PUB $JS.API.CONSUMER.MSG.NEXT.") {
            pulls.fetch_add(1, Ordering::SeqCst);
        }
    }
}
