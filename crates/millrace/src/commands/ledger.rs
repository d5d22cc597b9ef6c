//! `ledger verify`, `migrate`, `rebuild`, `export`; `reseed` has a file of its own.

use std::sync::Arc;

use millrace_events::Log;
use millrace_ledger::{Ledger, rebuild, verify};
use millrace_query::adapters::{BrokerStreams, verdicts};
use millrace_rpc::v1;
use millrace_runtime::permissions::Identity;
use serde_json::json;

use crate::cli::{Database, LedgerCommand, Nats};
use crate::connection::{database, ledger, nats as connect, settings};
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone, printable};

/// `ledger …`
pub(super) async fn run(command: &LedgerCommand, output: &Output) -> Result<Exit, Failure> {
    match command {
        LedgerCommand::Verify { database, nats } => check(database, nats, output).await,
        LedgerCommand::Migrate(arguments) => migrate(arguments, output).await,
        LedgerCommand::Rebuild { to, nats } => build(to, nats, output).await,
        LedgerCommand::Export(arguments) => export(arguments).await,
        LedgerCommand::Reseed(arguments) => super::reseed::run(arguments, output).await,
    }
}

/// Reads the ledger and the streams themselves, as the identity `auditor`: the service that is checked has
/// no part in it.
async fn check(arguments: &Database, nats: &Nats, output: &Output) -> Result<Exit, Failure> {
    let settings = settings(nats, Identity::Auditor)?;
    let url = arguments.database_url.as_deref().or(settings.database_url.as_deref());
    let ledger = ledger(url).await?;
    let streams = BrokerStreams::new(Arc::new(connect(&settings, Identity::Auditor).await?));
    let logs = verdicts(verify(&ledger, &streams).await.map_err(database)?);
    let verdict = v1::VerifyLedgerResponse { intact: logs.iter().all(|log| log.intact), logs };
    output.message(&verdict, |verdict| {
        for log in &verdict.logs {
            let state = if log.intact {
                output.paint(Tone::Good, "intact")
            } else {
                let problem = format!("differs at {}: {}", log.first_difference, log.problem);
                output.paint(Tone::Bad, printable(&problem))
            };
            output.line(format!("{:<32}  up to {:<10}  {state}", log.stream, log.sequence));
        }
    });
    Ok(if verdict.intact { Exit::Ok } else { Exit::Unsuccessful })
}

async fn migrate(arguments: &Database, output: &Output) -> Result<Exit, Failure> {
    let ledger = ledger(arguments.database_url.as_deref()).await?;
    let before = ledger.schema_hash().await.ok();
    ledger.migrate().await.map_err(database)?;
    let hash = ledger.schema_hash().await.map_err(database)?;
    let changed = before.as_ref() != Some(&hash);
    if output.is_json() {
        output.json(&json!({ "schema": hash, "changed": changed }));
    } else {
        output.line(if changed { "migrated" } else { "up to date" });
    }
    Ok(Exit::Ok)
}

async fn build(to: &str, arguments: &Nats, output: &Output) -> Result<Exit, Failure> {
    let settings = settings(arguments, Identity::Auditor)?;
    let streams = BrokerStreams::new(Arc::new(connect(&settings, Identity::Auditor).await?));
    let target = Ledger::open(to).await.map_err(database)?;
    let partitions = settings.nats.partitions;
    let names: Vec<String> =
        Log::ALL.iter().flat_map(|log| (0..partitions).map(|partition| log.stream(partition))).collect();
    let rebuilt = rebuild(&target, &streams, &names, None).await.map_err(database)?;
    if output.is_json() {
        output
            .json(&json!({ "events": rebuilt.events, "marked": rebuilt.marked, "applied": rebuilt.applied }));
    } else {
        output.line(format!("{} events applied, {} of them changed nothing", rebuilt.events, rebuilt.marked));
        output.remark("To use it, set MILLRACE_DATABASE_URL of projector and query to it and restart both.");
    }
    Ok(Exit::Ok)
}

async fn export(arguments: &Database) -> Result<Exit, Failure> {
    let ledger = ledger(arguments.database_url.as_deref()).await?;
    let mut out = std::io::BufWriter::new(std::io::stdout());
    match ledger.export(&mut out).await.map_err(database)? {
        Ok(_) => Ok(Exit::Ok),
        // The reader has seen enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(error) => Err(Failure::file(std::path::Path::new("standard output"), &error)),
    }
}
