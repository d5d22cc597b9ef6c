//! Where the server is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use millrace_ledger::{Ledger, LedgerError};
use millrace_rpc::client::{self, Channel, LedgerQueryClient, OperatorClient};
use millrace_rpc::status::chain;
use millrace_runtime::launch;
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_runtime::permissions::Identity;
use millrace_runtime::preflight::check_server;
use millrace_runtime::settings::Settings;
use serde::Deserialize;

use crate::cli::{Global, Nats};
use crate::dev::ANNOUNCEMENT;
use crate::exit::{Exit, Failure};

/// Written by `millrace dev` while it runs.
const DEV_FILE: &str = ".millrace/dev.json";
/// How many folders upwards it is looked for.
const MAX_DEPTH: usize = 32;

/// What `millrace dev` says about itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DevFile {
    /// Address of the query service.
    pub(crate) grpc: String,
    /// Address of its nats-server.
    #[serde(default)]
    pub(crate) nats_url: Option<String>,
    /// The ledger's database.
    #[serde(default)]
    pub(crate) ledger: Option<String>,
    /// Files with the nkey seeds, by identity.
    #[serde(default)]
    pub(crate) seeds: BTreeMap<String, PathBuf>,
}

/// Both clients on one channel.
pub(crate) struct Connection {
    pub(crate) query: LedgerQueryClient<Channel>,
    pub(crate) operator: OperatorClient<Channel>,
}

/// Connects to the server that is meant.
pub(crate) async fn connect(global: &Global) -> Result<Connection, Failure> {
    let channel = client::connect(&address(global)?).await?;
    Ok(Connection { query: LedgerQueryClient::new(channel.clone()), operator: OperatorClient::new(channel) })
}

/// The address: what was given, else what runs in this folder or above it, else the default.
pub(crate) fn address(global: &Global) -> Result<String, Failure> {
    match &global.server {
        Some(server) => Ok(server.clone()),
        None => Ok(dev_file()?.map_or_else(default_address, |dev| dev.grpc)),
    }
}

/// Where the query service listens unless it is told otherwise.
fn default_address() -> String {
    format!("http://{}", Settings::default().query_listen)
}

/// The development server of this folder or of one above it.
pub(crate) fn dev_file() -> Result<Option<DevFile>, Failure> {
    let here = std::env::current_dir().map_err(|error| Failure::file(Path::new("."), &error))?;
    let Some(path) = find(&here) else { return Ok(None) };
    let text = std::fs::read_to_string(&path).map_err(|error| Failure::file(&path, &error))?;
    let dev = serde_json::from_str(&text).map_err(|error| {
        let message = format!("{} cannot be read: {error}", path.display());
        Failure::new(Exit::Configuration, message, "Start `millrace dev` again, or give --server.")
    })?;
    Ok(Some(dev))
}

/// Settings from file and environment, changed by what was given on the command line and, where nothing
/// was, by the development server of this folder: its NATS, as `identity`.
pub(crate) fn settings(nats: &Nats, identity: Identity) -> Result<Settings, Failure> {
    let arguments = launch::Arguments { config: nats.config.clone(), print_config: false };
    let mut settings = launch::load(&arguments).map_err(|error| {
        Failure::new(Exit::Configuration, error.to_string(), "Correct the configuration.")
    })?;
    let dev = if nats.config.is_none() && nats.nats_url.is_none() { dev_file()? } else { None };
    if let Some(dev) = dev {
        settings.nats.url = dev.nats_url.unwrap_or(settings.nats.url);
        settings.nats.seed_file = dev.seeds.get(identity.name()).cloned().or(settings.nats.seed_file);
        settings.database_url = settings.database_url.or(dev.ledger);
    }
    settings.nats.url = nats.nats_url.clone().unwrap_or(settings.nats.url);
    settings.nats.seed_file = nats.seed_file.clone().or(settings.nats.seed_file);
    Ok(settings)
}

/// Connects to NATS as `identity`.
pub(crate) async fn nats(settings: &Settings, identity: Identity) -> Result<NatsBroker, Failure> {
    let mut options = ConnectOptions::new(&settings.nats.url, identity.name());
    if let Some(file) = &settings.nats.seed_file {
        let seed = std::fs::read_to_string(file).map_err(|error| Failure::file(file, &error))?;
        options = options.seed(seed.trim());
    }
    let broker = NatsBroker::connect(options).await.map_err(|error| {
        let advice = format!(
            "Check that nats-server runs there, and that --seed-file is the seed of the identity `{}`.",
            identity.name()
        );
        Failure::new(Exit::Unreachable, chain(&error), advice)
    })?;
    check_server(&broker)
        .map_err(|error| Failure::new(Exit::Unreachable, error.to_string(), "Use another server."))?;
    Ok(broker)
}

/// The ledger that is meant: what was given, else that of the development server.
pub(crate) async fn ledger(database_url: Option<&str>) -> Result<Ledger, Failure> {
    let url = match database_url {
        Some(url) => Some(url.to_owned()),
        None => dev_file()?.and_then(|dev| dev.ledger),
    };
    let url = url.ok_or_else(|| {
        let advice = "Give --database-url or set MILLRACE_DATABASE_URL: sqlite://<path> or postgres://….";
        Failure::new(Exit::Configuration, "no ledger is named and no `millrace dev` runs here", advice)
    })?;
    Ledger::open(&url).await.map_err(database)
}

/// A ledger's error on the command line.
pub(crate) fn database(error: LedgerError) -> Failure {
    let exit = match error {
        LedgerError::Url(_) => Exit::Configuration,
        _ => Exit::Unreachable,
    };
    Failure::new(exit, chain(&error), "Check the database's address and that it is up.")
}

fn find(from: &Path) -> Option<PathBuf> {
    // In a folder that `--directory` named the file has no `.millrace` above it; the keys beside it tell it
    // from any other file of that name.
    from.ancestors()
        .take(MAX_DEPTH)
        .flat_map(|folder| {
            let own = Some(folder.join(ANNOUNCEMENT)).filter(|_| folder.join("keys").is_dir());
            [Some(folder.join(DEV_FILE)), own]
        })
        .flatten()
        .find(|path| path.is_file())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn the_development_server_is_found_from_below() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        assert_eq!(find(&below), None);
        std::fs::create_dir_all(root.path().join(".millrace")).unwrap();
        std::fs::write(root.path().join(DEV_FILE), "{}").unwrap();
        assert_eq!(find(&below), Some(root.path().join(DEV_FILE)));
        std::fs::write(root.path().join("a/dev.json"), "{}").unwrap();
        assert_eq!(find(&below), Some(root.path().join(DEV_FILE)), "of something else");
        std::fs::create_dir(root.path().join("a/keys")).unwrap();
        assert_eq!(find(&below), Some(root.path().join("a/dev.json")), "a folder chosen with --directory");
    }
}
