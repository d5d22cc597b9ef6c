//! What was found in a repository. The shape is `schemas/profile.schema.json`; a test keeps the two in step.

use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// How a repository is written, built and tested. Every finding names the file that it comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Of this shape: 1.
    pub version: u32,
    /// Languages, the largest share first.
    pub languages: Vec<Language>,
    /// What fetches dependencies, and where.
    pub package_managers: Vec<PackageManager>,
    /// Versions that the repository asks for.
    pub toolchains: Vec<Toolchain>,
    /// The parts of a repository with several packages.
    pub packages: Vec<Package>,
    /// Commands that the files suggest, in the order of preference for each purpose and folder.
    pub commands: Vec<Command>,
    /// What runs tests.
    pub test_runners: Vec<Finding>,
    /// What measures which lines the tests reach.
    pub coverage_tools: Vec<Finding>,
    /// Continuous integration, with the commands that stand there plainly.
    pub ci: Vec<Ci>,
    /// Who must look at what.
    pub owners: Option<Owners>,
    /// How large a change may be.
    pub diff_limit: DiffLimit,
    /// What `.millrace.toml` says; it wins over what was detected.
    pub settings: Settings,
    /// What is not there, or cannot be read.
    pub missing: Vec<Gap>,
}

/// A language and its share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// Such as `Rust`.
    pub name: String,
    /// How many files.
    pub files: u64,
    /// In bytes.
    pub bytes: u64,
    /// Of the bytes of all languages, rounded.
    pub percent: u8,
    /// The largest of its files.
    pub file: String,
}

/// A package manager at work in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageManager {
    /// Such as `cargo`.
    pub name: String,
    /// `.` is the root.
    pub directory: String,
    /// The file that names the dependencies.
    pub file: String,
    /// The file that pins them.
    pub lockfile: Option<String>,
}

/// A version that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// Such as `rust`.
    pub name: String,
    /// As it stands in the file.
    pub version: String,
    /// Where it stands.
    pub file: String,
}

/// A package among several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its folder.
    pub directory: String,
    /// Its own name, or its folder's.
    pub name: String,
    /// Its manifest.
    pub file: String,
}

/// What a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Fetches dependencies.
    Setup,
    /// Compiles or bundles.
    Build,
    /// Runs the tests.
    Test,
    /// Looks for mistakes.
    Lint,
    /// Checks the layout of the source.
    Format,
    /// Measures the tests.
    Coverage,
}

impl Purpose {
    /// All of them, in the order in which they are run.
    pub const ALL: [Self; 6] =
        [Self::Setup, Self::Build, Self::Lint, Self::Format, Self::Test, Self::Coverage];

    /// As it stands in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Build => "build",
            Self::Test => "test",
            Self::Lint => "lint",
            Self::Format => "format",
            Self::Coverage => "coverage",
        }
    }
}

/// A command that a file suggests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// What it is for.
    pub purpose: Purpose,
    /// For a shell.
    pub command: String,
    /// Where it runs; `.` is the root.
    pub directory: String,
    /// Why: the file that suggests it.
    pub file: String,
}

/// A tool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Such as `pytest`.
    pub name: String,
    /// Where it is named.
    pub file: String,
}

/// A named command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Such as `unit`.
    pub name: String,
    /// For a shell.
    pub command: String,
}

/// A definition of continuous integration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ci {
    /// Such as `github_actions`.
    pub system: String,
    /// Where it stands.
    pub file: String,
    /// Its commands, one line each, as far as they are readable without running anything.
    pub commands: Vec<String>,
}

/// `CODEOWNERS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owners {
    /// Where it stands.
    pub file: String,
    /// In the file's order; the last that matches counts.
    pub rules: Vec<OwnerRule>,
}

/// A line of `CODEOWNERS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerRule {
    /// In the syntax of `.gitignore`.
    pub pattern: String,
    /// Names and teams; none means that nobody owns it.
    pub owners: Vec<String>,
}

/// How large a change may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffLimit {
    /// Files.
    pub files: u64,
    /// Lines added and removed together.
    pub lines: u64,
    /// Where it stands; `None` is the default of Millrace.
    pub file: Option<String>,
}

impl Default for DiffLimit {
    /// What a person can still review in one sitting.
    fn default() -> Self {
        Self { files: 50, lines: 2_000, file: None }
    }
}

/// Something that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// What.
    pub what: GapKind,
    /// Where, and what that means.
    pub message: String,
    /// What to do.
    pub advice: String,
}

/// What can be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapKind {
    /// `.millrace.toml` is there and cannot be used.
    Settings,
    /// No file of tests.
    Tests,
    /// No command that runs tests.
    TestCommand,
    /// Dependencies are not pinned.
    Lockfile,
    /// Nothing measures the tests.
    Coverage,
    /// No linter.
    Lint,
    /// No continuous integration.
    Ci,
    /// No owners.
    Owners,
    /// A bound was reached: what lies beyond was not looked at.
    Bounds,
}

impl Profile {
    /// Whether something is missing.
    #[must_use]
    pub fn lacks(&self, what: GapKind) -> bool {
        self.missing.iter().any(|gap| gap.what == what)
    }

    /// As YAML, ending with a newline.
    ///
    /// # Errors
    /// None that a profile could cause; the writer's error is passed on.
    pub fn to_yaml(&self) -> Result<String, serde_norway::Error> {
        serde_norway::to_string(self)
    }

    /// As JSON with indentation, ending with a newline.
    ///
    /// # Errors
    /// None that a profile could cause; the writer's error is passed on.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}
