//! What can be set for the worker: the section `[worker]`.

mod setup;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use millrace_events::Key;
use millrace_policy::exec::ExecPolicy;
use millrace_runtime::settings::{Settings, SettingsError, parse_duration};
use millrace_sandbox::{Config, Limits, Mode, RunAs};
use serde::Deserialize;

use crate::effects::Prompts;

use crate::process::PhaseTable;

pub use setup::{SetupConfig, SetupStep};

/// Where the kernel says what the machine is called; in a pod, the pod's name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
const MOST_SLOTS: usize = 64;
const RISK_LEVELS: [&str; 4] = ["low", "medium", "high", "critical"];

/// The section `[worker]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerConfig {
    /// The identity, stable over restarts and different from every other worker's: who made a change may
    /// not check it. Letters, digits, `_`, `-`. Default: `worker-` and the host's name.
    pub id: String,
    /// Work orders at a time. 1 to 64.
    pub slots: usize,
    /// Where orders are worked on; a folder per identity is made in it.
    pub directory: PathBuf,
    /// Whether a plan that stands in the spec, or beside it, may answer for a model.
    pub recipe: bool,
    /// Which model serves which role; unset: the recipe serves every role.
    pub crew: Option<PathBuf>,
    /// The phase table, where it is not the one that is built in.
    pub phases: Option<PathBuf>,
    /// Risk levels at which a person must approve before the first file is changed; then also whatever a plan
    /// wants approved. Empty: nobody is asked.
    pub approve: Vec<String>,
    /// A folder of prompts in place of those that come with Millrace; docs/prompts.md.
    pub prompts: Option<PathBuf>,
    /// Phases in which a prompt that is not its baseline ends the work; elsewhere it is said and the work goes on.
    pub prompt_drift_blocks: Vec<String>,
    /// The sandbox of commands.
    pub sandbox: SandboxConfig,
    /// Rules about which commands may run; unset: the ones that come with Millrace (`policy/exec.toml`).
    pub exec_policy: Option<PathBuf>,
    /// How dependencies are fetched before anything is changed.
    pub setup: SetupConfig,
}

/// The section `[worker.sandbox]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxConfig {
    /// `bubblewrap`, or `shim` where no user namespaces can be made; docs/sandbox.md compares them.
    pub mode: SandboxMode,
    /// The bubblewrap program.
    pub bwrap: PathBuf,
    /// The program that restricts a command from inside; unset: the running one.
    pub shim: Option<PathBuf>,
    /// Whether control groups bound memory and processes where they can be made.
    pub cgroups: bool,
    /// Whether commands may use the loopback of their own network namespace, for tests that start a server.
    pub loopback: bool,
    /// Directories that PATH begins with, absolute; in `/usr` or in `read_only`.
    pub path: Vec<PathBuf>,
    /// Variables of every command, such as `RUSTUP_HOME`. No secrets.
    pub env: BTreeMap<String, String>,
    /// Toolchains outside `/usr`, absolute paths, readable by every command.
    pub read_only: Vec<PathBuf>,
    /// Whom commands run as when the worker is root; never 0.
    pub uid: u32,
    /// The group of the same.
    pub gid: u32,
    /// A directory that every user may enter, for small files.
    pub scratch: PathBuf,
    /// How long one command may take, such as `10m`.
    pub command_limit: String,
    /// Memory of all processes of a command together, and address space of each, in bytes.
    pub memory_bytes: u64,
    /// Processes and threads of a command.
    pub processes: u64,
    /// How much a command may add to the workspace, in bytes.
    pub disk_bytes: u64,
    /// What a command may write to its output, in bytes.
    pub output_bytes: usize,
}

/// What commands are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxMode {
    /// bubblewrap, and the shim inside.
    Bubblewrap,
    /// The shim alone.
    Shim,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            id: default_id(),
            slots: 2,
            directory: PathBuf::from(".millrace/worker"),
            recipe: true,
            crew: None,
            prompts: None,
            prompt_drift_blocks: ["VERIFY", "REVIEW", "MONITOR"].map(str::to_owned).to_vec(),
            phases: None,
            approve: vec!["high".to_owned(), "critical".to_owned()],
            sandbox: SandboxConfig::default(),
            exec_policy: None,
            setup: SetupConfig::default(),
        }
    }
}

impl Default for SandboxConfig {
    fn default() -> Self {
        let (config, limits) = (Config::default(), Limits::default());
        Self {
            mode: SandboxMode::Bubblewrap,
            bwrap: config.bwrap,
            shim: config.shim,
            cgroups: config.cgroups,
            loopback: config.loopback,
            path: config.path,
            env: config.env,
            read_only: config.read_only,
            uid: config.run_as.uid,
            gid: config.run_as.gid,
            scratch: config.scratch,
            command_limit: "10m".to_owned(),
            memory_bytes: limits.memory_bytes,
            processes: limits.processes,
            disk_bytes: limits.disk_bytes,
            output_bytes: limits.output_bytes,
        }
    }
}

impl WorkerConfig {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// The first setting that cannot be used, by name.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let config: Self = settings.section("worker", &settings.worker)?;
        config.check()?;
        Ok(config)
    }

    /// Checks what the types do not say.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        let refuse = |problem: String| Err(SettingsError::invalid(format!("[worker]: {problem}")));
        if Key::new(self.id.clone()).is_err() {
            return refuse(format!("`id` `{}` must be 1 to 64 letters, digits, `_` or `-`", self.id));
        }
        if !(1..=MOST_SLOTS).contains(&self.slots) {
            return refuse(format!("`slots` must be 1 to {MOST_SLOTS}"));
        }
        if self.sandbox.uid == 0 || self.sandbox.gid == 0 {
            return refuse(
                "`sandbox.uid` and `sandbox.gid` must not be 0: root never runs a command".to_owned(),
            );
        }
        for (name, paths) in [("read_only", &self.sandbox.read_only), ("path", &self.sandbox.path)] {
            if let Some(path) = paths.iter().find(|path| !path.is_absolute()) {
                return refuse(format!("`sandbox.{name}`: {} is not an absolute path", path.display()));
            }
        }
        if let Some(level) = self.approve.iter().find(|level| !RISK_LEVELS.contains(&level.as_str())) {
            let known = RISK_LEVELS.join(", ");
            return refuse(format!("`approve`: `{level}` is no risk level; there are {known}"));
        }
        self.phase_table()?;
        self.sandbox.command_limit()?;
        self.prompts()?;
        self.exec_rules()?;
        self.setup.check(self.sandbox.mode)
    }
}

impl WorkerConfig {
    /// The phase table, checked.
    pub(crate) fn phase_table(&self) -> Result<PhaseTable, SettingsError> {
        let invalid =
            |error: &dyn std::fmt::Display| SettingsError::invalid(format!("[worker] `phases`: {error}"));
        let Some(path) = &self.phases else { return PhaseTable::bundled().map_err(|error| invalid(&error)) };
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| invalid(&format!("{file}: {error}")))?;
        PhaseTable::parse(&text, &file).map_err(|error| invalid(&error))
    }

    /// The prompts that are sent, and where their drift ends the work.
    pub(crate) fn prompts(&self) -> Result<Prompts, SettingsError> {
        Prompts::configured(self.prompts.as_deref(), &self.prompt_drift_blocks)
    }

    /// The rules about which commands may run, whose examples all hold.
    pub(crate) fn exec_rules(&self) -> Result<ExecPolicy, SettingsError> {
        let Some(path) = &self.exec_policy else {
            return ExecPolicy::built_in().map_err(|error| SettingsError::invalid(error.to_string()));
        };
        let invalid = |problem: &dyn std::fmt::Display| {
            SettingsError::invalid(format!("[worker] `exec_policy` {}: {problem}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| invalid(&error))?;
        ExecPolicy::read(&text).map_err(|error| invalid(&error))
    }

    /// Where results of setup steps are kept, for all workers of this folder.
    pub(crate) fn dependencies(&self) -> PathBuf {
        // No worker's identity has a dot.
        self.directory.join(".dependencies")
    }

    /// How the sandbox is built, with the files of this process that the self-test tries to read from inside.
    pub fn sandbox_config(&self, settings: &Settings) -> Config {
        let secrets = settings.nats.seed_file.iter().filter(|path| path.exists()).cloned().collect();
        Config { remember: Some(self.directory.join(".toolchains")), secrets, ..self.sandbox.config() }
    }
}

impl SandboxConfig {
    /// How the sandbox is built.
    pub(crate) fn config(&self) -> Config {
        Config {
            mode: match self.mode {
                SandboxMode::Bubblewrap => Mode::Bubblewrap,
                SandboxMode::Shim => Mode::Shim,
            },
            shim: self.shim.clone(),
            cgroups: self.cgroups,
            loopback: self.loopback,
            path: self.path.clone(),
            env: self.env.clone(),
            bwrap: self.bwrap.clone(),
            read_only: self.read_only.clone(),
            run_as: RunAs { uid: self.uid, gid: self.gid },
            scratch: self.scratch.clone(),
            ..Config::default()
        }
    }

    /// The bounds of every command.
    pub(crate) fn limits(&self) -> Result<Limits, SettingsError> {
        let wall_clock = self.command_limit()?;
        let defaults = Limits::default();
        Ok(Limits {
            wall_clock,
            cpu_seconds: wall_clock.as_secs().max(1),
            memory_bytes: self.memory_bytes,
            processes: self.processes,
            file_size_bytes: defaults.file_size_bytes.min(self.disk_bytes),
            disk_bytes: self.disk_bytes,
            output_bytes: self.output_bytes,
        })
    }

    fn command_limit(&self) -> Result<Duration, SettingsError> {
        parse_duration(&self.command_limit)
            .map_err(|problem| SettingsError::invalid(format!("[worker] `sandbox.command_limit`: {problem}")))
    }
}

fn default_id() -> String {
    let name = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    let name: String =
        name.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(48).collect();
    if name.is_empty() { "worker-1".to_owned() } else { format!("worker-{name}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn read(key: &str, value: impl serde::Serialize) -> Result<WorkerConfig, String> {
        let mut settings = Settings::default();
        let json = serde_json::json!({ key: value });
        settings.worker = serde_json::from_value(json).unwrap();
        WorkerConfig::read(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_identity_is_a_key() {
        assert!(Key::new(WorkerConfig::read(&Settings::default()).unwrap().id).is_ok());
    }

    #[test]
    fn what_cannot_work_is_named() {
        assert_eq!(read("slots", 3).unwrap().slots, 3);
        for (key, value, named) in [
            ("slots", serde_json::json!(0), "slots"),
            ("id", serde_json::json!("a b"), "`id`"),
            ("slot", serde_json::json!(1), "slot"),
            ("approve", serde_json::json!(["severe"]), "`severe` is no risk level"),
            ("phases", serde_json::json!("/no/phases.yaml"), "[worker] `phases`: /no/phases.yaml"),
            ("sandbox", serde_json::json!({"uid": 0}), "sandbox.uid"),
            ("sandbox", serde_json::json!({"command_limit": "soon"}), "command_limit"),
            ("sandbox", serde_json::json!({"read_only": ["opt"]}), "read_only"),
            ("sandbox", serde_json::json!({"path": ["bin"]}), "sandbox.path"),
            ("sandbox", serde_json::json!({"mode": "none"}), "mode"),
            ("exec_policy", serde_json::json!("/nonexistent/exec.toml"), "/nonexistent/exec.toml"),
            ("setup", serde_json::json!({"allow": ["*.example"]}), "setup.allow"),
            ("setup", serde_json::json!({"limit": "soon"}), "setup.limit"),
            ("setup", serde_json::json!({"steps": {"demo": {"command": "x", "lockfiles": []}}}), "lockfiles"),
            (
                "setup",
                serde_json::json!({"steps": {"demo": {"lockfiles": ["/x"], "command": "x"}}}),
                "lockfiles",
            ),
        ] {
            let error = read(key, value).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
