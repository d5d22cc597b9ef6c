//! A query service over a real ledger and the broker's twin in memory, and the binary run against it.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use millrace_decider::Timestamp;
use millrace_events::{Envelope, Event, Key, Log, v1 as events};
use millrace_ledger::{Ledger, rebuild};
use millrace_query::adapters::{BrokerLogs, BrokerStreams, ChainVerifier, StoredLedger, StoredTexts};
use millrace_query::{LedgerQueryService, OperatorService, QueryConfig};
use millrace_rpc::{HealthHandle, ServeError, serve, server::Stopped};
use millrace_runtime::blobs::Blobs;
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::{Append, Broker};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::memory::{ManualClock, MemoryBroker, SeededIds};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The time of the first event.
const START_MILLIS: i64 = 1_767_225_600_000;

pub(crate) struct World {
    pub(crate) broker: Arc<MemoryBroker>,
    pub(crate) ledger: Ledger,
    pub(crate) blobs: Blobs,
    pub(crate) address: String,
    pub(crate) folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    _tasks: JoinSet<Result<Stopped, ServeError>>,
}

impl World {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(START_MILLIS)));
        let broker = Arc::new(MemoryBroker::new(clock.clone(), &Declared::of(&Installation::default())));
        let url = format!("sqlite://{}", folder.path().join("ledger.db").display());
        let ledger = Ledger::open(&url).await.unwrap();
        ledger.migrate().await.unwrap();
        let heartbeats = Arc::new(Bucket::new(broker.clone(), millrace_events::catalogue::HEALTH_BUCKET));
        let reader = Arc::new(StoredLedger::new(ledger.clone()));
        let logs = Arc::new(BrokerLogs::new(broker.clone(), heartbeats, 1));
        let verifier = Arc::new(ChainVerifier::new(ledger.clone(), BrokerStreams::new(broker.clone())));
        let config = QueryConfig { watch_period: Duration::from_millis(10), ..QueryConfig::default() };
        let operator = OperatorService::new(
            reader.clone(),
            logs.clone(),
            clock.clone(),
            Arc::new(SeededIds::new(3)),
            &config,
        );
        let blobs = Blobs::new(broker.clone(), 1 << 20);
        let texts = Arc::new(StoredTexts::new(blobs.clone()));
        let query = LedgerQueryService::new(
            reader,
            logs,
            texts,
            verifier,
            clock.clone(),
            config,
            CancellationToken::new(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        let (routes, stop) = (millrace_query::routes(query, operator), CancellationToken::new());
        tasks.spawn(serve(listener, routes, HealthHandle::new(), stop, Duration::from_secs(5)));
        Self { broker, ledger, blobs, address, folder, clock, _tasks: tasks }
    }

    /// Stands in for a service, one second after the event before.
    pub(crate) async fn log(&self, key: &str, event: impl Into<Event>) {
        let event: Event = event.into();
        let key = Key::new(key).unwrap();
        self.clock.advance(Duration::from_secs(1));
        let time = millrace_runtime::clock::Clock::now(self.clock.as_ref());
        let envelope =
            Envelope { run: 1, ..Envelope::new(time.to_string(), "/test", key.clone(), time, &event) };
        let (stream, subject) = (event.log().stream(0), event.log().subject(&key, 1));
        let _ = self.broker.append(&Append::new(&stream, subject, envelope.encode())).await.unwrap();
    }

    /// Stands in for the projector.
    pub(crate) async fn project(&self) {
        let streams: Vec<String> = Log::ALL.iter().map(|log| log.stream(0)).collect();
        rebuild(&self.ledger, &BrokerStreams::new(self.broker.clone()), &streams, None).await.unwrap();
    }

    /// Runs `millrace` against this server, in a folder of its own, with nothing inherited but PATH.
    pub(crate) async fn millrace(&self, arguments: &[&str]) -> Output {
        let server = ["--server", self.address.as_str()];
        millrace(self.folder.path(), &[arguments, server.as_slice()].concat()).await
    }
}

pub(crate) async fn millrace(folder: &Path, arguments: &[&str]) -> Output {
    let run = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TZ", "UTC")
        .current_dir(folder)
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(Duration::from_secs(60), run).await.expect("the command ends").unwrap()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn task_ref(task: &str) -> Option<events::TaskRef> {
    Some(events::TaskRef {
        task: task.to_owned(),
        run: 1,
        attempt: 1,
        repository: "shop".to_owned(),
        spec_version: 1,
        ..events::TaskRef::default()
    })
}
