//! Everything together.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millrace_events::{Event, Service};
use millrace_ledger::Ledger;
use millrace_projector::adapters::BrokerReader;
use millrace_rpc::client::{self, LedgerQueryClient, OperatorClient};
use millrace_rpc::v1::{GetTaskHistoryRequest, GetTaskRequest, HistoryEvent, Task, TaskStatus};
use millrace_runtime::bootstrap::{Declared, Installation, OnDifference, bootstrap};
use millrace_runtime::broker::Broker;
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_runtime::permissions::{Identity, IdentityKey, generate_keys, nats_config};
use millrace_testkit::{NatsServer, eventually};
use tonic::transport::Channel;

use crate::process::Process;
use crate::repository::Repository;

/// What a test may want different.
#[derive(Debug, Clone)]
pub struct Options {
    /// More configuration (TOML), such as `[limits]`.
    pub config: String,
    /// The ledger; `None`: SQLite in the test's folder.
    pub database_url: Option<String>,
    /// Where traces go.
    pub otlp_endpoint: Option<String>,
    /// The application's start command.
    pub start_command: String,
    /// The nats-server: its disk, its limits. Users and permissions are added.
    pub nats: millrace_testkit::nats::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: "[limits]\nlease = \"3s\"\nlease_renewal = \"1s\"\nacknowledge = \"10s\"\n".to_owned(),
            database_url: None,
            otlp_endpoint: None,
            start_command: "python3 app.py".to_owned(),
            nats: millrace_testkit::nats::Options::default(),
        }
    }
}

/// A running Millrace. Everything in it ends with it.
pub struct Cluster {
    processes: BTreeMap<String, Process>,
    /// The nats-server of this installation alone.
    pub nats: NatsServer,
    /// The repository whose specs are carried out.
    pub repository: Repository,
    keys: Vec<IdentityKey>,
    options: Options,
    query: SocketAddr,
    /// Where each process answers for its health.
    health: BTreeMap<String, SocketAddr>,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// Starts everything.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// Starts everything with these options.
    pub async fn start_with(options: Options) -> Self {
        let folder = tempfile::Builder::new().prefix("millrace-e2e-").tempdir().unwrap();
        let keys = generate_keys().unwrap();
        let installation = Installation {
            ack_wait: Duration::from_secs(2),
            lease: Duration::from_secs(3),
            ..Installation::default()
        };
        let config = format!("{}\n{}", nats_config(&keys, &installation), options.nats.config);
        let nats =
            NatsServer::start_options(millrace_testkit::nats::Options { config, ..options.nats.clone() });
        let repository = Repository::new(folder.path());
        let names = Self::names();
        // All at once, so that no port is handed out twice.
        let sockets: Vec<TcpListener> =
            names.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let query = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let health =
            names.into_iter().zip(sockets.iter().map(|socket| socket.local_addr().unwrap())).collect();
        drop(sockets);
        let processes = BTreeMap::new();
        let mut cluster = Self { processes, nats, repository, keys, options, query, health, folder };
        let admin = cluster.connect(Identity::Bootstrap).await;
        bootstrap(&admin, &Declared::of(&installation), OnDifference::Report).await.unwrap();
        cluster.write_config();
        let ledger = Ledger::open(&cluster.database_url()).await.unwrap();
        ledger.migrate().await.unwrap();
        drop(ledger);
        for name in Self::names() {
            cluster.start_process(&name);
        }
        for name in Self::names() {
            cluster.wait_until_running(&name).await;
        }
        cluster
    }

    /// Waits until a process that was just started has connected.
    pub async fn wait_until_running(&self, name: &str) {
        eventually(name, Duration::from_secs(30), async || {
            let log = std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
            log.contains("running")
        })
        .await;
    }

    /// Names of all processes: one per service, two for the worker.
    pub fn names() -> Vec<String> {
        let services = Service::ALL.iter().map(|service| service.name()).filter(|name| *name != "worker");
        services.map(str::to_owned).chain(["worker-1".to_owned(), "worker-2".to_owned()]).collect()
    }

    /// Starts a process that is not running.
    pub fn start_process(&mut self, name: &str) {
        let service = if name.starts_with("worker") { "worker" } else { name };
        let mut variables = vec![
            ("MILLRACE_NATS_SEED_FILE".to_owned(), self.seed_file(service).display().to_string()),
            ("MILLRACE_DATABASE_URL".to_owned(), self.database_url()),
            ("MILLRACE_QUERY_LISTEN".to_owned(), self.query.to_string()),
            ("MILLRACE_WORKER_ID".to_owned(), name.to_owned()),
            ("MILLRACE_WORKER_DIRECTORY".to_owned(), self.path(name).display().to_string()),
            ("MILLRACE_DEPLOYER_DIRECTORY".to_owned(), self.path("deployer").display().to_string()),
            ("MILLRACE_SPEC_REGISTRY_DIRECTORY".to_owned(), self.path("registry").display().to_string()),
        ];
        if let Some(address) = self.health.get(name) {
            variables.push(("MILLRACE_HEALTH_LISTEN".to_owned(), address.to_string()));
        }
        if let Some(endpoint) = &self.options.otlp_endpoint {
            variables.push(("MILLRACE_OTLP_ENDPOINT".to_owned(), endpoint.clone()));
        }
        let process = Process::start(
            service,
            &self.path("millrace.toml"),
            &variables,
            &self.path(&format!("{name}.log")),
        );
        assert!(self.processes.insert(name.to_owned(), process).is_none(), "{name} runs already");
    }

    /// SIGKILL.
    pub fn kill(&mut self, name: &str) {
        self.processes.remove(name).unwrap_or_else(|| panic!("{name} does not run")).kill();
    }

    /// SIGTERM; the exit code.
    pub fn stop(&mut self, name: &str) -> Option<i32> {
        self.processes.remove(name).unwrap_or_else(|| panic!("{name} does not run")).stop()
    }

    /// Process id.
    pub fn pid(&self, name: &str) -> u32 {
        self.processes[name].pid()
    }

    /// What a process answers at `/readyz`: the status code, or nothing when it does not answer.
    pub fn readiness(&self, name: &str) -> Option<u16> {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(self.health[name]).ok()?;
        write!(stream, "GET /readyz HTTP/1.0\r\nHost: millrace\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    }

    /// The ledger's URL.
    pub fn database_url(&self) -> String {
        let default = || format!("sqlite://{}", self.path("ledger.db").display());
        self.options.database_url.clone().unwrap_or_else(default)
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Address of the query service.
    pub fn address(&self) -> String {
        format!("http://{}", self.query)
    }

    /// A connection under an identity.
    pub async fn connect(&self, identity: Identity) -> NatsBroker {
        let seed = &self.keys.iter().find(|key| key.identity == identity).unwrap().seed;
        NatsBroker::connect(ConnectOptions::new(self.nats.client_url(), identity.name()).seed(seed))
            .await
            .unwrap()
    }

    /// A reader of all logs.
    pub async fn auditor(&self) -> Arc<dyn Broker> {
        Arc::new(self.connect(Identity::Auditor).await)
    }

    /// The query client, once the service answers.
    pub async fn query(&self) -> LedgerQueryClient<Channel> {
        LedgerQueryClient::new(self.channel().await)
    }

    /// The operator client, once the service answers.
    pub async fn operator(&self) -> OperatorClient<Channel> {
        OperatorClient::new(self.channel().await)
    }

    async fn channel(&self) -> Channel {
        eventually("the query service answers", Duration::from_secs(30), async || {
            client::connect(&self.address()).await.ok()
        })
        .await
    }

    /// The task, once it is in that status.
    pub async fn wait_for(&self, task: &str, status: TaskStatus, within: Duration) -> Task {
        let mut query = self.query().await;
        let what = format!("{task} is {status:?}");
        let found = tokio::time::timeout(within, async {
            loop {
                let request = GetTaskRequest { task: task.to_owned(), ..Default::default() };
                if let Ok(answer) = query.get_task(request).await {
                    let found = answer.into_inner().task.unwrap();
                    if found.status() == status {
                        return found;
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        match found {
            Ok(found) => found,
            Err(_) => panic!("{what}: not within {within:?}\n{}", self.explain(task).await),
        }
    }

    /// Everything that the logs say about a task, causes first.
    pub async fn history(&self, task: &str) -> Vec<HistoryEvent> {
        let request = GetTaskHistoryRequest { task: task.to_owned(), ..Default::default() };
        self.query().await.get_task_history(request).await.unwrap().into_inner().events
    }

    /// Names of a task's events, causes first.
    pub async fn event_names(&self, task: &str) -> Vec<String> {
        self.history(task).await.into_iter().map(|event| event.name).collect()
    }

    /// Waits until an event of that name stands in the task's history.
    pub async fn wait_for_event(&self, task: &str, name: &str, within: Duration) -> HistoryEvent {
        let found = tokio::time::timeout(within, async {
            loop {
                let request = GetTaskHistoryRequest { task: task.to_owned(), ..Default::default() };
                let answer = self.query().await.get_task_history(request).await;
                let events = answer.map(|answer| answer.into_inner().events).unwrap_or_default();
                if let Some(found) = events.into_iter().find(|event| event.name == name) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        match found {
            Ok(found) => found,
            Err(_) => panic!("no {name} of {task} within {within:?}\n{}", self.explain(task).await),
        }
    }

    /// Data of an event as JSON.
    pub fn data(event: &HistoryEvent) -> serde_json::Value {
        serde_json::from_str(&event.data).unwrap_or_default()
    }

    /// The one terminal event of each run, checked: none has two.
    pub async fn terminal_events(&self, task: &str) -> Vec<HistoryEvent> {
        let terminal = ["TaskCompleted", "TaskFailed", "TaskBlocked", "TaskCancelled"];
        let events: Vec<HistoryEvent> = self
            .history(task)
            .await
            .into_iter()
            .filter(|event| terminal.contains(&event.name.as_str()))
            .collect();
        let mut runs: Vec<u32> = events.iter().map(|event| event.run).collect();
        runs.sort_unstable();
        runs.dedup();
        assert_eq!(runs.len(), events.len(), "a run of {task} has two ends: {events:?}");
        events
    }

    /// All events of a log that this version knows, in order.
    pub async fn log(&self, log: millrace_events::Log) -> Vec<Event> {
        let auditor = self.auditor().await;
        let stored = auditor.read(&log.stream(0), None, 1, 10_000).await.unwrap();
        stored
            .iter()
            .map(|stored| {
                millrace_events::Envelope::decode(&stored.payload).unwrap().event().unwrap().unwrap()
            })
            .collect()
    }

    /// What is known about a task, for a failing test.
    pub async fn explain(&self, task: &str) -> String {
        let request = GetTaskHistoryRequest { task: task.to_owned(), ..Default::default() };
        let mut text = match client::connect(&self.address()).await {
            Ok(channel) => match LedgerQueryClient::new(channel).get_task_history(request).await {
                Ok(answer) => {
                    let lines = answer
                        .into_inner()
                        .events
                        .into_iter()
                        .map(|event| format!("  {} {}", event.name, event.data));
                    lines.collect::<Vec<_>>().join("\n")
                }
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        for name in Self::names() {
            let log = std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(8).collect();
            text.push_str(&format!(
                "\n--- {name}\n{}",
                last.into_iter().rev().collect::<Vec<_>>().join("\n")
            ));
        }
        text
    }

    /// The file with the seed of an identity.
    pub fn seed_file(&self, service: &str) -> PathBuf {
        let path = self.path(&format!("{service}.seed"));
        let key = self.keys.iter().find(|key| key.identity.name() == service).unwrap();
        std::fs::write(&path, &key.seed).unwrap();
        path
    }

    fn write_config(&self) {
        let text = format!(
            "{}\n[nats]\nurl = \"{}\"\nack_wait = \"2s\"\n\n[[repository]]\nid = \"shop\"\nurl = \"{}\"\ntarget = \"shop\"\n\
             scan_period = \"500ms\"\n\n[[target]]\nkind = \"process\"\nid = \"shop\"\nroot = \"{}\"\nstart_command = \"{}\"\n",
            self.options.config,
            self.nats.client_url(),
            self.repository.bare.display(),
            self.path("target").display(),
            self.options.start_command,
        );
        std::fs::write(self.path("millrace.toml"), text).unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.processes.clear();
        // Releases outlive the deployer by design; a test's must not outlive the test.
        stop_release(&self.path("target"));
    }
}

/// Ends the release of a process target by its recorded process id.
fn stop_release(root: &std::path::Path) {
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let ours = String::from_utf8_lossy(&arguments).contains(root.to_string_lossy().as_ref());
        if let Some(pid) = rustix::process::Pid::from_raw(pid).filter(|_| ours) {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

impl Cluster {
    /// Waits until the ledger has applied every message of every log.
    pub async fn quiet(&self) {
        let auditor = self.auditor().await;
        eventually("the ledger has caught up", Duration::from_secs(30), async || {
            let ledger = Ledger::open(&self.database_url()).await.unwrap();
            let applied = ledger.applied().await.unwrap();
            for log in millrace_events::Log::ALL {
                let last = auditor.stream_state(&log.stream(0)).await.unwrap().last;
                if applied.get(&log.stream(0)).copied().unwrap_or(0) < last {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// A fresh ledger at `url`, from the streams alone.
    pub async fn rebuild_into(&self, url: &str) -> Ledger {
        let rebuilt = Ledger::open(url).await.unwrap();
        let reader = BrokerReader::new(self.auditor().await);
        let streams: Vec<String> = millrace_events::Log::ALL.iter().map(|log| log.stream(0)).collect();
        millrace_ledger::rebuild(&rebuilt, &reader, &streams, None).await.unwrap();
        rebuilt
    }

    /// The canonical form of a ledger.
    pub async fn export(&self, ledger: &Ledger) -> String {
        let mut bytes = Vec::new();
        ledger.export(&mut bytes).await.unwrap().unwrap();
        String::from_utf8(bytes).unwrap()
    }
}
