//! The commands that speak to NATS themselves, on a real server.

use millrace_events::{Envelope, Key, Log, v1 as events};
use millrace_runtime::broker::{Append, Broker as _};
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_testkit::NatsServer;
use serde_json::Value;

use crate::support::{err, millrace, out};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bootstrap_tail_rebuild_and_verify() {
    let server = NatsServer::start();
    let folder = tempfile::tempdir().unwrap();
    let url = server.client_url();
    let nats = ["--nats-url", url.as_str()];
    let run =
        async |arguments: &[&str]| millrace(folder.path(), &[arguments, nats.as_slice()].concat()).await;

    let first = run(&["bootstrap"]).await;
    assert_eq!(first.status.code(), Some(0), "{}{}", out(&first), err(&first));
    let second: Value = serde_json::from_str(&out(&run(&["bootstrap", "-o", "json"]).await)).unwrap();
    assert!(second["created"].as_array().unwrap().is_empty(), "{second}");
    assert!(!second["unchanged"].as_array().unwrap().is_empty());

    let broker = NatsBroker::connect(ConnectOptions::new(&url, "test")).await.unwrap();
    let key = Key::new("VTID-00001").unwrap();
    for n in 1..=12 {
        let paused =
            events::TaskPaused { actor: "ada".to_owned(), reason: n.to_string(), ..Default::default() };
        let time = millrace_decider::Timestamp::from_millis(n);
        let envelope = Envelope::new(n.to_string(), "/test", key.clone(), time, &paused.into());
        let (stream, subject) = (Log::Dispatcher.stream(0), Log::Dispatcher.subject(&key, 1));
        let _ = broker.append(&Append::new(stream, subject, envelope.encode())).await.unwrap();
    }
    let tail = run(&["events", "tail", "--log", "dispatcher", "--no-follow"]).await;
    assert_eq!(tail.status.code(), Some(0), "{}", err(&tail));
    let lines: Vec<Value> = out(&tail).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 10, "the last ten");
    assert_eq!((&lines[0]["sequence"], &lines[9]["data"]["reason"]), (&3.into(), &"12".into()));
    let tail = run(&["events", "tail", "--log", "dispatcher", "--no-follow", "--from", "12"]).await;
    assert_eq!(out(&tail).lines().count(), 1);
    assert_eq!(run(&["events", "tail", "--log", "moon"]).await.status.code(), Some(2));

    let ledger = format!("sqlite://{}", folder.path().join("rebuilt.db").display());
    let rebuilt = run(&["ledger", "rebuild", "--to", &ledger]).await;
    assert!(out(&rebuilt).starts_with("12 events applied"), "{}{}", out(&rebuilt), err(&rebuilt));
    let verify = ["ledger", "verify", "--database-url", ledger.as_str()];
    let verified = run(&verify).await;
    assert_eq!(verified.status.code(), Some(0), "{}{}", out(&verified), err(&verified));
    let opened = millrace_ledger::Ledger::open(&ledger).await.unwrap();
    opened.execute_raw("UPDATE checkpoints SET hash = 'f'").await.unwrap();
    let broken = run(&verify).await;
    assert_eq!(broken.status.code(), Some(1), "{}", out(&broken));

    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let query = |name: &str, more: &str| {
        let listen = taken.local_addr().unwrap();
        let text = format!(
            "database_url = \"{ledger}\"\nquery_listen = \"{listen}\"\n[nats]\nurl = \"{url}\"\n{more}"
        );
        std::fs::write(folder.path().join(name), text).unwrap();
    };
    query("taken.toml", "");
    query("seed.toml", "seed_file = \"nowhere.seed\"");
    for (config, message) in [("taken.toml", "cannot listen on"), ("seed.toml", "nowhere.seed")] {
        let ended = millrace(folder.path(), &["run", "query", "--config", config]).await;
        assert_eq!(ended.status.code(), Some(3), "{}{}", out(&ended), err(&ended));
        assert!(err(&ended).contains(message), "{}", err(&ended));
    }

    server.kill();
    assert_eq!(run(&["bootstrap"]).await.status.code(), Some(4));
}
