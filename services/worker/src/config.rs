//! What can be set for the worker: the section `[worker]`.

use std::path::PathBuf;
use std::time::Duration;

use millrace_events::Key;
use millrace_runtime::settings::{Settings, SettingsError, parse_duration};
use millrace_sandbox::{Config, Limits, RunAs};
use serde::Deserialize;

/// Where the kernel says what the machine is called; in a pod, the pod's name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
const MOST_SLOTS: usize = 64;

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
    /// The sandbox of commands.
    pub sandbox: SandboxConfig,
}

/// The section `[worker.sandbox]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxConfig {
    /// The bubblewrap program.
    pub bwrap: PathBuf,
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

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            id: default_id(),
            slots: 2,
            directory: PathBuf::from(".millrace/worker"),
            recipe: true,
            crew: None,
            sandbox: SandboxConfig::default(),
        }
    }
}

impl Default for SandboxConfig {
    fn default() -> Self {
        let (config, limits) = (Config::default(), Limits::default());
        Self {
            bwrap: config.bwrap,
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
        if let Some(path) = self.sandbox.read_only.iter().find(|path| !path.is_absolute()) {
            return refuse(format!("`sandbox.read_only`: {} is not an absolute path", path.display()));
        }
        self.sandbox.command_limit().map(drop)
    }
}

impl SandboxConfig {
    /// How the sandbox is built.
    pub(crate) fn config(&self) -> Config {
        Config {
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
            ("sandbox", serde_json::json!({"uid": 0}), "sandbox.uid"),
            ("sandbox", serde_json::json!({"command_limit": "soon"}), "command_limit"),
            ("sandbox", serde_json::json!({"read_only": ["opt"]}), "read_only"),
        ] {
            let error = read(key, value).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
