//! What can go wrong on a forge, by what someone can do about it.

use std::path::PathBuf;

use crate::git::{GitError, GitVersion};

/// Why a forge did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// The URL is neither an absolute path nor a `file://` URL.
    #[error("`{url}` is not a local repository: give an absolute path or a file:// URL")]
    UnsupportedUrl {
        /// The URL as configured.
        url: String,
    },
    /// There is no git repository at that place.
    #[error("{} is not a git repository", repository.display())]
    NotARepository {
        /// The place.
        repository: PathBuf,
        /// What git said.
        #[source]
        source: GitError,
    },
    /// The repository has a working tree. It can be read; a push would pull the rug from under the
    /// people who work in it.
    #[error(
        "{} is a working tree, which Millrace reads but never writes to: use a bare repository \
         (`git clone --bare`) and push to it",
        repository.display()
    )]
    NotBare {
        /// The repository.
        repository: PathBuf,
    },
    /// The installed git lacks `merge-tree --write-tree`.
    #[error("git {found} is too old: version {needed} or newer is needed to merge")]
    GitTooOld {
        /// The version found.
        found: GitVersion,
        /// The lowest version that works.
        needed: GitVersion,
    },
    /// The name is not one that Millrace may write, or no branch name at all.
    #[error("`{branch}` is refused: {reason}")]
    BranchRefused {
        /// The branch.
        branch: String,
        /// Which rule refuses it.
        reason: &'static str,
    },
    /// The branch exists with another commit: somebody else wrote it.
    #[error("branch {branch} already exists at {actual}, not at {expected}")]
    BranchTaken {
        /// The branch.
        branch: String,
        /// The commit that should have been published.
        expected: String,
        /// The commit that is there.
        actual: String,
    },
    /// The branch does not exist.
    #[error("there is no branch {branch}")]
    BranchNotFound {
        /// The branch.
        branch: String,
    },
    /// The bundle is broken, incomplete, or does not contain the commit.
    #[error("the bundle does not deliver commit {head_sha}: {detail}")]
    BundleInvalid {
        /// The commit that was announced.
        head_sha: String,
        /// What is wrong with the bundle.
        detail: String,
    },
    /// The repository has no such commit.
    #[error("there is no commit {commit}")]
    CommitNotFound {
        /// The commit as asked for.
        commit: String,
    },
    /// The path may not be read from a repository.
    #[error("`{path}` is not a path inside a repository")]
    PathRefused {
        /// The path.
        path: String,
    },
    /// The place for a checkout exists and is not empty.
    #[error("{} exists already and is not empty", directory.display())]
    DirectoryNotEmpty {
        /// The place.
        directory: PathBuf,
    },
    /// There is no such pull request: it never existed or was deleted.
    #[error("there is no pull request {number}")]
    PullRequestNotFound {
        /// Its number.
        number: u64,
    },
    /// The pull request was closed without being merged.
    #[error("pull request {number} is closed")]
    Closed {
        /// Its number.
        number: u64,
    },
    /// The pull request was merged.
    #[error("pull request {number} is already merged")]
    AlreadyMerged {
        /// Its number.
        number: u64,
    },
    /// The pull request is a draft.
    #[error("pull request {number} is a draft: mark it ready first")]
    Draft {
        /// Its number.
        number: u64,
    },
    /// The head is not the commit that was validated.
    #[error("the head of pull request {number} is {actual}, not {expected}")]
    HeadMoved {
        /// Its number.
        number: u64,
        /// The commit that was validated.
        expected: String,
        /// The head now.
        actual: String,
    },
    /// The base is not the commit that the checks ran against.
    #[error("the base of pull request {number} is {actual}, not {expected}")]
    BaseMoved {
        /// Its number.
        number: u64,
        /// The commit that the checks ran against.
        expected: String,
        /// The base now.
        actual: String,
    },
    /// Head and base change the same lines.
    #[error("pull request {number} conflicts with its base in {}", paths.join(", "))]
    Conflict {
        /// Its number.
        number: u64,
        /// The paths in conflict, sorted.
        paths: Vec<String>,
    },
    /// The base contains the head already.
    #[error("{head_branch} has nothing that {base_branch} does not have")]
    NothingToMerge {
        /// The branch to be merged.
        head_branch: String,
        /// The branch to merge into.
        base_branch: String,
    },
    /// The branch does not contain the commit, or the commit is no merge.
    #[error("there is nothing to revert: {commit} {reason}")]
    NothingToRevert {
        /// The commit.
        commit: String,
        /// What it lacks.
        reason: &'static str,
    },
    /// Other writers were faster, every time.
    #[error("{reference} kept changing or stayed locked: {detail}")]
    Contended {
        /// The reference.
        reference: String,
        /// What git said the last time. A `.lock` file named here that does not go away was left by a
        /// git that was killed, and can be deleted.
        detail: String,
    },
    /// A record of the forge cannot be read.
    #[error("the record {reference} is damaged")]
    Damaged {
        /// The reference that holds it.
        reference: String,
        /// Why it cannot be read.
        #[source]
        source: serde_json::Error,
    },
    /// The file system failed.
    #[error("could not {action}")]
    Io {
        /// What was tried.
        action: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// Git failed in a way that has no name of its own here.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl ForgeError {
    /// Whether the same call may succeed later with nothing changed. Everything else is an answer.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Contended { .. } | Self::Io { .. } => true,
            Self::Git(error) => error.is_transient(),
            _ => false,
        }
    }
}
