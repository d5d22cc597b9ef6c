//! What an artifact must contain to count as evidence. One small function per kind; none of them trusts a byte.
//! S3-2, S4-SP3, S4-IMP-01, S4-CI3.

mod change;
mod documents;
mod scores;
mod tests_and_builds;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::table::{ArtifactRule, Thresholds};

pub use scores::{mean, rubric_scores};
pub use tests_and_builds::error_line;

/// What kinds of evidence there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Text with headings.
    Document,
    /// A JSON object.
    Object,
    /// The files that a plan will touch, with what is to happen to each.
    FileMap,
    /// A patch as git writes it.
    Patch,
    /// The files that a patch touches.
    ModifiedFiles,
    /// Tests that were run, none of them failed.
    TestResults,
    /// The output of commands, without an error.
    BuildLog,
    /// What tests reach, or why that was not measured.
    Coverage,
    /// The reviewer's scores.
    Rubric,
    /// One score from all that was measured.
    Quality,
    /// A release that is live.
    Deployment,
}

/// Why an artifact does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// There is nothing in it.
    Empty,
    /// It is not what it should be, in a sentence.
    Invalid(String),
}

/// Checks one artifact.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(rule: &ArtifactRule, thresholds: &Thresholds, bytes: &[u8]) -> Result<(), Flaw> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Flaw::Empty);
    }
    match rule.kind {
        Kind::Document => documents::document(&rule.sections, bytes),
        Kind::Object => object(bytes).map(drop),
        Kind::FileMap => change::file_map(bytes),
        Kind::Patch => change::patch(bytes),
        Kind::ModifiedFiles => change::modified_files(bytes),
        Kind::TestResults => tests_and_builds::test_results(thresholds, bytes),
        Kind::BuildLog => tests_and_builds::build_log(bytes),
        Kind::Coverage => tests_and_builds::coverage(thresholds, bytes),
        Kind::Rubric => scores::rubric(thresholds, bytes),
        Kind::Quality => scores::quality(thresholds, bytes),
        Kind::Deployment => tests_and_builds::deployment(bytes),
    }
}

fn invalid(message: impl Into<String>) -> Flaw {
    Flaw::Invalid(message.into())
}

fn text(bytes: &[u8]) -> Result<&str, Flaw> {
    std::str::from_utf8(bytes).map_err(|error| invalid(format!("it is not UTF-8: {error}")))
}

fn json(bytes: &[u8]) -> Result<Value, Flaw> {
    serde_json::from_slice(bytes).map_err(|error| invalid(format!("it is not JSON: {error}")))
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, Flaw> {
    match json(bytes)? {
        Value::Object(object) if object.is_empty() => Err(Flaw::Empty),
        Value::Object(object) => Ok(object),
        _ => Err(invalid("it is not a JSON object")),
    }
}

fn list(bytes: &[u8]) -> Result<Vec<Value>, Flaw> {
    match json(bytes)? {
        Value::Array(items) if items.is_empty() => Err(Flaw::Empty),
        Value::Array(items) => Ok(items),
        _ => Err(invalid("it is not a JSON list")),
    }
}

fn count(object: &Map<String, Value>, field: &str) -> Result<u64, Flaw> {
    let found = object.get(field).and_then(Value::as_u64);
    found.ok_or_else(|| invalid(format!("`{field}` must be a whole number, 0 or more")))
}

/// A score from 0 to 1.
fn score(value: Option<&Value>, of: &str) -> Result<f64, Flaw> {
    let found = value.and_then(Value::as_f64).filter(|score| (0.0..=1.0).contains(score));
    found.ok_or_else(|| invalid(format!("the score of `{of}` must be a number from 0 to 1")))
}

#[cfg(test)]
mod tests;
