//! The contracts: what a model's answer must be before anything acts on it (S0-2.2a to S0-2.2d, S4-IMP-27).
//!
//! The schemas are files under `schemas/contracts/`, JSON Schema 2020-12, and are built into the program.

use std::collections::BTreeMap;
use std::fmt;

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Every contract this program knows, ready to check answers.
#[derive(Debug)]
pub struct Contracts {
    by_name: BTreeMap<&'static str, Contract>,
}

/// One contract: its schema as text for a model to read, and compiled.
#[derive(Debug)]
pub struct Contract {
    schema: Value,
    validator: Validator,
}

/// One way in which an answer breaks its contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractError {
    /// JSON pointer (RFC 6901) to the value at fault; for a missing or unknown field, to that field.
    pub pointer: String,
    /// What is wrong with it, on one line.
    pub message: String,
}

/// A bundled schema that cannot be used: a fault in this program, never in an answer.
#[derive(Debug, thiserror::Error)]
pub enum ContractDefect {
    /// The file is not JSON.
    #[error("contract `{name}` is not JSON")]
    Json {
        /// Which contract.
        name: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The file is not a JSON Schema.
    #[error("contract `{name}` is not a schema: {message}")]
    Schema {
        /// Which contract.
        name: &'static str,
        /// The compiler's words.
        message: String,
    },
}

const BUNDLED: [(&str, &str); 10] = [
    ("planner", include_str!("../../../schemas/contracts/planner.schema.json")),
    ("worker", include_str!("../../../schemas/contracts/worker.schema.json")),
    ("validator", include_str!("../../../schemas/contracts/validator.schema.json")),
    ("reviewer", include_str!("../../../schemas/contracts/reviewer.schema.json")),
    ("agent_turn", include_str!("../../../schemas/contracts/agent_turn.schema.json")),
    ("problem_spec", include_str!("../../../schemas/contracts/problem_spec.schema.json")),
    ("plan", include_str!("../../../schemas/contracts/plan.schema.json")),
    ("change_set", include_str!("../../../schemas/contracts/change_set.schema.json")),
    ("pr_summary", include_str!("../../../schemas/contracts/pr_summary.schema.json")),
    ("risk_report", include_str!("../../../schemas/contracts/risk_report.schema.json")),
];

impl Contracts {
    /// The contracts built into this program.
    ///
    /// # Errors
    /// A schema file is broken; the tests of this crate rule that out.
    pub fn bundled() -> Result<Self, ContractDefect> {
        let mut by_name = BTreeMap::new();
        for (name, text) in BUNDLED {
            let schema: Value =
                serde_json::from_str(text).map_err(|source| ContractDefect::Json { name, source })?;
            let validator = jsonschema::draft202012::new(&schema).map_err(|error| {
                let message = error.to_string();
                ContractDefect::Schema { name, message }
            })?;
            by_name.insert(name, Contract { schema, validator });
        }
        Ok(Self { by_name })
    }

    /// The names of all contracts, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.by_name.keys().copied()
    }

    /// The contract of that name, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Contract> {
        self.by_name.get(name)
    }

    /// Checks a value against the contract of that name.
    ///
    /// # Errors
    /// Every way in which the value breaks the contract, in the order of the document; at the root, that
    /// there is no contract of that name.
    pub fn validate(&self, name: &str, value: &Value) -> Result<(), Vec<ContractError>> {
        match self.get(name) {
            Some(contract) => contract.validate(value),
            None => Err(vec![ContractError::at_root(format!("there is no contract named `{name}`"))]),
        }
    }
}

impl Contract {
    /// The schema as it is shown to a model.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Checks a value.
    ///
    /// # Errors
    /// Every way in which the value breaks the contract, sorted by pointer.
    pub fn validate(&self, value: &Value) -> Result<(), Vec<ContractError>> {
        let mut errors: Vec<ContractError> =
            self.validator.iter_errors(value).flat_map(|error| located(&error)).collect();
        errors.sort_by(|one, other| (&one.pointer, &one.message).cmp(&(&other.pointer, &other.message)));
        errors.dedup();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

impl ContractError {
    pub(crate) fn at_root(message: impl Into<String>) -> Self {
        Self { pointer: String::new(), message: message.into() }
    }
}

impl fmt::Display for ContractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = if self.pointer.is_empty() { "(the whole answer)" } else { &self.pointer };
        write!(f, "{pointer}: {}", self.message)
    }
}

/// The pointers a person would look at: JSON Schema blames the object for a field that is missing or unknown,
/// we name the field.
fn located(error: &jsonschema::ValidationError<'_>) -> Vec<ContractError> {
    let parent = error.instance_path().as_str();
    let field = |name: &str, message: &str| ContractError {
        pointer: format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1")),
        message: message.to_owned(),
    };
    match error.kind() {
        ValidationErrorKind::Required { property: Value::String(name) } => {
            vec![field(name, "this field is required and missing")]
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            unexpected.iter().map(|name| field(name, "this field is not known to the contract")).collect()
        }
        ValidationErrorKind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            let options: Vec<String> = options.iter().map(ToString::to_string).collect();
            let message = format!("must be one of {}", options.join(", "));
            vec![ContractError { pointer: parent.to_owned(), message }]
        }
        ValidationErrorKind::FalseSchema => vec![ContractError {
            pointer: parent.to_owned(),
            message: "this field is not allowed together with the others".to_owned(),
        }],
        _ => vec![ContractError { pointer: parent.to_owned(), message: shortened(&error.to_string()) }],
    }
}

/// Messages quote the value at fault, which may be a whole file.
fn shortened(message: &str) -> String {
    const LONGEST: usize = 300;
    let line = message.replace(['\n', '\r'], " ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    let half = LONGEST / 2;
    let start: String = line.chars().take(half).collect();
    let end: Vec<char> = line.chars().rev().take(half).collect();
    let end: String = end.into_iter().rev().collect();
    format!("{start} … {end}")
}
