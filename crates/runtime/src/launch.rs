//! From settings to a running service: connect, check the server, report health, run, stop in order.

use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser};
use millrace_events::{Service, catalogue};
use millrace_rpc::HealthHandle;
use millrace_telemetry::{LogFormat, TelemetryConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::blobs::Blobs;
use crate::bootstrap::Declared;
use crate::broker::Broker;
use crate::bucket::Bucket;
use crate::clock::{Ids, System};
use crate::nats::{ConnectOptions, NatsBroker};
use crate::preflight::{check_server, preflight};
use crate::service::{ServiceContext, ServiceError};
use crate::settings::{self, Settings, SettingsError, Source};

/// Largest blob that is stored: a bundle of a large change.
const MAX_BLOB_BYTES: usize = 256 * 1024 * 1024;
/// How often a process shows that it is alive; entries live three times as long.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Exit codes, as documented in docs/cli.md.
const EXIT_FAILED: u8 = 1;
const EXIT_CONFIGURATION: u8 = 3;
const EXIT_CONNECTION: u8 = 4;

/// A service that can be launched.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Which.
    pub service: Service,
    /// Whether it can run with these settings; asked before anything listens.
    pub check: fn(&Settings) -> Result<(), SettingsError>,
    /// Runs it until the order to stop.
    pub run: fn(ServiceContext) -> Running,
}

/// A running service.
pub type Running = Pin<Box<dyn Future<Output = Result<(), ServiceError>> + Send>>;

/// What every service takes on its command line.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// The configuration file (TOML). Environment variables MILLRACE_* override it.
    #[arg(long, env = "MILLRACE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Prints the resulting configuration with secrets masked, and ends.
    #[arg(long)]
    pub print_config: bool,
}

/// One Millrace service.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example: MILLRACE_NATS_URL=nats://127.0.0.1:4222 millrace-dispatcher --config millrace.toml"
)]
struct Standalone {
    #[command(flatten)]
    arguments: Arguments,
}

/// The whole life of a process that runs one service.
pub fn main(entry: Entry) -> ExitCode {
    run_process(entry, &Standalone::parse().arguments)
}

/// Runs one service in this process until SIGTERM or SIGINT; a second signal ends it at once.
pub fn run_process(entry: Entry, arguments: &Arguments) -> ExitCode {
    let settings = match load(arguments).and_then(|settings| (entry.check)(&settings).map(|()| settings)) {
        Ok(settings) => Arc::new(settings),
        Err(error) => return fail(EXIT_CONFIGURATION, &error),
    };
    if arguments.print_config {
        return match settings.to_masked_toml() {
            Ok(text) => {
                let _written = std::io::stdout().write_all(text.as_bytes());
                ExitCode::SUCCESS
            }
            Err(error) => fail(EXIT_CONFIGURATION, &error),
        };
    }
    let _telemetry = match millrace_telemetry::init(&telemetry(&settings, entry.service.name())) {
        Ok(guard) => guard,
        Err(error) => return fail(EXIT_CONFIGURATION, &error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(EXIT_FAILED, &error),
    };
    let stop = CancellationToken::new();
    runtime.block_on(async {
        tokio::select! {
            ended = serve(entry, settings, stop.clone()) => ended,
            () = signals(stop) => ExitCode::from(130),
        }
    })
}

/// Reads the settings from file and environment.
pub fn load(arguments: &Arguments) -> Result<Settings, SettingsError> {
    Settings::load(&Source { file: arguments.config.clone(), environment: environment(), flags: Vec::new() })
}

/// The variables of this process.
pub fn environment() -> std::collections::BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// How this process logs and traces.
pub fn telemetry(settings: &Settings, name: &str) -> TelemetryConfig {
    let telemetry = &settings.telemetry;
    TelemetryConfig {
        service_name: format!("millrace-{name}"),
        endpoint: telemetry.otlp_endpoint.clone(),
        log_format: match telemetry.log_format {
            settings::LogFormat::Human => LogFormat::Human,
            settings::LogFormat::Json => LogFormat::Json,
        },
        log_filter: telemetry.log.clone(),
        environment: settings.environment.clone(),
    }
}

async fn serve(entry: Entry, settings: Arc<Settings>, stop: CancellationToken) -> ExitCode {
    let health = HealthHandle::new();
    let listener = match settings.health_listen {
        Some(address) => match TcpListener::bind(address).await {
            Ok(listener) => Some(listener),
            Err(error) => {
                let message =
                    format!("cannot listen on {address} (health_listen): {error}; choose another port");
                return fail(EXIT_CONFIGURATION, &SettingsError::invalid(message));
            }
        },
        None => None,
    };
    let answer_health = async {
        match listener {
            Some(listener) => millrace_rpc::serve_health(listener, health.clone(), stop.clone()).await,
            None => {
                stop.cancelled().await;
                Ok(())
            }
        }
    };
    let work = async {
        let context = match connect(entry.service, settings, None, health.clone(), stop.clone()).await {
            Ok(context) => context,
            Err(error) => return Err((exit_code(&error, EXIT_CONNECTION), error)),
        };
        run_service(entry, context).await.map_err(|error| (exit_code(&error, EXIT_FAILED), error))
    };
    let (worked, answered) = tokio::join!(
        async {
            let worked = work.await;
            stop.cancel();
            worked
        },
        answer_health,
    );
    if let Err(error) = answered {
        tracing::warn!(%error, "the health endpoint failed");
    }
    match worked {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => fail(code, &error),
    }
}

/// A port that is taken or a seed that cannot be read is a matter of the configuration, whenever it shows.
fn exit_code(error: &ServiceError, otherwise: u8) -> u8 {
    if matches!(error, ServiceError::Settings(_)) { EXIT_CONFIGURATION } else { otherwise }
}

/// Runs a connected service beside its heartbeat.
pub async fn run_service(entry: Entry, context: ServiceContext) -> Result<(), ServiceError> {
    let beat = heartbeat(entry.service, context.clone());
    tracing::info!(service = entry.service.name(), instance = context.instance, "running");
    tokio::select! {
        biased;
        ended = (entry.run)(context) => ended,
        () = beat => Ok(()),
    }
}

/// Connects as `service` and checks the server. `seed`: the identity's nkey seed where it does not come
/// from the settings' file.
pub async fn connect(
    service: Service,
    settings: Arc<Settings>,
    seed: Option<String>,
    health: HealthHandle,
    stop: CancellationToken,
) -> Result<ServiceContext, ServiceError> {
    let mut options = ConnectOptions::new(&settings.nats.url, service.name());
    options.nkey_seed = match (seed, &settings.nats.seed_file) {
        (Some(seed), _) => Some(seed),
        (None, Some(file)) => Some(read_seed(file)?),
        (None, None) => None,
    };
    health.set_ready("nats", false, "connecting");
    let broker = NatsBroker::connect(options)
        .await
        .map_err(|error| ServiceError::failed("there is no connection to NATS", error))?;
    // The projector starts whatever it finds: it is the one that says what is wrong.
    let looked = match service {
        Service::Projector => check_server(&broker),
        service => preflight(&broker, &Declared::for_service(&settings.installation(), service)).await,
    };
    looked.map_err(|error| ServiceError::failed("this nats-server cannot be used", error))?;
    health.set_ready("nats", true, "connected");
    let broker: Arc<dyn Broker> = Arc::new(broker);
    let bucket = |name: &str| Arc::new(Bucket::new(broker.clone(), name));
    let system = Arc::new(System);
    Ok(ServiceContext {
        instance: format!("{}-{:08x}", service.name(), system.random() as u32),
        leases: bucket(catalogue::LEASE_BUCKET),
        targets: bucket(catalogue::TARGET_BUCKET),
        queue: bucket(catalogue::QUEUE_BUCKET),
        slots: bucket(catalogue::SLOT_BUCKET),
        heartbeats: bucket(catalogue::HEALTH_BUCKET),
        blobs: Blobs::new(broker.clone(), MAX_BLOB_BYTES),
        clock: system.clone(),
        ids: system,
        broker,
        settings,
        health,
        stop,
    })
}

fn read_seed(file: &std::path::Path) -> Result<String, ServiceError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| SettingsError::invalid(format!("nats.seed_file {}: {error}", file.display())))?;
    Ok(text.trim().to_owned())
}

/// Shows every few seconds that this process is alive, and whether it is ready.
async fn heartbeat(service: Service, context: ServiceContext) {
    let key = format!("{}.{}", service.name(), context.instance);
    let started = context.clock.now().to_string();
    loop {
        let connected = context.broker.is_connected();
        context.health.set_ready(
            "nats",
            connected,
            if connected { "connected" } else { "the connection is lost" },
        );
        let value = serde_json::json!({
            "service": service.name(),
            "instance": context.instance,
            "started": started,
            "beat": context.clock.now().to_string(),
            "ready": context.health.is_ready(),
            "detail": context.health.reasons(),
        });
        if let Err(error) = context.heartbeats.put(&key, value.to_string().as_bytes()).await {
            tracing::debug!(%error, "cannot show that this process is alive");
        }
        tokio::select! {
            biased;
            () = context.stop.cancelled() => std::future::pending().await,
            // Whoever is not ready yet is looked at more often, so that nobody waits for news.
            () = context.clock.sleep(if context.health.is_ready() { HEARTBEAT } else { HEARTBEAT / 5 }) => {}
        }
    }
}

/// Orders the stop at the first signal and returns at the second.
pub async fn signals(stop: CancellationToken) {
    for count in 0..2 {
        wait_for_signal().await;
        if count == 0 {
            tracing::info!("stopping; a second signal ends at once");
            stop.cancel();
        }
    }
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn fail(code: u8, error: &dyn std::error::Error) -> ExitCode {
    let _written = writeln!(std::io::stderr(), "error: {}", chain(error));
    ExitCode::from(code)
}

/// An error with its causes in one line, causes that say the same left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = error.source();
    }
    text
}
