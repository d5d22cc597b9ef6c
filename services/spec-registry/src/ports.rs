//! What the registry needs from the world: places where specifications are written.

use std::time::Duration;

use async_trait::async_trait;
use millrace_events::MAX_PLAN_BYTES;

use crate::domain::format::{self, MAX_SPEC_BYTES, ParseSettings, Problem, Spec};

/// A place where specifications are written, bound to one repository.
///
/// Implemented by [`crate::adapters::GitScan`] and, for tests, [`crate::adapters::ScriptedSource`]; one
/// contract suite runs on both.
#[async_trait]
pub trait SpecSource: Send + Sync {
    /// Reads every specification at the head of the base branch.
    ///
    /// With the cursor of an earlier scan, nothing is read if nothing under the specs path has changed
    /// since: [`Scan::unchanged`] is set then and `files` is empty. Files come in the order of their paths.
    ///
    /// # Errors
    /// [`SourceError`]; a single file that is too large is no error but a [`Blob`] that says so.
    async fn scan(&self, since: Option<&ScanCursor>) -> Result<Scan, SourceError>;

    /// Looks for the specification of one task, first by file name, then inside files whose name has no
    /// id. The first path wins.
    ///
    /// # Errors
    /// As [`SpecSource::scan`], with a shorter deadline.
    async fn find(&self, task_id: &str) -> Result<Option<Found>, SourceError>;

    /// The head of the base branch, in hex.
    ///
    /// # Errors
    /// As [`SpecSource::find`].
    async fn head(&self) -> Result<String, SourceError>;
}

/// The specification of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The commit that was read, in hex.
    pub commit: String,
    /// The specification.
    pub file: SpecFile,
}

/// The result of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The commit that was read, in hex.
    pub commit: String,
    /// The specifications, ordered by path.
    pub files: Vec<SpecFile>,
    /// Whether nothing changed since the given cursor.
    pub unchanged: bool,
    /// What to give to the next scan.
    pub cursor: ScanCursor,
}

/// How far a source has been read. Kept in memory only: a scan without one repeats work and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanCursor {
    /// The head of the base branch.
    pub commit: String,
    /// The tree of the specs path; `None` if there is none. A commit elsewhere leaves it as it is.
    pub tree: Option<String>,
}

/// A specification with the plan that stands beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFile {
    /// The specification.
    pub spec: Blob,
    /// `<spec name>.plan.yaml` in the same folder.
    pub plan: Option<Blob>,
}

/// A file as it stands in git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Path from the root of the repository.
    pub path: String,
    /// Git's id of the bytes, in hex.
    pub sha: String,
    /// The bytes; empty if `oversize` is set.
    pub bytes: Vec<u8>,
    /// The size in bytes of a file over [`MAX_SPEC_BYTES`], which is not read.
    pub oversize: Option<u64>,
}

impl SpecFile {
    /// Reads the specification and checks that at most one plan belongs to it.
    ///
    /// # Errors
    /// Every fault together, as [`format::parse`].
    pub fn parse(&self, settings: &ParseSettings) -> Result<Spec, Vec<Problem>> {
        let mut problems = Vec::new();
        if self.spec.oversize.is_some() {
            problems.push(Problem::too_large("the file"));
        }
        if let Some(plan) = &self.plan
            && plan.oversize.is_some()
        {
            problems.push(Problem::too_large(&plan.path));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let spec = format::parse(&self.spec.path, &self.spec.bytes, settings)?;
        let too_large = |bytes: &[u8]| bytes.len() > MAX_PLAN_BYTES;
        match (&spec.plan, &self.plan) {
            (Some(inside), Some(beside)) => Err(vec![Problem::second_plan(inside.line, &beside.path)]),
            (Some(inside), None) if too_large(inside.text.as_bytes()) => {
                Err(vec![Problem::plan_too_large(Some(inside.line), MAX_PLAN_BYTES)])
            }
            (None, Some(beside)) if too_large(&beside.bytes) => {
                Err(vec![Problem::plan_too_large(None, MAX_PLAN_BYTES)])
            }
            _ => Ok(spec),
        }
    }
}

/// Where a repository is and what in it belongs to the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its id in the configuration.
    pub id: String,
    /// A path to a bare repository or a working tree, or a `file://`, `https://` or `ssh://` URL.
    pub location: String,
    /// The branch whose head counts. Of a working tree, the committed head.
    pub base_branch: String,
    /// The folder that is searched, with everything below it.
    pub specs_path: String,
}

/// How much one scan may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimits {
    /// The most files of a repository.
    pub files: usize,
    /// The most bytes of all files together. A single file is read up to [`MAX_SPEC_BYTES`].
    pub total_bytes: u64,
    /// How long a scan may take, with its fetch.
    pub scan_deadline: Duration,
    /// How long the search for one task may take, with its fetch.
    pub find_deadline: Duration,
}

impl Default for ScanLimits {
    fn default() -> Self {
        Self {
            files: 10_000,
            total_bytes: 256 * MAX_SPEC_BYTES as u64,
            scan_deadline: Duration::from_secs(120),
            find_deadline: Duration::from_secs(20),
        }
    }
}

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is nothing at the location.
    #[error("repository `{repository}`: there is nothing at {location}: check the path or URL")]
    NotFound {
        /// Its id.
        repository: String,
        /// Where it was looked for, without credentials.
        location: String,
    },
    /// There is something else at the location.
    #[error(
        "repository `{repository}`: {location} is not a git repository: run `git init` there, or check the path"
    )]
    NotARepository {
        /// Its id.
        repository: String,
        /// Where it was looked for, without credentials.
        location: String,
    },
    /// The repository has no such branch.
    #[error("repository `{repository}` has no branch `{branch}`{}", list(branches))]
    NoSuchBranch {
        /// Its id.
        repository: String,
        /// The branch that was asked for.
        branch: String,
        /// Some of the branches it has.
        branches: Vec<String>,
    },
    /// A remote repository gave no usable answer.
    #[error("repository `{repository}`: {location} could not be fetched: {reason}")]
    Unreachable {
        /// Its id.
        repository: String,
        /// Where it was looked for, without credentials.
        location: String,
        /// What git said, without credentials.
        reason: String,
    },
    /// There is more than the limits allow.
    #[error("repository `{repository}` has {found} {what} under `{path}`, more than {limit}")]
    TooMuch {
        /// Its id.
        repository: String,
        /// What there is too much of.
        what: &'static str,
        /// How much there is, at least.
        found: u64,
        /// How much is allowed.
        limit: u64,
        /// The specs path.
        path: String,
    },
    /// The deadline passed.
    #[error("repository `{repository}` could not be read within {} s", deadline.as_secs())]
    TimedOut {
        /// Its id.
        repository: String,
        /// The deadline.
        deadline: Duration,
    },
    /// A setting that cannot be meant.
    #[error("repository `{repository}`: {reason}")]
    Misconfigured {
        /// Its id.
        repository: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Git failed in a way that has no name here.
    #[error("repository `{repository}` could not be read")]
    Git {
        /// Its id.
        repository: String,
        /// What git said.
        #[source]
        source: millrace_forge::GitError,
    },
    /// Git answered what it should not.
    #[error("repository `{repository}`: git answered `{answer}`: run `git fsck` there")]
    Damaged {
        /// Its id.
        repository: String,
        /// The beginning of the answer.
        answer: String,
    },
    /// The folder for mirrors could not be used.
    #[error("the cache directory {path} cannot be used")]
    Cache {
        /// The folder.
        path: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl SourceError {
    /// Whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            Self::Git { source, .. } => source.is_transient(),
            Self::NotFound { .. }
            | Self::NotARepository { .. }
            | Self::NoSuchBranch { .. }
            | Self::TooMuch { .. }
            | Self::Misconfigured { .. }
            | Self::Damaged { .. }
            | Self::Cache { .. } => false,
        }
    }
}

fn list(branches: &[String]) -> String {
    if branches.is_empty() {
        ", nor any other".to_owned()
    } else {
        format!("; it has {}", branches.join(", "))
    }
}
