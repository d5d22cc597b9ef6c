//! The forge that needs nobody's service: one bare git repository.
//!
//! Branches are branches. Pull request `n` is the reference `refs/millrace/pulls/<n>`, a chain of commits
//! (one per change of state) whose tree holds `pull.json`; `refs/pull/<n>/head` keeps its head for
//! `git fetch`, as on hosted forges. What can be derived from branches is derived at each read: the head
//! of an open pull request, and whether its base contains it. So a crash between two references, a merge
//! made by hand, or a push by hand never leaves a record that contradicts the branches.

mod merge;
mod pulls;
mod record;
mod repository;
mod revert;
mod tree;

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::error::ForgeError;
use crate::git::{Git, GitVersion};
use crate::names::{check_branch, check_own_branch};
use crate::port::{
    Comment, Forge, MergeRequest, Merged, NewPullRequest, PullRequest, RevertRequest, Reverted,
};
use repository::Repository;

/// The first git with `merge-tree --write-tree`.
const LOWEST_GIT: GitVersion = GitVersion { major: 2, minor: 38 };

/// Who signs merge commits and records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name.
    pub name: String,
    /// The mail address.
    pub email: String,
}

impl Default for Identity {
    fn default() -> Self {
        Self { name: "Millrace".to_owned(), email: "millrace@localhost".to_owned() }
    }
}

/// Where the repository is and how it is written.
#[derive(Debug, Clone)]
pub struct LocalForgeConfig {
    /// An absolute path or a `file://` URL.
    pub url: String,
    /// Author and committer of what the forge writes.
    pub identity: Identity,
    /// The git to call.
    pub git: Git,
}

impl LocalForgeConfig {
    /// The repository at this place, with the default identity and the `git` on `PATH`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), identity: Identity::default(), git: Git::new() }
    }
}

/// A [`Forge`] on a bare repository. Any number of these, in any number of processes, may work on the
/// same repository. On a working tree it can read only.
#[derive(Debug, Clone)]
pub struct LocalForge {
    repository: Repository,
    url: String,
}

impl LocalForge {
    /// Looks at the repository and at git's version.
    ///
    /// # Errors
    /// `UnsupportedUrl`, `NotARepository`, `GitTooOld`.
    pub async fn open(config: LocalForgeConfig) -> Result<Self, ForgeError> {
        let place = local_path(&config.url)?;
        let found = config.git.version().await?;
        if found < LOWEST_GIT {
            return Err(ForgeError::GitTooOld { found, needed: LOWEST_GIT });
        }
        let repository = Repository::open(place, &config.git, &config.identity).await?;
        Ok(Self { repository, url: config.url })
    }
}

#[async_trait]
impl Forge for LocalForge {
    async fn push_bundle(&self, branch: &str, bundle: &[u8], head_sha: &str) -> Result<(), ForgeError> {
        check_own_branch(branch)?;
        self.repository.require_bare()?.publish(branch, bundle, head_sha).await
    }

    async fn find_pull_request(&self, head_branch: &str) -> Result<Option<PullRequest>, ForgeError> {
        check_branch(head_branch)?;
        pulls::find(&self.repository, head_branch).await
    }

    async fn open_pull_request(&self, new: &NewPullRequest) -> Result<PullRequest, ForgeError> {
        check_branch(&new.head_branch)?;
        check_branch(&new.base_branch)?;
        pulls::open(self.repository.require_bare()?, new).await
    }

    async fn pull_request(&self, number: u64) -> Result<Option<PullRequest>, ForgeError> {
        pulls::get(&self.repository, number).await
    }

    async fn comment(&self, number: u64, idempotency_key: &str, body: &str) -> Result<Comment, ForgeError> {
        pulls::comment(self.repository.require_bare()?, number, idempotency_key, body).await
    }

    async fn comments(&self, number: u64) -> Result<Vec<Comment>, ForgeError> {
        pulls::comments(&self.repository, number).await
    }

    async fn mark_ready(&self, number: u64) -> Result<(), ForgeError> {
        pulls::mark_ready(self.repository.require_bare()?, number).await
    }

    async fn close_pull_request(&self, number: u64, reason: &str) -> Result<(), ForgeError> {
        pulls::close(self.repository.require_bare()?, number, reason).await
    }

    async fn branch_head(&self, branch: &str) -> Result<Option<String>, ForgeError> {
        check_branch(branch)?;
        self.repository.branch_head(branch).await
    }

    async fn delete_branch(&self, branch: &str) -> Result<(), ForgeError> {
        check_own_branch(branch)?;
        self.repository.require_bare()?.delete_branch(branch).await
    }

    async fn merge(&self, request: &MergeRequest) -> Result<Merged, ForgeError> {
        merge::merge(self.repository.require_bare()?, request).await
    }

    async fn revert(&self, request: &RevertRequest) -> Result<Reverted, ForgeError> {
        check_branch(&request.base_branch)?;
        revert::revert(self.repository.require_bare()?, request).await
    }

    async fn reverted_by(&self, commit: &str, descendant: &str) -> Result<Option<String>, ForgeError> {
        revert::reverted_by(&self.repository, commit, descendant).await
    }

    async fn read_file(&self, commit: &str, path: &str) -> Result<Option<Vec<u8>>, ForgeError> {
        tree::read_file(&self.repository, commit, path).await
    }

    async fn is_ancestor(&self, ancestor: &str, descendant: &str) -> Result<bool, ForgeError> {
        self.repository.require_commit(ancestor).await?;
        self.repository.require_commit(descendant).await?;
        self.repository.is_ancestor(ancestor, descendant).await
    }

    async fn checkout(&self, commit: &str, into: &Path) -> Result<(), ForgeError> {
        tree::checkout(&self.repository, commit, into).await
    }

    fn clone_url(&self) -> String {
        self.url.clone()
    }
}

fn local_path(url: &str) -> Result<PathBuf, ForgeError> {
    let path = PathBuf::from(url.strip_prefix("file://").unwrap_or(url));
    if path.is_absolute() { Ok(path) } else { Err(ForgeError::UnsupportedUrl { url: url.to_owned() }) }
}
