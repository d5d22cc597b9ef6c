//! `millrace repo …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `millrace repo …`
#[derive(Debug, Subcommand)]
pub enum RepoCommand {
    /// Shows how a repository is built and tested, and what it lacks. Nothing in it is run. Exit code 1 when no
    /// change could be judged in it (PROFILE_MISSING).
    #[command(
        after_help = "Examples:\n  millrace repo profile\n  millrace repo profile ../shop --output yaml"
    )]
    Profile {
        /// The repository's folder.
        #[arg(value_name = "PATH", default_value = ".")]
        path: PathBuf,
    },
    /// Lists files with their symbols, or where a symbol is defined. Exit code 5 when there is no such symbol.
    #[command(
        after_help = "Examples:\n  millrace repo index .\n  millrace repo index . --symbol Cart::total"
    )]
    Index(RepoIndex),
    /// Shows what a change would touch, which evidence is missing and which rules would speak. Writes nothing. Exit
    /// code 1 when the change is too large or a rule forbids it.
    #[command(after_help = "Example:\n  millrace repo dry-run . --change change.yaml --output json")]
    DryRun(RepoDryRun),
}

/// What to look up.
#[derive(Debug, Args)]
pub struct RepoIndex {
    /// The repository's folder.
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Only the definitions of this, such as `total` or `Cart::total`.
    #[arg(long, value_name = "NAME")]
    pub symbol: Option<String>,
}

/// What to try.
#[derive(Debug, Args)]
pub struct RepoDryRun {
    /// The repository's folder.
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// The change set (YAML or JSON): `edits` and `commands`, alone or under `change` as in a plan.
    #[arg(long, value_name = "FILE")]
    pub change: PathBuf,
}
