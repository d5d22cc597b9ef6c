//! The port: what Millrace asks of a forge, hosted or local.

use std::path::Path;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::ForgeError;

/// A repository with branches and pull requests. Every write may be repeated after a crash: it asks
/// first whether it has already happened. All commits are full hexadecimal ids.
#[async_trait]
pub trait Forge: Send + Sync {
    /// Publishes the bundle's commit `head_sha` as `branch`, which must lie under `millrace/`. A branch
    /// has one writer ever: the same commit again is fine, another one is refused.
    ///
    /// # Errors
    /// `BranchTaken`, `BranchRefused`, `BundleInvalid`, `NotBare`.
    async fn push_bundle(&self, branch: &str, bundle: &[u8], head_sha: &str) -> Result<(), ForgeError>;

    /// The pull request with this head branch, whatever its state: the open one if there is one, else
    /// the newest.
    ///
    /// # Errors
    /// Only what a read can fail with.
    async fn find_pull_request(&self, head_branch: &str) -> Result<Option<PullRequest>, ForgeError>;

    /// Opens a pull request, or returns the one that this head branch already has, closed or merged ones
    /// included: an attempt's branch gets one pull request ever.
    ///
    /// # Errors
    /// `BranchNotFound` (head or base), `NothingToMerge`, `NotBare`, `Contended`.
    async fn open_pull_request(&self, new: &NewPullRequest) -> Result<PullRequest, ForgeError>;

    /// The pull request as it stands now; `None` when it was deleted or never existed.
    ///
    /// # Errors
    /// Only what a read can fail with.
    async fn pull_request(&self, number: u64) -> Result<Option<PullRequest>, ForgeError>;

    /// Adds a comment, once per idempotency key: a second call returns the first comment unchanged.
    ///
    /// # Errors
    /// `PullRequestNotFound`, `NotBare`, `Contended`.
    async fn comment(&self, number: u64, idempotency_key: &str, body: &str) -> Result<Comment, ForgeError>;

    /// The comments, oldest first.
    ///
    /// # Errors
    /// `PullRequestNotFound`.
    async fn comments(&self, number: u64) -> Result<Vec<Comment>, ForgeError>;

    /// Turns a draft into a pull request that can be merged. Nothing happens if it is one.
    ///
    /// # Errors
    /// `PullRequestNotFound`, `Closed`, `NotBare`, `Contended`.
    async fn mark_ready(&self, number: u64) -> Result<(), ForgeError>;

    /// Closes without merging and records the reason. Nothing happens if it is closed.
    ///
    /// # Errors
    /// `PullRequestNotFound`, `AlreadyMerged`, `NotBare`, `Contended`.
    async fn close_pull_request(&self, number: u64, reason: &str) -> Result<(), ForgeError>;

    /// The commit that a branch points to; `None` when there is no such branch.
    ///
    /// # Errors
    /// `BranchRefused` for a name that no branch can have.
    async fn branch_head(&self, branch: &str) -> Result<Option<String>, ForgeError>;

    /// Deletes a branch under `millrace/`. Nothing happens if it is gone.
    ///
    /// # Errors
    /// `BranchRefused` for any other branch, `NotBare`.
    async fn delete_branch(&self, branch: &str) -> Result<(), ForgeError>;

    /// Merges head into base with a merge commit and moves the base by compare-and-swap. A pull request
    /// that is merged already returns its merge commit, whoever merged it.
    ///
    /// # Errors
    /// `PullRequestNotFound`, `Closed`, `Draft`, `HeadMoved`, `BaseMoved`, `Conflict`, `NotBare`,
    /// `Contended`.
    async fn merge(&self, request: &MergeRequest) -> Result<Merged, ForgeError>;

    /// Takes a merge's change out of its base branch again: a pull request from `millrace/revert/<commit>`,
    /// whose commit carries the trailer `Reverts: <commit>`, merged by compare-and-swap. A merge that is
    /// reverted already, by whomever, returns that.
    ///
    /// # Errors
    /// `CommitNotFound`, `NothingToRevert`, `BranchNotFound`, `BranchTaken`, `Conflict`, `Closed`, `NotBare`,
    /// `Contended`.
    async fn revert(&self, request: &RevertRequest) -> Result<Reverted, ForgeError>;

    /// The commit that took `commit` back, if `descendant` contains one: its message has the trailer
    /// `Reverts: <commit>`, or git's own sentence `This reverts commit <commit>`.
    ///
    /// # Errors
    /// `CommitNotFound`.
    async fn reverted_by(&self, commit: &str, descendant: &str) -> Result<Option<String>, ForgeError>;

    /// A file's bytes at a commit; `None` when there is no regular file at that path.
    ///
    /// # Errors
    /// `CommitNotFound`, `PathRefused`.
    async fn read_file(&self, commit: &str, path: &str) -> Result<Option<Vec<u8>>, ForgeError>;

    /// Whether `descendant` contains `ancestor`. A commit contains itself.
    ///
    /// # Errors
    /// `CommitNotFound`.
    async fn is_ancestor(&self, ancestor: &str, descendant: &str) -> Result<bool, ForgeError>;

    /// Writes the plain files of a commit, without `.git`, into a directory that does not exist or is
    /// empty. It appears whole or not at all, readable by every user.
    ///
    /// # Errors
    /// `CommitNotFound`, `DirectoryNotEmpty`, `Io`.
    async fn checkout(&self, commit: &str, into: &Path) -> Result<(), ForgeError>;

    /// What to give to `git clone`.
    fn clone_url(&self) -> String;
}

/// A pull request to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPullRequest {
    /// One line.
    pub title: String,
    /// Markdown.
    pub body: String,
    /// The branch with the change.
    pub head_branch: String,
    /// The branch to merge into.
    pub base_branch: String,
    /// Whether it opens as a draft.
    pub draft: bool,
    /// Labels, in order.
    pub labels: Vec<String>,
}

/// A pull request as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Its number, from 1; never used twice.
    pub number: u64,
    /// One line.
    pub title: String,
    /// Markdown.
    pub body: String,
    /// Open, merged or closed.
    pub state: State,
    /// Whether it is a draft.
    pub draft: bool,
    /// The branch with the change.
    pub head_branch: String,
    /// Where the head branch is; once merged or closed, where it was.
    pub head_sha: String,
    /// The branch to merge into.
    pub base_branch: String,
    /// Where the base branch is; once merged or closed, where it was just before.
    pub base_sha: String,
    /// The commit that merged it; set when `state` is merged.
    pub merge_commit: Option<String>,
    /// Labels, in order.
    pub labels: Vec<String>,
}

/// The state of a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Can still be merged.
    Open,
    /// Its change is in the base branch.
    Merged,
    /// Given up, or its head branch was deleted.
    Closed,
}

/// A comment on a pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// The key that keeps it from being written twice.
    pub idempotency_key: String,
    /// Markdown.
    pub body: String,
}

/// What to merge, and what must still be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeRequest {
    /// The pull request.
    pub number: u64,
    /// The head that was validated.
    pub expected_head: String,
    /// The base that the checks ran against, if that matters.
    pub expected_base: Option<String>,
    /// The merge commit's message with its trailers.
    pub message: String,
    /// The merge commit's date; the moment of the call when absent.
    pub at: Option<jiff::Timestamp>,
}

/// A merge that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Merged {
    /// The commit that brought the head into the base.
    pub commit: String,
    /// Where the base was just before.
    pub base_before: String,
}

/// A merge to take back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevertRequest {
    /// The merge commit whose change is to leave the branch.
    pub merge_commit: String,
    /// The branch that contains it.
    pub base_branch: String,
    /// Why, in markdown: the body of the pull request and of its commits.
    pub reason: String,
}

/// A revert that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Reverted {
    /// The commit with the opposite change.
    pub commit: String,
}
