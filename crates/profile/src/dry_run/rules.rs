//! Which rules would speak: about paths that decide how changes are checked, about owners, about commands.

use std::path::Path;

use ignore::gitignore::GitignoreBuilder;
use millrace_policy::exec::{Decision, ExecPolicy};
use serde::{Deserialize, Serialize};

use super::Touched;
use crate::profile::Profile;
use crate::settings::SETTINGS_FILE;

/// A rule that would speak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpoken {
    /// Its name, such as `protected-path`.
    pub rule: String,
    /// The path or command.
    pub subject: String,
    /// What it says.
    pub verdict: Verdict,
    /// Why.
    pub why: String,
}

/// What a rule says; the strictest of several counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may be.
    Allow,
    /// A person should look.
    Prompt,
    /// It is refused.
    Forbid,
}

/// What decides about commands.
pub trait CommandPolicy {
    /// The rule that speaks about a command, if one does.
    fn judge(&self, command: &str) -> Option<RuleSpoken>;
}

impl CommandPolicy for ExecPolicy {
    fn judge(&self, command: &str) -> Option<RuleSpoken> {
        let spoken = Self::judge(self, command);
        let verdict = match spoken.decision {
            Decision::Allow => return None,
            Decision::Prompt => Verdict::Prompt,
            Decision::Forbid => Verdict::Forbid,
        };
        let why = if spoken.reason.is_empty() { "no rule allows it".to_owned() } else { spoken.reason };
        Some(RuleSpoken { rule: "exec".to_owned(), subject: command.to_owned(), verdict, why })
    }
}

/// No rules about commands.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCommandPolicy;

impl CommandPolicy for NoCommandPolicy {
    fn judge(&self, _: &str) -> Option<RuleSpoken> {
        None
    }
}

/// Files at the root, or folders, that define a pipeline.
const PIPELINES: &[&str] = &[
    ".github/workflows/",
    ".github/actions/",
    ".gitlab-ci.yml",
    ".circleci/",
    "Jenkinsfile",
    "azure-pipelines.yml",
    "azure-pipelines.yaml",
    ".azure-pipelines.yml",
];
const OWNERS: &[&str] = &["CODEOWNERS", ".github/CODEOWNERS", ".gitlab/CODEOWNERS", "docs/CODEOWNERS"];

/// Paths first, in their order, then commands.
pub(super) fn spoken(
    profile: &Profile,
    files: &[Touched],
    commands: &[String],
    policy: &dyn CommandPolicy,
) -> Vec<RuleSpoken> {
    let paths =
        files.iter().flat_map(|file| protected(&file.path).into_iter().chain(owned(profile, &file.path)));
    paths.chain(commands.iter().filter_map(|command| policy.judge(command))).collect()
}

/// The rule about a path on which the checking of changes depends.
fn protected(path: &str) -> Option<RuleSpoken> {
    let speak = |verdict, why: &str| RuleSpoken {
        rule: "protected-path".to_owned(),
        subject: path.to_owned(),
        verdict,
        why: why.to_owned(),
    };
    let is_in = |places: &[&str]| {
        places.iter().any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
    };
    if path == SETTINGS_FILE {
        let why = "it defines the checks of every later change; the validator refuses it, commit it by hand";
        Some(speak(Verdict::Forbid, why))
    } else if is_in(PIPELINES) {
        Some(speak(Verdict::Prompt, "it defines what continuous integration runs"))
    } else if is_in(OWNERS) {
        Some(speak(Verdict::Prompt, "it defines who must review"))
    } else {
        None
    }
}

/// Who must look at a path: the last rule that matches.
fn owned(profile: &Profile, path: &str) -> Option<RuleSpoken> {
    let owners = profile.owners.as_ref()?;
    let matches = |pattern: &str| {
        let mut builder = GitignoreBuilder::new("/");
        let is_read = builder.add_line(None, pattern).is_ok();
        let rules = builder.build().ok().filter(|_| is_read);
        rules.is_some_and(|rules| {
            rules.matched_path_or_any_parents(Path::new(&format!("/{path}")), false).is_ignore()
        })
    };
    let rule = owners.rules.iter().rev().find(|rule| matches(&rule.pattern))?;
    (!rule.owners.is_empty()).then(|| RuleSpoken {
        rule: "owners".to_owned(),
        subject: path.to_owned(),
        verdict: Verdict::Allow,
        why: format!("{} asks {} for a review", owners.file, rule.owners.join(", ")),
    })
}
