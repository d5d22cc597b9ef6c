//! The section `[worker.setup]`: how dependencies are fetched before anything is changed.

use std::collections::BTreeMap;
use std::path::{Component, PathBuf};

use millrace_runtime::settings::{SettingsError, parse_duration};
use millrace_sandbox::{Egress, Limits, Setup};
use serde::Deserialize;

use super::SandboxMode;

/// The section `[worker.setup]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SetupConfig {
    /// Hosts that a step may reach, as `host` (ports 80 and 443) or `host:port`.
    pub allow: Vec<String>,
    /// Hosts in inner networks that a step may reach, as `host:port`.
    pub allow_private: Vec<String>,
    /// How long a step may take, such as `15m`.
    pub limit: String,
    /// The steps, by the identity of their repository. A repository without one needs none.
    pub steps: BTreeMap<String, SetupStep>,
}

/// The section `[worker.setup.steps.REPOSITORY]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupStep {
    /// Fetches into `/dependencies`.
    pub command: String,
    /// The files that say what is to be fetched, from the repository's root.
    pub lockfiles: Vec<PathBuf>,
    /// Variables of the step and of every later command.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Further variables of later commands.
    #[serde(default)]
    pub offline_env: BTreeMap<String, String>,
}

impl Default for SetupConfig {
    fn default() -> Self {
        Self { allow: Vec::new(), allow_private: Vec::new(), limit: "15m".to_owned(), steps: BTreeMap::new() }
    }
}

impl SetupConfig {
    /// The step of each repository.
    pub(crate) fn steps(&self, limits: &Limits) -> Result<BTreeMap<String, Setup>, SettingsError> {
        let invalid = |problem: String| SettingsError::invalid(format!("[worker] {problem}"));
        let egress = Egress::new(&self.allow, &self.allow_private)
            .map_err(|error| invalid(format!("`setup.allow`: {error}")))?;
        let wall_clock =
            parse_duration(&self.limit).map_err(|problem| invalid(format!("`setup.limit`: {problem}")))?;
        let limits = Limits { wall_clock, cpu_seconds: wall_clock.as_secs().max(1), ..limits.clone() };
        let read = |(repository, step): (&String, &SetupStep)| {
            let SetupStep { command, lockfiles, env, offline_env } = step.clone();
            let is_plain =
                |path: &PathBuf| path.components().all(|part| matches!(part, Component::Normal(_)));
            if command.trim().is_empty() || lockfiles.is_empty() || !lockfiles.iter().all(is_plain) {
                return Err(invalid(format!(
                    "`setup.steps.{repository}` needs a `command`, and `lockfiles` as paths inside the repository"
                )));
            }
            let (egress, limits) = (egress.clone(), limits.clone());
            Ok((repository.clone(), Setup { command, lockfiles, env, offline_env, egress, limits }))
        };
        self.steps.iter().map(read).collect()
    }

    pub(super) fn check(&self, mode: SandboxMode) -> Result<(), SettingsError> {
        if mode == SandboxMode::Shim && !self.steps.is_empty() {
            return Err(SettingsError::invalid(
                "[worker] `setup.steps` needs `sandbox.mode = \"bubblewrap\"`: the shim alone has neither mounts nor a \
                 network of its own; put the dependencies into the image and their folder into `sandbox.read_only`",
            ));
        }
        self.steps(&Limits::default()).map(drop)
    }
}
