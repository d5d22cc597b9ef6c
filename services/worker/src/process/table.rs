//! The phase table: `schemas/phases.yaml`, read and checked before anything uses it. S4-CI1.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_events::v1::Phase;
use millrace_runtime::blobs::digest_of;
use serde::Deserialize;
use serde_json::Value;

use super::evidence::Kind;
use super::phase;
use super::tools::{IMPLEMENTED, Registry, ToolRule};

const BUNDLED: &str = include_str!("../../../../schemas/phases.yaml");
const SCHEMA: &str = include_str!("../../../../schemas/phases.schema.json");

/// The process as data.
#[derive(Debug, Clone)]
pub struct PhaseTable {
    phases: BTreeMap<Phase, PhaseRule>,
    registry: Registry,
    version: String,
    sha256: String,
}

/// What holds in one phase.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseRule {
    /// The service that goes through it.
    pub runs_in: RunsIn,
    /// Whether it is gone through when models work; what a person wrote down beforehand (a recipe) is not
    /// thought over again.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The role that works in it; `None`: no model is asked.
    #[serde(default)]
    pub role: Option<millrace_router::Role>,
    /// What the role is asked for, one after the other: its answers must satisfy these.
    #[serde(default)]
    pub contracts: Vec<String>,
    /// In one answer, or with tools.
    #[serde(default)]
    pub mode: Mode,
    /// The tools that may be called in it.
    #[serde(default)]
    pub tools: BTreeSet<String>,
    /// Its bounds.
    #[serde(default)]
    pub limits: Limits,
    /// What its evidence must reach.
    #[serde(default)]
    pub thresholds: Thresholds,
    /// What it must leave.
    pub evidence: Vec<ArtifactRule>,
}

/// Where a phase runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunsIn {
    /// In an attempt, by the worker.
    Worker,
    /// After the merge, by the deployer.
    Deployer,
}

/// How a role works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One answer that satisfies the contract.
    #[default]
    Answer,
    /// With tools, turn by turn, until it hands over a result that satisfies the contract.
    Agent,
}

/// The bounds of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Turns of the agent loop.
    pub turns: u32,
    /// Time of the agent loop, in seconds.
    pub wall_seconds: u64,
    /// Answers in a row that are no readable tool call.
    pub format_errors: u32,
    /// Tool calls that are refused.
    pub refusals: u32,
    /// How often the phase may send the work back to an earlier one.
    pub returns: u32,
}

/// What evidence must reach. Scores are from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// Tests that must have run.
    pub tests: u64,
    /// Part of the lines that tests reach, where it was measured.
    pub coverage: f64,
    /// The lowest score of a criterion.
    pub each: f64,
    /// The mean of all scores.
    pub mean: f64,
    /// The quality score.
    pub quality: f64,
}

/// One artifact that a phase must leave.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactRule {
    /// Its name, such as `plan.md`.
    pub name: String,
    /// What it must contain.
    pub kind: Kind,
    /// Headings that must have text under them; documents only.
    #[serde(default)]
    pub sections: Vec<String>,
}

/// Why a phase table cannot be used. Names the file and the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {message}")]
pub struct TableError {
    /// The file.
    pub file: String,
    /// Key, what is wrong, what would be right.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    personas: BTreeMap<String, BTreeSet<String>>,
    tools: BTreeMap<String, ToolRule>,
    phases: BTreeMap<String, PhaseRule>,
}

impl PhaseTable {
    /// The table that is built into this program.
    ///
    /// # Errors
    /// The file in the source tree is broken; the tests rule that out.
    pub fn bundled() -> Result<Self, TableError> {
        Self::parse(BUNDLED, "schemas/phases.yaml")
    }

    /// Reads and checks a table. `file` is its name, for messages.
    ///
    /// # Errors
    /// The first thing that is wrong: an unknown key or tool, a missing phase, a tool without safety tags.
    pub fn parse(text: &str, file: &str) -> Result<Self, TableError> {
        let error = |message: String| TableError { file: file.to_owned(), message };
        let value: Value = serde_norway::from_str(text).map_err(|wrong| error(wrong.to_string()))?;
        conforms(&value).map_err(error)?;
        let parsed: File = serde_json::from_value(value).map_err(|wrong| error(wrong.to_string()))?;
        let registry = Registry::load(parsed.tools, parsed.personas).map_err(error)?;
        let mut phases = BTreeMap::new();
        for (name, rule) in parsed.phases {
            check(&name, &rule, &registry).map_err(error)?;
            let known = phase::named(&name).ok_or_else(|| error(format!("phases: `{name}` is no phase")))?;
            phases.insert(known, rule);
        }
        let missing = phase::ALL.into_iter().find(|phase| !phases.contains_key(phase));
        if let Some(missing) = missing {
            return Err(error(format!("phases: `{}` is missing", phase::name(missing))));
        }
        Ok(Self { phases, registry, version: parsed.version, sha256: digest_of(text.as_bytes()) })
    }

    /// What holds in a phase; `None` only for the wire's absence of one.
    #[must_use]
    pub fn rule(&self, phase: Phase) -> Option<&PhaseRule> {
        self.phases.get(&phase)
    }

    /// The phases that a worker goes through, in order.
    #[must_use]
    pub fn route(&self) -> Vec<Phase> {
        let runs = |phase: &Phase| {
            self.rule(*phase).is_some_and(|rule| rule.runs_in == RunsIn::Worker && rule.enabled)
        };
        phase::ALL.into_iter().filter(runs).collect()
    }

    /// The tools.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The version that the file names.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// SHA-256 of the file's bytes in hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The contracts that the table names, with the phase that does.
    pub fn contracts(&self) -> impl Iterator<Item = (Phase, &str)> {
        self.phases.iter().flat_map(|(phase, rule)| rule.contracts.iter().map(|name| (*phase, name.as_str())))
    }
}

/// Checks what the schema of the file does not say.
fn check(name: &str, rule: &PhaseRule, registry: &Registry) -> Result<(), String> {
    if let Some(unknown) = rule.tools.iter().find(|tool| registry.get(tool).is_none()) {
        let known = IMPLEMENTED.join(", ");
        return Err(format!("phases.{name}.tools: `{unknown}` is no tool; there are {known}"));
    }
    if rule.role.is_none() != rule.contracts.is_empty() {
        return Err(format!("phases.{name}: `role` and `contracts` belong together"));
    }
    if rule.mode == Mode::Agent && rule.role.is_none() {
        return Err(format!("phases.{name}.mode: `agent` needs a `role`"));
    }
    if matches!(name, "IMPLEMENT" | "PLAN" | "VERIFY" | "PR") && !rule.enabled {
        return Err(format!("phases.{name}.enabled: this phase cannot be left out"));
    }
    let mut names = BTreeSet::new();
    for artifact in &rule.evidence {
        if !names.insert(&artifact.name) {
            return Err(format!("phases.{name}.evidence: `{}` stands twice", artifact.name));
        }
        if !artifact.sections.is_empty() && artifact.kind != Kind::Document {
            return Err(format!(
                "phases.{name}.evidence: `{}` has `sections` and is no document",
                artifact.name
            ));
        }
    }
    Ok(())
}

fn conforms(value: &Value) -> Result<(), String> {
    let schema: Value = serde_json::from_str(SCHEMA).map_err(|error| error.to_string())?;
    let validator = jsonschema::draft202012::new(&schema).map_err(|error| error.to_string())?;
    match validator.iter_errors(value).next() {
        None => Ok(()),
        Some(error) => {
            let at = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
            let at = if at.is_empty() { "the file".to_owned() } else { at };
            Err(format!("{at}: {error}"))
        }
    }
}

impl PhaseRule {
    /// The time that an agent loop may take.
    #[must_use]
    pub fn wall(&self) -> Duration {
        Duration::from_secs(self.limits.wall_seconds)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { turns: 20, wall_seconds: 600, format_errors: 3, refusals: 10, returns: 0 }
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn changed(from: &str, to: &str) -> String {
        assert!(BUNDLED.contains(from), "{from}");
        PhaseTable::parse(&BUNDLED.replacen(from, to, 1), "phases.yaml").unwrap_err().to_string()
    }

    #[test]
    fn s4_ci1_the_table_has_nine_phases_with_named_artifacts() {
        let table = PhaseTable::bundled().unwrap();
        let artifacts: Vec<&str> = phase::ALL
            .into_iter()
            .flat_map(|phase| &table.rule(phase).unwrap().evidence)
            .map(|artifact| artifact.name.as_str())
            .collect();
        for name in [
            "strategy.md",
            "spec.md",
            "plan.md",
            "file_map.json",
            "edge_cases.md",
            "git_diff.patch",
            "modified_files.json",
            "test_results.json",
            "build_output.log",
            "coverage_report.json",
            "review_rubric.json",
            "code_quality_score.json",
            "pull_request.md",
            "smoke_test_results.json",
            "deployment_status.json",
        ] {
            assert!(artifacts.contains(&name), "{name}");
        }
        assert_eq!(table.route().len(), 8, "MONITOR is the deployer's");
        assert_eq!(table.rule(Phase::Monitor).unwrap().runs_in, RunsIn::Deployer);
        assert_eq!((table.version(), table.sha256().len()), ("1", 64));
    }

    #[test]
    fn s4_ci1_what_is_wrong_in_a_table_is_refused_with_its_key() {
        for (from, to, says) in [
            ("version: \"1\"", "version: \"2\"", "version"),
            ("  STRATEGIZE:", "  STRATEGY:", "phases"),
            ("    role: planner", "    rule: planner", "phases.STRATEGIZE"),
            ("tools: [read, list, search, git_log]", "tools: [read, telepathy]", "`telepathy` is no tool"),
            ("kind: file_map", "kind: map", "phases.PLAN.evidence.2.kind"),
            ("limits: {returns: 3}", "limits: {returns: -1}", "phases.VERIFY.limits.returns"),
            ("    contracts: [planner, plan]\n", "", "`role` and `contracts` belong together"),
            ("    safety: [reads_files]\n", "    safety: []\n", "tools.read.safety"),
            ("    safety: [reads_files]\n", "", "safety"),
            ("  reviewer: [read,", "  reviewer: [fly,", "`fly` is no tool"),
            ("name: file_map.json", "name: plan.md", "`plan.md` stands twice"),
        ] {
            let error = changed(from, to);
            assert!(error.starts_with("phases.yaml: ") && error.contains(says), "{to}: {error}");
        }
        let (head, _) = BUNDLED.split_once("  MONITOR:").unwrap();
        let error = PhaseTable::parse(head, "phases.yaml").unwrap_err().to_string();
        assert!(error.contains("MONITOR"), "{error}");
        let left_out = BUNDLED.replace(
            "  VERIFY:\n    runs_in: worker\n",
            "  VERIFY:\n    runs_in: worker\n    enabled: false\n",
        );
        let error = PhaseTable::parse(&left_out, "phases.yaml").unwrap_err().to_string();
        assert!(error.contains("VERIFY.enabled"), "{error}");
    }
}
