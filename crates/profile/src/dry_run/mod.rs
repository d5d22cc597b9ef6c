//! What a change would do, before anything is written: the files that it touches, its size, the evidence that the
//! repository cannot give, and the rules that would speak. S4-D5.

mod apply;
mod ignored;
mod rules;
mod size;

pub use apply::{Edit, EditError};
pub use rules::{CommandPolicy, NoCommandPolicy, RuleSpoken, Verdict};

use serde::{Deserialize, Serialize};

use crate::profile::{DiffLimit, GapKind, Profile, Purpose};
use crate::tree::Tree;
use apply::Overlay;

/// A change set, as the implementer answers it. Keys that do not matter here are left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Change {
    /// In order.
    #[serde(default)]
    pub edits: Vec<Edit>,
    /// Run after the edits; what they write is not foreseen.
    #[serde(default)]
    pub commands: Vec<String>,
}

/// What a change would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DryRun {
    /// The files that would differ, by path.
    pub files: Vec<Touched>,
    /// Files that would be written and that `.gitignore` keeps out of the change.
    pub ignored: Vec<String>,
    /// Lines added in all files.
    pub added: u64,
    /// Lines removed in all files.
    pub removed: u64,
    /// How large it may be.
    pub limit: DiffLimit,
    /// Whether it is larger.
    pub exceeds_limit: bool,
    /// Commands that would run after the edits; what they write is not in `files`.
    pub commands: Vec<String>,
    /// Evidence that this repository cannot give as it is.
    pub missing_evidence: Vec<MissingEvidence>,
    /// Rules that would speak.
    pub rules: Vec<RuleSpoken>,
}

/// A file that would differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Touched {
    /// From the root.
    pub path: String,
    /// How.
    pub touch: Touch,
    /// Lines; none for a file that is no text.
    pub added: u64,
    /// Lines; none for a file that is no text.
    pub removed: u64,
}

/// How a file would differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Touch {
    /// It is new.
    Added,
    /// Its content is another.
    Modified,
    /// It is gone.
    Deleted,
}

/// Evidence that a phase asks for and that cannot be made here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingEvidence {
    /// The artifact, such as `test_results.json`.
    pub evidence: String,
    /// Why it cannot be made.
    pub why: String,
    /// What to do.
    pub advice: String,
}

/// Tries a change on a tree, and writes nothing.
///
/// # Errors
/// The first edit that could not be made.
pub fn dry_run(
    tree: &dyn Tree,
    profile: &Profile,
    change: &Change,
    policy: &dyn CommandPolicy,
) -> Result<DryRun, EditError> {
    let mut overlay = Overlay::new(tree);
    change.edits.iter().try_for_each(|edit| overlay.apply(edit))?;
    let (mut files, mut ignored) = (Vec::new(), Vec::new());
    let excludes = ignored::Excludes::new(&overlay);
    for (path, before, after) in overlay.differences() {
        // What is tracked stays in the change, whatever `.gitignore` says.
        if before.is_none() && excludes.holds(path) {
            ignored.push(path.to_owned());
            continue;
        }
        files.push(touched(path, before, after));
    }
    let sum = |lines: fn(&Touched) -> u64| files.iter().map(lines).sum::<u64>();
    let (added, removed) = (sum(|file| file.added), sum(|file| file.removed));
    let limit = profile.diff_limit.clone();
    let exceeds_limit = files.len() as u64 > limit.files || added.saturating_add(removed) > limit.lines;
    let rules = rules::spoken(profile, &files, &change.commands, policy);
    Ok(DryRun {
        files,
        ignored,
        added,
        removed,
        limit,
        exceeds_limit,
        commands: change.commands.clone(),
        missing_evidence: missing_evidence(profile),
        rules,
    })
}

fn touched(path: &str, before: Option<&[u8]>, after: Option<&[u8]>) -> Touched {
    let touch = match (before, after) {
        (None, _) => Touch::Added,
        (_, None) => Touch::Deleted,
        _ => Touch::Modified,
    };
    let (added, removed) = size::of(before.unwrap_or_default(), after.unwrap_or_default());
    Touched { path: path.to_owned(), touch, added, removed }
}

/// Which artifacts a profile leaves without a source.
fn missing_evidence(profile: &Profile) -> Vec<MissingEvidence> {
    let commands = profile.commands();
    let has = |purpose| commands.of(purpose).next().is_some();
    let has_checks = !profile.settings.checks.is_empty();
    let gap = |what| profile.missing.iter().find(|gap| gap.what == what);
    let mut missing = Vec::new();
    let mut lacks = |evidence: &str, why: String, advice: &str| {
        let (evidence, advice) = (evidence.to_owned(), advice.to_owned());
        missing.push(MissingEvidence { evidence, why, advice });
    };
    if !has(Purpose::Test) && !has_checks {
        lacks(
            "test_results.json",
            "nothing says how the tests are run".to_owned(),
            "name a check in .millrace.toml",
        );
    } else if let Some(gap) = gap(GapKind::Tests) {
        lacks("test_results.json", gap.message.clone(), &gap.advice);
    }
    if !has(Purpose::Build) && !has_checks {
        lacks(
            "build_output.log",
            "nothing says how it is built".to_owned(),
            "name a build command under [commands] in .millrace.toml",
        );
    }
    if !has(Purpose::Coverage) {
        lacks(
            "coverage_report.json",
            "no command measures the tests".to_owned(),
            "name a coverage command under [commands] in .millrace.toml",
        );
    }
    if !has(Purpose::Lint) {
        lacks(
            "code_quality_score.json",
            "no linter is configured".to_owned(),
            "name a lint command under [commands] in .millrace.toml",
        );
    }
    missing
}
