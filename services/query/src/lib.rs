//! The query service: answers questions from the ledger, and publishes what operators decide. It decides
//! nothing itself and holds no state; any number of it can run.

pub mod adapters;
pub mod config;
mod ledger_query;
mod operator;
pub mod ports;
mod reading;
mod rules;
mod watch;

pub use config::QueryConfig;
pub use ledger_query::LedgerQueryService;
pub use operator::OperatorService;

use std::sync::Arc;
use std::time::Duration;

use millrace_ledger::Ledger;
use millrace_rpc::v1::ledger_query_server::LedgerQueryServer;
use millrace_rpc::v1::operator_server::OperatorServer;
use millrace_rpc::{HealthHandle, Routes, serve};
use millrace_runtime::service::{ServiceContext, ServiceError};
use millrace_runtime::settings::{Settings, SettingsError};
use tokio::net::TcpListener;

use adapters::{BrokerLogs, BrokerStreams, ChainVerifier, StoredLedger, StoredTexts};

/// How often the ledger is asked whether it answers.
const PING: Duration = Duration::from_secs(2);

/// Whether the query service can run with these settings: it needs a ledger.
pub fn check(settings: &Settings) -> Result<(), SettingsError> {
    Settings::required(settings.database_url.as_ref(), "database_url").map(|_| ())
}

/// Answers until the order to stop.
pub async fn run(context: ServiceContext) -> Result<(), ServiceError> {
    let settings = context.settings.clone();
    let url = Settings::required(settings.database_url.as_ref(), "database_url")?;
    let address = settings.query_listen;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        SettingsError::invalid(format!(
            "cannot listen on {address} (query_listen): {error}; choose another port"
        ))
    })?;
    context.health.set_ready("ledger", false, "opening");
    let ledger = Ledger::open(url)
        .await
        .map_err(|error| ServiceError::failed("the ledger cannot be opened", error))?;
    let served = serve(
        listener,
        services(&context, &ledger),
        context.health.clone(),
        context.stop.clone(),
        settings.limits.grace,
    );
    tokio::select! {
        ended = served => ended
            .map(|stopped| tracing::info!(?stopped, "no longer answering"))
            .map_err(|error| ServiceError::failed("the server failed", error)),
        () = watch_ledger(&ledger, &context.health) => Ok(()),
    }
}

/// Both gRPC services over the ledger and the broker of `context`.
pub fn services(context: &ServiceContext, ledger: &Ledger) -> Routes {
    let config = QueryConfig::from_settings(&context.settings);
    let reader = Arc::new(StoredLedger::new(ledger.clone()));
    let broker = context.broker.clone();
    let logs = Arc::new(BrokerLogs::new(broker.clone(), context.heartbeats.clone(), config.partitions));
    let verifier = Arc::new(ChainVerifier::new(ledger.clone(), BrokerStreams::new(broker)));
    let (clock, ids) = (context.clock.clone(), context.ids.clone());
    let operator = OperatorService::new(reader.clone(), logs.clone(), clock.clone(), ids, &config);
    let texts = Arc::new(StoredTexts::new(context.blobs.clone()));
    let query = LedgerQueryService::new(reader, logs, texts, verifier, clock, config, context.stop.clone());
    routes(query, operator)
}

/// Both gRPC services, ready to be served with [`millrace_rpc::serve`].
pub fn routes(query: LedgerQueryService, operator: OperatorService) -> Routes {
    Routes::default().add_service(LedgerQueryServer::new(query)).add_service(OperatorServer::new(operator))
}

/// Reports for ever whether the ledger answers and has the schema that is asked of it.
async fn watch_ledger(ledger: &Ledger, health: &HealthHandle) {
    loop {
        match ledger.check_schema().await {
            Ok(_) => health.set_ready("ledger", true, "open"),
            Err(error) => health.set_ready("ledger", false, millrace_rpc::status::chain(&error)),
        }
        tokio::time::sleep(PING).await;
    }
}
