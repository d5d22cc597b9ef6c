//! What can be set.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Dispatch, Limits, duration, load::SettingsError};
use crate::bootstrap::{Installation, MAX_ACK_PENDING};

/// The whole configuration. Sections of single services are kept as they stand; the service reads its own
/// through [`Settings::section`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The one name of this installation in traces, manifests and reports.
    pub environment: String,
    /// Who this machine's operator is in events, until callers authenticate themselves.
    pub operator: String,
    /// The connection to NATS.
    pub nats: Nats,
    /// The ledger's database: `sqlite://<path>` or `postgres://…`. Projector and query need it.
    pub database_url: Option<String>,
    /// Where the query service listens.
    pub query_listen: SocketAddr,
    /// Where `/livez`, `/readyz` and the gRPC health service listen; unset: nowhere.
    pub health_listen: Option<SocketAddr>,
    /// Logs and traces.
    pub telemetry: Telemetry,
    /// The limits of DESIGN section 5.
    pub limits: Limits,
    /// How many runs are under way at a time, and which of those that wait comes next.
    pub dispatch: Dispatch,
    /// The repositories whose specs are carried out.
    #[serde(rename = "repository")]
    pub repositories: Vec<Repository>,
    /// Where releases run; the deployer reads them.
    #[serde(rename = "target")]
    pub targets: Vec<Section>,
    /// The worker's own settings.
    pub worker: Section,
    /// The deployer's own settings.
    pub deployer: Section,
    /// The spec-registry's own settings.
    pub spec_registry: Section,
}

/// A table whose shape one service knows.
pub type Section = toml::Table;

/// The connection to NATS and the shape of the streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nats {
    /// `nats://host:port`.
    pub url: String,
    /// File with the nkey seed of this process's identity; unset: no authentication.
    pub seed_file: Option<PathBuf>,
    /// Partitions of every log; fixed at installation.
    pub partitions: u32,
    /// Copies of every stream: 1 on one machine, 3 in a cluster.
    pub replicas: u8,
    /// How long a delivery may stay unanswered before another process gets it. A service that works on one
    /// says so three times as often.
    #[serde(with = "duration")]
    pub ack_wait: Duration,
    /// Deliveries of one consumer that may be unanswered at a time. What a service holds back counts: runs that
    /// are paused, that wait for their target or for a forge. Beyond it nothing new of that log comes to it.
    pub max_ack_pending: u32,
}

/// Logs and traces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// OTLP over gRPC; unset: nothing is exported.
    pub otlp_endpoint: Option<String>,
    /// `human` or `json`.
    pub log_format: LogFormat,
    /// Filter, such as `info` or `millrace_worker=debug,info`.
    pub log: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One object a line.
    Json,
}

/// A repository. Every task has exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Its id in events: letters, digits, `_`, `-`.
    pub id: String,
    /// Path or URL of the git repository.
    pub url: String,
    /// Path or URL that its specs are read from, where that is another than `url`: a working tree will do.
    #[serde(default)]
    pub specs_url: Option<String>,
    /// Which forge has its pull requests.
    #[serde(default)]
    pub forge: ForgeKind,
    /// The branch that changes are merged into.
    #[serde(default = "main_branch")]
    pub base_branch: String,
    /// Prefix of its task ids.
    #[serde(default = "default_prefix")]
    pub task_prefix: String,
    /// First number that is allocated to a submission without an id.
    #[serde(default = "first_number")]
    pub task_base: u64,
    /// Where its specs are.
    #[serde(default = "specs_path")]
    pub specs_path: String,
    /// How often it is scanned.
    #[serde(default = "scan_period", with = "duration")]
    pub scan_period: Duration,
    /// Id of the target that its releases run on.
    pub target: String,
}

/// Which forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForgeKind {
    /// A bare repository whose pull requests live in its own refs.
    #[default]
    Local,
}

fn main_branch() -> String {
    "main".to_owned()
}

fn default_prefix() -> String {
    "VTID".to_owned()
}

const fn first_number() -> u64 {
    1
}

fn specs_path() -> String {
    "docs/specs".to_owned()
}

const fn scan_period() -> Duration {
    Duration::from_secs(30)
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            environment: "development".to_owned(),
            operator: "local".to_owned(),
            nats: Nats::default(),
            database_url: None,
            query_listen: SocketAddr::from(([127, 0, 0, 1], 7447)),
            health_listen: None,
            telemetry: Telemetry::default(),
            limits: Limits::default(),
            dispatch: Dispatch::default(),
            repositories: Vec::new(),
            targets: Vec::new(),
            worker: Section::new(),
            deployer: Section::new(),
            spec_registry: Section::new(),
        }
    }
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            seed_file: None,
            partitions: 1,
            replicas: 1,
            ack_wait: Duration::from_secs(6),
            max_ack_pending: MAX_ACK_PENDING,
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { otlp_endpoint: None, log_format: LogFormat::Human, log: "info,async_nats=warn".to_owned() }
    }
}

impl Settings {
    /// Reads a service's own section; unknown keys and wrong types are named with the section and the key.
    pub fn section<T: DeserializeOwned>(&self, name: &str, section: &Section) -> Result<T, SettingsError> {
        serde_path_to_error::deserialize(section.clone()).map_err(|error| {
            match error.path().to_string().as_str() {
                "." => SettingsError::invalid(format!("[{name}]: {}", error.inner().message())),
                key => SettingsError::invalid(format!("[{name}] {key}: {}", error.inner().message())),
            }
        })
    }

    /// What the streams and consumers are made from.
    pub fn installation(&self) -> Installation {
        Installation {
            partitions: self.nats.partitions,
            replicas: self.nats.replicas,
            ack_wait: self.nats.ack_wait,
            max_ack_pending: self.nats.max_ack_pending,
            lease: self.limits.lease,
            ..Installation::default()
        }
    }

    /// The repository of that id.
    pub fn repository(&self, id: &str) -> Option<&Repository> {
        self.repositories.iter().find(|repository| repository.id == id)
    }

    /// The settings as TOML, with secrets masked, for `--print-config`.
    pub fn to_masked_toml(&self) -> Result<String, SettingsError> {
        let mut masked = self.clone();
        masked.database_url = masked.database_url.map(|url| mask_password(&url));
        masked.nats.url = mask_password(&masked.nats.url);
        for repository in &mut masked.repositories {
            repository.url = mask_password(&repository.url);
        }
        toml::to_string_pretty(&masked).map_err(|error| SettingsError::invalid(error.to_string()))
    }
}

/// Hides the password of a URL.
fn mask_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((user_info, host)) = rest.split_once('@') else { return url.to_owned() };
    match user_info.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked() {
        assert_eq!(mask_password("postgres://m:secret@db:5432/x"), "postgres://m:***@db:5432/x");
        assert_eq!(mask_password("sqlite://a.db"), "sqlite://a.db");
    }
}
