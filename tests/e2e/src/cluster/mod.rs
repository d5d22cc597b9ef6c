//! Everything together.

mod asking;
mod ledgers;
mod processes;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millrace_ledger::Ledger;
use millrace_runtime::bootstrap::{Declared, Installation, OnDifference, bootstrap};
use millrace_runtime::broker::Broker;
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_runtime::permissions::{Identity, IdentityKey, generate_keys, nats_config};
use millrace_testkit::{NatsServer, nats};

use crate::dice::Dice;
use crate::leftovers;
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
    /// How many repositories there are, each with a target of its own.
    pub repositories: usize,
    /// How many of them, from the first on, have checks.
    pub with_checks: usize,
    /// How often each is scanned.
    pub scan_period: Duration,
    /// How the nats-server is started; its `config` comes behind the identities.
    pub nats: nats::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: "[limits]\nlease = \"3s\"\nlease_renewal = \"1s\"\nacknowledge = \"10s\"\n".to_owned(),
            database_url: None,
            otlp_endpoint: None,
            start_command: "exec python3 -I -S app.py".to_owned(),
            repositories: 1,
            with_checks: 1,
            scan_period: Duration::from_millis(500),
            nats: nats::Options::default(),
        }
    }
}

/// A running Millrace. Everything in it ends with it.
pub struct Cluster {
    processes: BTreeMap<String, Process>,
    /// The nats-server of this installation alone.
    pub nats: NatsServer,
    /// The repository whose specs are carried out; the first, where there are several.
    pub repository: Repository,
    /// All of them.
    pub repositories: Vec<Repository>,
    keys: Vec<IdentityKey>,
    options: Options,
    query: SocketAddr,
    /// Where each process answers for its health.
    health: BTreeMap<String, SocketAddr>,
    /// Where a process finds NATS, where that is not the server itself.
    detours: BTreeMap<String, SocketAddr>,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// Starts everything.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// Starts everything with these options.
    pub async fn start_with(options: Options) -> Self {
        let mut cluster = Self::prepare(options).await;
        cluster.start_all().await;
        cluster
    }

    /// Everything but the services: they are not started yet.
    pub async fn prepare(options: Options) -> Self {
        let folder = tempfile::Builder::new().prefix("millrace-e2e-").tempdir().unwrap();
        let keys = generate_keys().unwrap();
        let installation = Self::installation();
        let mut server = options.nats.clone();
        server.config = format!("{}\n{}", nats_config(&keys, &installation), server.config);
        let nats = NatsServer::start_options(server);
        let name = |number: usize| if number == 1 { "shop".to_owned() } else { format!("shop-{number}") };
        let repositories: Vec<Repository> = (1..=options.repositories)
            .map(|number| Repository::new(folder.path(), &name(number), number <= options.with_checks))
            .collect();
        let repository = repositories[0].clone();
        let names = Self::names();
        let mut free = free_ports(names.len() + 1).into_iter();
        let query = free.next().unwrap();
        let health = names.into_iter().zip(free).collect();
        let (processes, detours) = (BTreeMap::new(), BTreeMap::new());
        let cluster =
            Self { processes, nats, repository, repositories, keys, options, query, health, detours, folder };
        let admin = cluster.connect(Identity::Bootstrap).await;
        bootstrap(&admin, &Declared::of(&installation), OnDifference::Report).await.unwrap();
        cluster.write_config();
        let ledger = Ledger::open(&cluster.database_url()).await.unwrap();
        ledger.migrate().await.unwrap();
        ledger.close().await;
        cluster
    }

    /// How the streams are declared.
    pub fn installation() -> Installation {
        Installation {
            ack_wait: Duration::from_secs(2),
            lease: Duration::from_secs(3),
            ..Installation::default()
        }
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

    /// Where the releases of a repository run: its target's own folder.
    pub fn target(&self, repository: &Repository) -> PathBuf {
        if repository.name == self.repository.name {
            self.path("target")
        } else {
            self.path(&format!("target-{}", repository.name))
        }
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

    /// The file with the seed of an identity.
    pub fn seed_file(&self, service: &str) -> PathBuf {
        let path = self.path(&format!("{service}.seed"));
        let key = self.keys.iter().find(|key| key.identity.name() == service).unwrap();
        std::fs::write(&path, &key.seed).unwrap();
        path
    }

    fn write_config(&self) {
        let mut text = format!(
            "{}\n[nats]\nurl = \"{}\"\nack_wait = \"2s\"\n",
            self.options.config,
            self.nats.client_url(),
        );
        for repository in &self.repositories {
            text.push_str(&format!(
                "\n[[repository]]\nid = \"{name}\"\nurl = \"{}\"\ntarget = \"{name}\"\nscan_period = \"{}ms\"\n\
                 \n[[target]]\nkind = \"process\"\nid = \"{name}\"\nroot = \"{}\"\nstart_command = \"{}\"\n",
                repository.bare.display(),
                self.options.scan_period.as_millis(),
                self.target(repository).display(),
                self.options.start_command,
                name = repository.name,
            ));
        }
        std::fs::write(self.path("millrace.toml"), text).unwrap();
    }
}

/// Addresses that nobody listens on. Not from the range that the system takes ports of its own choice from: a
/// service that is started again must find its own free.
fn free_ports(count: usize) -> Vec<SocketAddr> {
    const PORTS: std::ops::Range<usize> = 10_000..30_000;
    let mut dice = Dice::of_this_moment();
    let mut held = Vec::new();
    while held.len() < count {
        let port = PORTS.start + dice.below(PORTS.len());
        held.extend(TcpListener::bind(("127.0.0.1", port as u16)));
    }
    held.iter().map(|socket: &TcpListener| socket.local_addr().unwrap()).collect()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.processes.clear();
        // Releases outlive the deployer by design; a test's must not outlive the test.
        for repository in &self.repositories {
            leftovers::kill_all_below(&self.target(repository));
        }
    }
}
