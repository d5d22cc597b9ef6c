//! References and objects of one repository: the few git calls that everything else is made of.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Identity;
use crate::error::ForgeError;
use crate::git::{Git, GitError};
use crate::names::check_commit;

/// How often a compare-and-swap that lost is tried again, from reading on.
pub(super) const MAX_TRIES: u32 = 20;

#[derive(Debug, Clone)]
pub(super) struct Repository {
    git: Git,
    place: PathBuf,
    bare: bool,
}

impl Repository {
    pub(super) async fn open(place: PathBuf, git: &Git, identity: &Identity) -> Result<Self, ForgeError> {
        let git = git
            .clone()
            .in_directory(&place)
            .with_variable("GIT_AUTHOR_NAME", &identity.name)
            .with_variable("GIT_AUTHOR_EMAIL", &identity.email)
            .with_variable("GIT_COMMITTER_NAME", &identity.name)
            .with_variable("GIT_COMMITTER_EMAIL", &identity.email);
        let answer = match git.run(["rev-parse", "--is-bare-repository"]).await {
            Ok(answer) => answer.text(),
            Err(source @ GitError::Failed { .. }) => {
                return Err(ForgeError::NotARepository { repository: place, source });
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { git, bare: answer == "true", place })
    }

    pub(super) fn git(&self) -> &Git {
        &self.git
    }

    /// The repository's own directory, which for a working tree is its `.git`.
    pub(super) async fn directory(&self) -> Result<String, ForgeError> {
        Ok(self.git.run(["rev-parse", "--absolute-git-dir"]).await?.text())
    }

    /// Every write passes here first.
    pub(super) fn require_bare(&self) -> Result<&Self, ForgeError> {
        if self.bare { Ok(self) } else { Err(ForgeError::NotBare { repository: self.place.clone() }) }
    }

    pub(super) async fn require_commit(&self, commit: &str) -> Result<(), ForgeError> {
        check_commit(commit)?;
        let kind = self.git.run_with(["cat-file", "-t", commit], &[], &[0, 128]).await?;
        if kind.text() == "commit" {
            Ok(())
        } else {
            Err(ForgeError::CommitNotFound { commit: commit.to_owned() })
        }
    }

    pub(super) async fn branch_head(&self, branch: &str) -> Result<Option<String>, ForgeError> {
        self.resolve(&branch_reference(branch)).await
    }

    /// What a full reference name points to.
    pub(super) async fn resolve(&self, reference: &str) -> Result<Option<String>, ForgeError> {
        let listed = self.list(reference).await?;
        Ok(listed.into_iter().find(|(name, _)| name == reference).map(|(_, object)| object))
    }

    /// The references at and below a name, with what they point to.
    pub(super) async fn list(&self, below: &str) -> Result<Vec<(String, String)>, ForgeError> {
        let listing = self.git.run(["for-each-ref", "--format=%(refname) %(objectname)", below]).await?;
        Ok(listing
            .text()
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, object)| (name.to_owned(), object.to_owned()))
            .collect())
    }

    pub(super) async fn is_ancestor(&self, ancestor: &str, descendant: &str) -> Result<bool, ForgeError> {
        let answer =
            self.git.run_with(["merge-base", "--is-ancestor", ancestor, descendant], &[], &[0, 1]).await?;
        Ok(answer.status == 0)
    }

    /// Applies all commands of `git update-ref --stdin` or none. `Ok(Err(detail))` means that a reference
    /// was not as expected, or another writer held it: read again and decide again.
    pub(super) async fn swap(&self, commands: &str) -> Result<Result<(), String>, ForgeError> {
        let transaction = format!("start\n{commands}prepare\ncommit\n");
        match self.git.run_with(["update-ref", "--stdin"], transaction.as_bytes(), &[0]).await {
            Ok(_) => Ok(Ok(())),
            Err(error) if error.lost_a_reference() => Ok(Err(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// Publishes a bundle's commit as a branch that did not exist.
    pub(super) async fn publish(
        &self,
        branch: &str,
        bundle: &[u8],
        head_sha: &str,
    ) -> Result<(), ForgeError> {
        check_commit(head_sha)?;
        if self.is_published(branch, head_sha).await? {
            return Ok(());
        }
        let file = self.written(bundle).await?;
        self.take_in(file.path(), head_sha).await?;
        let command = format!("create {} {head_sha}\n", branch_reference(branch));
        match self.swap(&command).await? {
            Ok(()) => Ok(()),
            Err(_) if self.is_published(branch, head_sha).await? => Ok(()),
            Err(detail) => Err(ForgeError::Contended { reference: branch_reference(branch), detail }),
        }
    }

    pub(super) async fn delete_branch(&self, branch: &str) -> Result<(), ForgeError> {
        let mut detail = String::new();
        for attempt in 0..MAX_TRIES {
            let Some(head) = self.branch_head(branch).await? else {
                return Ok(());
            };
            let command = format!("delete {} {head}\n", branch_reference(branch));
            match self.swap(&command).await? {
                Ok(()) => return Ok(()),
                Err(lost) => detail = lost,
            }
            step_back(attempt).await;
        }
        Err(ForgeError::Contended { reference: branch_reference(branch), detail })
    }

    async fn is_published(&self, branch: &str, head_sha: &str) -> Result<bool, ForgeError> {
        match self.branch_head(branch).await? {
            None => Ok(false),
            Some(actual) if actual == head_sha => Ok(true),
            Some(actual) => Err(ForgeError::BranchTaken {
                branch: branch.to_owned(),
                expected: head_sha.to_owned(),
                actual,
            }),
        }
    }

    /// The bundle as a file, gone when it is dropped. What a killed process leaves there has a name that git's
    /// own housekeeping removes (`git prune`: `tmp_*` among the objects).
    async fn written(&self, bundle: &[u8]) -> Result<tempfile::NamedTempFile, ForgeError> {
        let failed = |source| ForgeError::Io { action: "write a bundle to a file".to_owned(), source };
        let objects = Path::new(&self.directory().await?).join("objects");
        let file = tempfile::Builder::new().prefix("tmp_bundle_").tempfile_in(objects).map_err(failed)?;
        tokio::fs::write(file.path(), bundle).await.map_err(failed)?;
        Ok(file)
    }

    /// Reads the bundle's objects, checked by git, without touching a reference.
    async fn take_in(&self, bundle: &Path, head_sha: &str) -> Result<(), ForgeError> {
        let invalid = |detail: String| ForgeError::BundleInvalid { head_sha: head_sha.to_owned(), detail };
        let named = |error: GitError| match error {
            GitError::Failed { stderr, .. } => invalid(stderr),
            other => other.into(),
        };
        let file = bundle.as_os_str();
        let heads =
            self.git.run(["bundle".as_ref(), "list-heads".as_ref(), file]).await.map_err(named)?.text();
        let reference = heads
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(object, _)| *object == head_sha)
            .map(|(_, reference)| reference.to_owned())
            .ok_or_else(|| invalid("none of its references points there".to_owned()))?;
        self.git
            .run([
                "-c".as_ref(),
                "fetch.fsckObjects=true".as_ref(),
                "fetch".as_ref(),
                "--quiet".as_ref(),
                "--no-tags".as_ref(),
                "--no-write-fetch-head".as_ref(),
                file,
                reference.as_ref(),
            ])
            .await
            .map_err(named)?;
        self.require_commit(head_sha).await
    }
}

pub(super) fn branch_reference(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

/// A short, growing pause between two tries of a compare-and-swap.
pub(super) async fn step_back(attempt: u32) {
    tokio::time::sleep(Duration::from_millis(u64::from(attempt) * 5)).await;
}
