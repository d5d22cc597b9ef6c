//! The registry: every tool with what it can do. Nothing is callable that is not described here. S3-4.2c.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jsonschema::Validator;
use millrace_events::v1::Phase;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::table::PhaseTable;
use super::guard::Context;

/// The tools that this program can carry out.
pub const IMPLEMENTED: [&str; 12] = [
    "read",
    "list",
    "search",
    "write",
    "patch",
    "delete",
    "run",
    "git_status",
    "git_diff",
    "git_log",
    "git_commit",
    "open_pull_request",
];

/// A tool as the table describes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolRule {
    /// What it does, for a model to read.
    pub description: String,
    /// What kind of thing it does.
    pub capability: Capability,
    /// What it can do to the world.
    #[serde(default)]
    pub safety: BTreeSet<Safety>,
    /// What must be there for it.
    #[serde(default)]
    pub requires: BTreeSet<Requirement>,
    /// JSON Schema of its arguments.
    pub arguments: Value,
}

/// What kind of thing a tool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// It looks.
    Read,
    /// It changes files.
    Write,
    /// It runs a command.
    Execute,
    /// It says what Millrace shall do later.
    Propose,
}

/// What a tool can do to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Safety {
    /// Reads files of the checkout.
    ReadsFiles,
    /// Reads the repository's history.
    ReadsHistory,
    /// Changes files of the checkout.
    ChangesFiles,
    /// Runs commands in the sandbox.
    RunsCommands,
    /// Changes nothing by itself.
    Declares,
}

/// What a tool needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// A working copy.
    Checkout,
    /// A sandbox.
    Sandbox,
}

/// A tool that can be called.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its description.
    pub rule: ToolRule,
    arguments: Arc<Validator>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persona {
    /// The role, such as `implementer`.
    pub role: String,
    /// A narrower list than the role's own, if the persona has one. It takes away and never adds.
    pub only: Option<BTreeSet<String>>,
}

/// All tools, and those of each role.
#[derive(Debug, Clone)]
pub struct Registry {
    tools: BTreeMap<String, Tool>,
    personas: BTreeMap<String, BTreeSet<String>>,
}

impl Registry {
    /// Loads the tools and who may use which.
    ///
    /// # Errors
    /// A tool without safety tags, with arguments that are no schema, or that this program does not have; a
    /// persona with a tool that there is not. Each named by its key.
    pub fn load(
        rules: BTreeMap<String, ToolRule>,
        personas: BTreeMap<String, BTreeSet<String>>,
    ) -> Result<Self, String> {
        let mut tools = BTreeMap::new();
        for (name, rule) in rules {
            if !IMPLEMENTED.contains(&name.as_str()) {
                let known = IMPLEMENTED.join(", ");
                return Err(format!("tools.{name}: is no tool of this program; there are {known}"));
            }
            if rule.safety.is_empty() {
                return Err(format!("tools.{name}.safety: a tool without safety tags is not loaded"));
            }
            let arguments = jsonschema::draft202012::new(&rule.arguments)
                .map_err(|error| format!("tools.{name}.arguments: {error}"))?;
            let tool = Tool { name: name.clone(), rule, arguments: Arc::new(arguments) };
            tools.insert(name, tool);
        }
        for (persona, names) in &personas {
            if let Some(unknown) = names.iter().find(|name| !tools.contains_key(*name)) {
                return Err(format!("personas.{persona}: `{unknown}` is no tool"));
            }
        }
        Ok(Self { tools, personas })
    }

    /// The tool of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tool> {
        self.tools.get(name)
    }

    /// All tools.
    pub fn all(&self) -> impl Iterator<Item = &Tool> {
        self.tools.values()
    }

    /// Whether a persona may call a tool.
    #[must_use]
    pub fn has(&self, persona: &Persona, tool: &str) -> bool {
        let of_role = self.personas.get(&persona.role).is_some_and(|names| names.contains(tool));
        of_role && persona.only.as_ref().is_none_or(|only| only.contains(tool))
    }
}

impl Tool {
    /// Checks the arguments of a call.
    ///
    /// # Errors
    /// Every way in which they break the tool's schema.
    pub fn check(&self, arguments: &Value) -> Result<(), Vec<String>> {
        let errors: Vec<String> = self
            .arguments
            .iter_errors(arguments)
            .take(10)
            .map(|error| {
                let text: String = error.to_string().chars().take(300).collect();
                format!("{}: {text}", error.instance_path().as_str())
            })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// As a model is shown it.
    #[must_use]
    pub fn shown(&self) -> Value {
        serde_json::json!({
            "tool": self.name,
            "description": self.rule.description,
            "capability": self.rule.capability,
            "safety": self.rule.safety,
            "requires": self.rule.requires,
            "arguments": self.rule.arguments,
        })
    }
}

impl PhaseTable {
    /// The tools that a persona may call in a phase, found at run time. S3-4.2c.
    #[must_use]
    pub fn list_tools(&self, phase: Phase, persona: &Persona) -> Vec<&Tool> {
        let context = Context { task: String::new(), phase, persona: persona.clone() };
        self.registry().all().filter(|tool| self.allows(tool, Some(&context))).collect()
    }
}
