//! The development server: everything in one process, beside a nats-server of its own, with one identity
//! and one connection per service as in a cluster.

mod example;
mod folder;
mod nats_server;
mod report;
mod supervisor;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use millrace_runtime::bootstrap::{Declared, OnDifference, bootstrap};
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_runtime::permissions::{Identity, IdentityKey};
use millrace_runtime::settings::{Settings, SettingsError, Source};
use millrace_runtime::{launch, preflight};
use tokio_util::sync::CancellationToken;
use toml::Value;

use self::nats_server::SyncInterval;
pub(crate) use nats_server::find_nats_server;

use self::folder::Folder;
use self::nats_server::NatsServer;
use crate::exit::{Exit, Failure};
use crate::services;
pub(crate) use folder::ANNOUNCEMENT;

/// `millrace dev …`
#[derive(Debug, Args)]
pub struct Dev {
    /// The configuration file (TOML): repositories, targets, limits.
    #[arg(long, env = "MILLRACE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where streams, ledger, keys and releases are kept.
    #[arg(long, default_value = ".millrace", value_name = "FOLDER")]
    pub directory: PathBuf,
    /// Makes a git repository from this folder and carries its specs to a release.
    #[arg(long, value_name = "FOLDER")]
    pub example: Option<PathBuf>,
    /// Where the query service listens; port 0 chooses a free one.
    #[arg(long, default_value = "127.0.0.1:7447", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Uses this nats-server instead of starting one. It must know the identities of this folder, or none.
    #[arg(long, env = "NATS_URL", value_name = "URL")]
    pub nats_url: Option<String>,
    /// When the nats-server that is started writes to disk: before it acknowledges an event, or every 100
    /// ms, in which case a power cut loses at most that much.
    #[arg(long, value_enum, default_value_t = SyncInterval::Always)]
    pub sync_interval: SyncInterval,
    /// Ends when the example's specs have come to their ends, with exit code 0 if one was released.
    #[arg(long, requires = "example")]
    pub exit_when_done: bool,
}

/// Runs the development server until it is told to stop.
pub(crate) async fn run(dev: &Dev) -> Result<Exit, Failure> {
    serve(dev).await.map_err(|error| {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.clone();
        }
        if let Some(error) = error.downcast_ref::<SettingsError>() {
            return Failure::configuration(error, "docs/configuration.md lists every key.");
        }
        let advice = "`millrace doctor` checks what Millrace needs.";
        Failure::new(Exit::Unsuccessful, format!("{error:#}"), advice)
    })
}

/// For what can be put right before the next start.
fn correctable(advice: &'static str) -> impl FnOnce(anyhow::Error) -> Failure {
    move |error| Failure::configuration(format!("{error:#}"), advice)
}

async fn serve(dev: &Dev) -> anyhow::Result<Exit> {
    let folder =
        Folder::open(&dev.directory).map_err(correctable("Choose another folder with --directory."))?;
    let example = match &dev.example {
        Some(source) => {
            let advice = "Name a folder like examples/storefront with --example.";
            Some(example::prepare(&folder, source).await.map_err(correctable(advice))?)
        }
        None => None,
    };
    let listen = free_address(dev.listen).await?;
    let settings = settings(dev, &folder, listen, example.as_ref())?;
    for service in services::ALL {
        (service.check)(&settings)?;
    }
    let _telemetry = millrace_telemetry::init(&launch::telemetry(&settings, "dev")).map_err(|error| {
        let advice = "Correct `[telemetry]` of the configuration, or its variables.";
        Failure::configuration(launch::chain(&error), advice)
    })?;
    let keys = folder.keys()?;
    let installation = settings.installation();
    let mut server = match &dev.nats_url {
        Some(_) => None,
        None => Some(NatsServer::start(&folder, &keys, &installation, dev.sync_interval).await?),
    };
    let nats_url = server.as_ref().map_or_else(|| settings.nats.url.clone(), |server| server.url.clone());
    let settings = Arc::new(Settings { nats: with_url(&settings, &nats_url), ..settings });

    let seed =
        |identity: Identity| keys.iter().find(|key| key.identity == identity).map(|key| key.seed.clone());
    let admin = connect(&nats_url, Identity::Bootstrap, seed(Identity::Bootstrap)).await?;
    preflight::check_server(&admin).map_err(|error| {
        Failure::configuration(error, "Use another nats-server, or leave out --nats-url.")
    })?;
    let report = bootstrap(&admin, &Declared::of(&installation), OnDifference::Update).await?;
    tracing::debug!(created = report.created.len(), unchanged = report.unchanged.len(), "bootstrap");
    let database = Settings::required(settings.database_url.as_ref(), "database_url")?;
    let ledger = millrace_ledger::Ledger::open(database).await.map_err(crate::connection::database)?;
    ledger.migrate().await.context("the ledger's schema cannot be brought up to date")?;
    drop(ledger);

    folder.announce(&settings, &keys)?;
    report::addresses(&settings, &folder, server.as_ref());
    let ended = live(dev, &folder, &settings, keys, example.as_ref(), server.as_mut()).await;
    folder.forget()?;
    // Releases outlive a deployer, but not the development server that a person has stopped.
    millrace_deployer::releases::stop_all(&settings).await?;
    if let Some(server) = server {
        server.stop().await;
    }
    ended
}

/// Everything runs, until a signal, the example's end or the end of the nats-server.
async fn live(
    dev: &Dev,
    folder: &Folder,
    settings: &Arc<Settings>,
    keys: Vec<IdentityKey>,
    example: Option<&example::Example>,
    server: Option<&mut NatsServer>,
) -> anyhow::Result<Exit> {
    let stop = CancellationToken::new();
    let supervised = supervisor::run(settings.clone(), keys, stop.clone());
    let follow = async {
        match example {
            Some(example) => example::follow(example, settings, dev.exit_when_done).await,
            None => std::future::pending().await,
        }
    };
    let server_ended = async {
        match server {
            Some(server) => server.ended().await,
            None => std::future::pending().await,
        }
    };
    let signals = launch::signals(stop.clone());
    tokio::pin!(supervised, follow, server_ended, signals);
    let mut exit = Exit::Ok;
    let mut following = true;
    loop {
        tokio::select! {
            () = &mut supervised => return Ok(exit),
            // The second signal: nothing is waited for any more.
            () = &mut signals => return Ok(exit),
            status = &mut server_ended => {
                stop.cancel();
                bail!("nats-server ended by itself ({status}); its log is {}", folder.nats_log().display());
            }
            followed = &mut follow, if following => {
                following = false;
                match followed {
                    Ok(None) => {}
                    Ok(Some(code)) => {
                        exit = code;
                        stop.cancel();
                    }
                    Err(error) => {
                        report::problem(&error);
                        if dev.exit_when_done {
                            exit = Exit::Unsuccessful;
                            stop.cancel();
                        }
                    }
                }
            }
        }
    }
}

async fn connect(url: &str, identity: Identity, seed: Option<String>) -> anyhow::Result<NatsBroker> {
    let mut options = ConnectOptions::new(url, identity.name());
    options.nkey_seed = seed;
    let broker = NatsBroker::connect(options).await.map_err(|error| {
        let message = format!("cannot connect to NATS at {url}: {}", launch::chain(&error));
        let advice =
            "Start the server that --nats-url or NATS_URL names, or leave both out to have one started.";
        Failure::new(Exit::Unreachable, message, advice)
    })?;
    Ok(broker)
}

/// The address to listen on, with a port where 0 asks for a free one. A port that is taken is an error here,
/// before anything is started.
async fn free_address(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(wanted).await.map_err(|error| {
        let advice = "Stop what uses the port, or have a free one chosen with --listen 127.0.0.1:0.";
        Failure::configuration(format!("cannot listen on {wanted}: {error}"), advice)
    })?;
    Ok(listener.local_addr()?)
}

/// The configuration file and the environment, with what the development server itself decides.
fn settings(
    dev: &Dev,
    folder: &Folder,
    listen: SocketAddr,
    example: Option<&example::Example>,
) -> anyhow::Result<Settings> {
    let text = |path: PathBuf| Value::String(path.display().to_string());
    let mut flags = vec![
        ("query_listen".to_owned(), Value::String(listen.to_string())),
        ("worker.directory".to_owned(), text(folder.path("worker"))),
        ("deployer.directory".to_owned(), text(folder.path("deployer"))),
        ("spec_registry.directory".to_owned(), text(folder.path("spec-registry"))),
    ];
    if let Some(url) = &dev.nats_url {
        flags.push(("nats.url".to_owned(), Value::String(url.clone())));
    }
    if let Some(example) = example {
        flags.push(("repository".to_owned(), Value::Array(vec![Value::Table(example.repository())])));
        flags.push(("target".to_owned(), Value::Array(vec![Value::Table(example.target(folder))])));
    }
    let source = Source { file: dev.config.clone(), environment: launch::environment(), flags };
    let settings = Settings::load(&source)?;
    let own_ledger = || format!("sqlite://{}", folder.path("ledger.db").display());
    Ok(Settings { database_url: settings.database_url.clone().or_else(|| Some(own_ledger())), ..settings })
}

fn with_url(settings: &Settings, url: &str) -> millrace_runtime::settings::Nats {
    millrace_runtime::settings::Nats { url: url.to_owned(), ..settings.nats.clone() }
}
