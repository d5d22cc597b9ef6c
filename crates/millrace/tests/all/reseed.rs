//! `ledger reseed` on a real server, with a ledger that has read it.

use std::process::Output;

use millrace_decider::Timestamp;
use millrace_events::v1::{TaskRef, TaskScheduled};
use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope, Event, Key, Log};
use millrace_ledger::{Ledger, StreamReader as _, verify};
use millrace_projector::adapters::BrokerReader;
use millrace_runtime::bootstrap::{Declared, Installation, OnDifference, bootstrap, delete_stream};
use millrace_runtime::broker::{Append, Broker as _};
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_testkit::NatsServer;
use serde_json::Value;
use std::sync::Arc;
use tokio::process::Command;

const STREAM: &str = "MILLRACE_DISPATCHER_0";

struct World {
    server: NatsServer,
    broker: NatsBroker,
    ledger: Ledger,
    folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let server = NatsServer::start();
        let broker = NatsBroker::connect(ConnectOptions::new(server.client_url(), "tester")).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("ledger.db").display());
        let ledger = Ledger::open(&url).await.unwrap();
        ledger.migrate().await.unwrap();
        let world = Self { server, broker, ledger, folder };
        world.bootstrap().await;
        world
    }

    async fn bootstrap(&self) {
        let declared = Declared::of(&Installation::default());
        bootstrap(&self.broker, &declared, OnDifference::Report).await.unwrap();
    }

    /// Schedules these tasks: each an event of its own, checked against the last on its subject.
    async fn schedule(&self, tasks: std::ops::RangeInclusive<u32>) {
        for number in tasks {
            let task = format!("VTID-{number:05}");
            let key = Key::new(&task).unwrap();
            let about = Some(TaskRef { task, run: 1, attempt: 1, ..TaskRef::default() });
            let event: Event = TaskScheduled { task: about, ..TaskScheduled::default() }.into();
            let time = Timestamp::from_millis(1_790_000_000_000 + i64::from(number));
            let envelope = Envelope::new(format!("id-{number}"), "/millrace/test", key.clone(), time, &event);
            let append = Append::new(STREAM, Log::Dispatcher.subject(&key, 1), envelope.encode());
            let append = append.content_type(CONTENT_TYPE_PROTOBUF).expecting(0);
            let _ = self.broker.append(&append).await.unwrap();
        }
    }

    /// Takes the stream into the ledger up to `last`.
    async fn read_up_to(&self, last: u64) {
        let mut events = self.reader().read(STREAM, 1, 1_000).await.unwrap();
        events.truncate(last as usize);
        let _ = self.ledger.apply(STREAM, &events).await.unwrap();
    }

    fn reader(&self) -> BrokerReader {
        BrokerReader::new(Arc::new(self.broker.clone()))
    }

    async fn reseed(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MILLRACE_"))
        {
            command.env_remove(name);
        }
        let database = format!("sqlite://{}", self.folder.path().join("ledger.db").display());
        let url = self.server.client_url();
        command.args(["ledger", "reseed", "--output", "json"]).args(arguments);
        command.args(["--database-url", &database, "--nats-url", &url]).current_dir(self.folder.path());
        command.output().await.unwrap()
    }

    /// What it says of the stream, and its exit code.
    async fn outcome(&self, arguments: &[&str]) -> (Value, Option<i32>) {
        let output = self.reseed(arguments).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{text}"));
        (value["logs"][0].clone(), output.status.code())
    }

    async fn is_whole(&self, events: u64) {
        let verified = verify(&self.ledger, &self.reader()).await.unwrap();
        assert_eq!((verified.events, verified.difference), (events, None));
    }
}

#[tokio::test]
async fn a_deleted_log_is_made_by_the_bootstrap_and_written_back() {
    let world = World::start().await;
    world.schedule(1..=5).await;
    world.read_up_to(5).await;
    delete_stream(&world.broker, STREAM).await.unwrap();
    let (told, exit) = world.outcome(&["dispatcher", "--dry-run"]).await;
    assert_eq!((told["missing"].clone(), exit), (serde_json::json!([1, 5]), Some(1)));
    assert_eq!(told["tasks"].as_array().unwrap().len(), 5);
    let output = world.reseed(&["dispatcher"]).await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(4) && text.contains("millrace bootstrap"), "{text}");
    world.bootstrap().await;
    let (told, exit) = world.outcome(&["dispatcher"]).await;
    assert_eq!((told["written"].as_u64(), exit), (Some(5), Some(0)));
    let (told, exit) = world.outcome(&["dispatcher"]).await;
    assert_eq!((told["written"].as_u64(), exit), (Some(0), Some(0)));
    world.is_whole(5).await;
}

#[tokio::test]
async fn what_diverged_is_refused_then_saved_and_replaced() {
    let world = World::start().await;
    world.schedule(1..=5).await;
    world.read_up_to(5).await;
    // It was lost, and others wrote there; one event is the same as before.
    delete_stream(&world.broker, STREAM).await.unwrap();
    world.bootstrap().await;
    world.schedule(1..=1).await;
    world.schedule(91..=97).await;
    let (told, exit) = world.outcome(&["dispatcher"]).await;
    assert_eq!((told["diverged"].clone(), exit), (serde_json::json!([2, 3, 4, 5]), Some(6)));
    assert_eq!(world.broker.stream_state(STREAM).await.unwrap().last, 8, "nothing was touched");
    let (told, exit) = world.outcome(&["dispatcher", "--replace"]).await;
    assert_eq!((told["written"].as_u64(), exit), (Some(5), Some(0)));
    let saved = world.folder.path().join(told["saved"].as_str().unwrap());
    let lines: Vec<Value> = std::fs::read_to_string(saved)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let tasks: Vec<&str> = lines.iter().map(|line| line["event"]["subject"].as_str().unwrap()).collect();
    assert_eq!(tasks.len(), 7, "{tasks:?}");
    assert_eq!((tasks[0], &lines[0]["sequence"], tasks[6]), ("VTID-00091", &Value::from(2), "VTID-00097"));
    world.is_whole(5).await;
}

#[tokio::test]
async fn what_follows_on_the_ledgers_last_event_is_kept_by_a_replacement() {
    let world = World::start().await;
    world.schedule(1..=8).await;
    // The ledger was changed nowhere, but it holds another second message than the stream; 7 and 8 are new.
    let mut events = world.reader().read(STREAM, 1, 6).await.unwrap();
    events[1].payload.push(0);
    let _ = world.ledger.apply(STREAM, &events).await.unwrap();
    let (told, exit) = world.outcome(&["dispatcher", "--replace"]).await;
    assert_eq!((told["diverged"].clone(), exit), (serde_json::json!([2]), Some(0)));
    assert_eq!(told["written"].as_u64(), Some(8));
    world.is_whole(8).await;
    assert_eq!(world.reseed(&["no-such-log"]).await.status.code(), Some(2));
    let every_log = world.reseed(&["--replace"]).await;
    let text = String::from_utf8_lossy(&every_log.stderr);
    assert!(every_log.status.code() == Some(2) && text.contains("LOG"), "{text}");
}
