//! The normal form of a specification, whatever it was written in.

use std::collections::BTreeMap;

use super::{Priority, Problem};

/// The largest specification that is read, in bytes. Larger ones are refused by their length alone.
pub const MAX_SPEC_BYTES: usize = 512 * 1024;

/// A specification that satisfies every rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The task it belongs to (`VTID-01213`); `None` when neither the file name nor the text names one.
    pub task_id: Option<String>,
    /// What the change is called.
    pub title: String,
    /// What is asked for; at least 10 characters.
    pub summary: String,
    /// Why it is asked for. Empty only when the rule was relaxed (see [`Spec::relaxed`]).
    pub problem_statement: String,
    /// What must hold afterwards; at least one.
    pub acceptance: Vec<AcceptanceItem>,
    /// How the author would do it.
    pub technical_approach: Option<String>,
    /// How the author would test it.
    pub test_plan: Option<String>,
    /// What must be there first, one entry per list item.
    pub dependencies: Vec<String>,
    /// What the author has left open, including `[NEEDS CLARIFICATION: …]` markers.
    pub open_questions: Vec<String>,
    /// Front matter and key lines; keys in lower case with `_` for spaces, lists joined by `, `.
    pub metadata: BTreeMap<String, String>,
    /// Whether a task may be made of it.
    pub readiness: Readiness,
    /// The part of the product it concerns, from the key `domain`.
    pub domain: Option<String>,
    /// How soon it is wanted, from the key `priority`.
    pub priority: Priority,
    /// The change itself, written out by the author in a fenced block with the info string `millrace`.
    pub plan: Option<PlanBlock>,
    /// `generic` or `backlog`.
    pub format: String,
    /// The rules that were relaxed for this text, as sentences.
    pub relaxed: Vec<String>,
    /// What an author may want to mend but need not.
    pub warnings: Vec<Problem>,
    /// SHA-256 of the bytes, lower-case hex.
    pub checksum: String,
}

/// One thing that must hold once the change is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptanceItem {
    /// The author's own id (`AC1`, `FR-001`, `#1`), else `AC-<n>`; unique within the specification.
    pub id: String,
    /// The criterion as plain text.
    pub text: String,
    /// How it was written.
    pub kind: AcceptanceKind,
    /// The state of its checkbox, if it has one.
    pub done: Option<bool>,
    /// Where it starts, counted from 1.
    pub line: u32,
}

/// How an acceptance criterion was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptanceKind {
    /// A list item with a box.
    Checkbox,
    /// Given, When, Then.
    Gherkin,
    /// `WHEN … THE SYSTEM SHALL …` and its relatives.
    Ears,
    /// A plain list item.
    Plain,
}

/// Whether a task may be made of a specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It may be dispatched.
    Ready,
    /// It still carries a `[NEEDS CLARIFICATION` marker: registered, never dispatched.
    Draft,
    /// Its status says done and every box is ticked: there is nothing left to do.
    Done,
}

/// A plan embedded in the specification, as it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanBlock {
    /// The YAML between the fences.
    pub text: String,
    /// The line of the opening fence, counted from 1.
    pub line: u32,
}

/// What differs from one repository to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseSettings {
    /// The prefix that bare digits in a file name stand for.
    pub default_prefix: String,
    /// Further prefixes that make a task id.
    pub other_prefixes: Vec<String>,
    /// Whether a missing problem statement is an error (else a warning).
    pub strict: bool,
}

impl Default for ParseSettings {
    fn default() -> Self {
        Self { default_prefix: "VTID".to_owned(), other_prefixes: Vec::new(), strict: true }
    }
}
