//! A fresh working copy of a repository, made by fetching: nothing is shared with where it came from, no
//! hooks, no templates, no credentials. Commits are made by plumbing, so that nothing in the working copy
//! has a say in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_decider::Timestamp;
use millrace_forge::{Git, GitError, LOCAL_UPLOAD_PACK, Output};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// How long one call of git may take: a first fetch of a large repository is the longest.
const GIT_DEADLINE: Duration = Duration::from_secs(10 * 60);
const NAME: &str = "Millrace";
const EMAIL: &str = "millrace@localhost";

/// A working copy. Everything it does ends when it is cancelled.
#[derive(Debug, Clone)]
pub struct Checkout {
    root: PathBuf,
    git: Git,
    location: String,
    cancel: CancellationToken,
}

/// What to commit.
#[derive(Debug, Clone, Copy)]
pub struct Proposal<'a> {
    /// The commit that the change starts from.
    pub base: &'a str,
    /// The branch that is to hold it.
    pub branch: &'a str,
    /// The message, trailers included.
    pub message: &'a str,
    /// Author's and committer's date: the same change at the same time is the same commit.
    pub date: Timestamp,
}

/// A file that differs between two commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// From the repository's root.
    pub path: String,
    /// `A` added, `M` modified, `D` deleted, `T` type changed.
    pub status: String,
}

/// What a trial merge came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// The working copy holds the result.
    Clean,
    /// These files conflict.
    Conflicts(Vec<String>),
}

/// Why git did not do it.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The branch is not in the repository.
    #[error("there is no branch `{branch}`")]
    NoSuchBranch {
        /// The branch.
        branch: String,
    },
    /// A command left a repository inside the working copy, which would be committed as a bare pointer.
    #[error("`{path}` is a git repository of its own")]
    Nested {
        /// Where.
        path: String,
    },
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
}

type Result<T> = std::result::Result<T, CheckoutError>;

impl Checkout {
    /// An empty repository at `root`, to be filled from `location`, a path or URL.
    ///
    /// # Errors
    /// Git fails, or it is cancelled.
    pub async fn create(root: PathBuf, location: &str, cancel: CancellationToken) -> Result<Self> {
        let git = Git::new()
            .with_deadline(GIT_DEADLINE)
            .with_variable("GIT_AUTHOR_NAME", NAME)
            .with_variable("GIT_AUTHOR_EMAIL", EMAIL)
            .with_variable("GIT_COMMITTER_NAME", NAME)
            .with_variable("GIT_COMMITTER_EMAIL", EMAIL);
        let location = absolute(location);
        let checkout = Self { git: git.in_directory(&root), root, location, cancel };
        let init = Git::new().with_deadline(GIT_DEADLINE);
        let arguments = ["init", "--quiet", "--template=", "--initial-branch=millrace-start"];
        let path = checkout.root.as_os_str();
        checkout.bounded(init.run(arguments.iter().map(|word| word.as_ref()).chain([path]))).await?;
        Ok(checkout)
    }

    /// The working copy.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Fetches a branch with its history. Its commit.
    ///
    /// # Errors
    /// `NoSuchBranch`, or git fails.
    pub async fn fetch(&self, branch: &str) -> Result<String> {
        let refspec = format!("+refs/heads/{branch}:{}", fetched(branch));
        let mut arguments = vec!["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"];
        if is_local(&self.location) {
            arguments.extend(["--upload-pack", LOCAL_UPLOAD_PACK]);
        }
        arguments.extend(["--", &self.location, &refspec]);
        match self.run(arguments).await {
            // Git has no code for it, only a sentence; its language is fixed.
            Err(CheckoutError::Git(GitError::Failed { stderr, .. }))
                if stderr.contains("couldn't find remote ref") =>
            {
                return Err(CheckoutError::NoSuchBranch { branch: branch.to_owned() });
            }
            other => other.map(drop)?,
        }
        Ok(self.run(["rev-parse", "--verify", &fetched(branch)]).await?.text())
    }

    /// Whether `commit` is in the history of a fetched branch.
    ///
    /// # Errors
    /// Git fails.
    pub async fn is_on(&self, commit: &str, branch: &str) -> Result<bool> {
        let tip = fetched(branch);
        let call = self.git.run_with(["merge-base", "--is-ancestor", commit, &tip], &[], &[0, 1, 128]);
        Ok(self.bounded(call).await?.status == 0)
    }

    /// Fills the working copy with a commit, on no branch.
    ///
    /// # Errors
    /// Git fails.
    pub async fn switch_to(&self, commit: &str) -> Result<()> {
        self.run(["checkout", "--quiet", "--detach", commit, "--"]).await.map(drop)
    }

    /// Merges `commit` into the working copy and commits nothing.
    ///
    /// # Errors
    /// Git fails for another reason than conflicts.
    pub async fn merge(&self, commit: &str) -> Result<Merge> {
        let arguments = ["merge", "--no-ff", "--no-commit", "--quiet", commit];
        match self.run(arguments).await {
            Ok(_) => Ok(Merge::Clean),
            Err(CheckoutError::Git(GitError::Failed { command, status: 1, stderr })) => {
                let listed = self.run(["diff", "--name-only", "--diff-filter=U", "-z"]).await?;
                match fields(&listed) {
                    conflicts if conflicts.is_empty() => {
                        Err(GitError::Failed { command, status: 1, stderr }.into())
                    }
                    conflicts => Ok(Merge::Conflicts(conflicts)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Commits everything in the working copy on top of `base`. `None`: nothing has changed.
    ///
    /// # Errors
    /// `Nested`, or git fails.
    pub async fn commit(&self, proposal: &Proposal<'_>) -> Result<Option<String>> {
        let Proposal { base, branch, message, date } = *proposal;
        self.run(["add", "--all", "--", "."]).await?;
        let staged = self.run(["diff", "--cached", "--raw", "--no-renames", "-z", base]).await?;
        if let Some(path) = new_repository(&fields(&staged)) {
            return Err(CheckoutError::Nested { path });
        }
        let tree = self.run(["write-tree"]).await?.text();
        if tree == self.run(["rev-parse", &format!("{base}^{{tree}}")]).await?.text() {
            return Ok(None);
        }
        let date = format!("{} +0000", date.as_micros().div_euclid(1_000_000));
        let git = self
            .git
            .clone()
            .with_variable("GIT_AUTHOR_DATE", &date)
            .with_variable("GIT_COMMITTER_DATE", &date);
        let call = git.run_with(["commit-tree", &tree, "-p", base], message.as_bytes(), &[0]);
        let commit = self.bounded(call).await?.text();
        self.run(["update-ref", &format!("refs/heads/{branch}"), &commit]).await?;
        Ok(Some(commit))
    }

    /// The difference between two commits, as a patch.
    ///
    /// # Errors
    /// Git fails, or the patch is larger than one call may return.
    pub async fn patch(&self, base: &str, head: &str) -> Result<Vec<u8>> {
        Ok(self.run(["diff", "--binary", "--no-renames", "--no-ext-diff", base, head, "--"]).await?.stdout)
    }

    /// The files that differ between two commits.
    ///
    /// # Errors
    /// Git fails.
    pub async fn changed(&self, base: &str, head: &str) -> Result<Vec<Changed>> {
        let listed = self.run(["diff", "--name-status", "--no-renames", "-z", base, head, "--"]).await?;
        let fields = fields(&listed);
        let pairs = fields.chunks_exact(2).filter_map(|pair| match pair {
            [status, path] => Some(Changed { path: path.clone(), status: status.clone() }),
            _ => None,
        });
        Ok(pairs.collect())
    }

    /// How the working copy, files included that git does not know yet, differs from `base`: a patch, or the names
    /// of the files with what happened to each. Of one file if it is named.
    ///
    /// # Errors
    /// Git fails, or the patch is larger than one call may return.
    pub async fn difference(&self, base: &str, path: Option<&str>, is_names: bool) -> Result<Vec<u8>> {
        self.run(["add", "--all", "--", "."]).await?;
        let mut arguments = vec!["--literal-pathspecs", "diff", "--cached", "--no-renames", "--no-ext-diff"];
        arguments.push(if is_names { "--name-status" } else { "--patch" });
        arguments.extend([base, "--"]);
        arguments.extend(path);
        Ok(self.run(arguments).await?.stdout)
    }

    /// The newest commits up to `commit`, a line each.
    ///
    /// # Errors
    /// Git fails.
    pub async fn history(&self, commit: &str, count: u64) -> Result<Vec<u8>> {
        let count = format!("--max-count={count}");
        Ok(self.run(["log", "--no-decorate", "--format=%h %as %s", &count, commit, "--"]).await?.stdout)
    }

    /// The files of a commit, at most `limit`.
    ///
    /// # Errors
    /// Git fails.
    pub async fn files(&self, commit: &str, limit: usize) -> Result<Vec<String>> {
        let listed = self.run(["ls-tree", "-r", "--name-only", "-z", commit]).await?;
        Ok(fields(&listed).into_iter().take(limit).collect())
    }

    /// Everything on `branch` that is not in `base`, as a git bundle.
    ///
    /// # Errors
    /// Git fails, or the bundle is larger than one call may return.
    pub async fn bundle(&self, base: &str, branch: &str) -> Result<Vec<u8>> {
        let branch = format!("refs/heads/{branch}");
        Ok(self.run(["bundle", "create", "--quiet", "-", &format!("^{base}"), &branch]).await?.stdout)
    }

    async fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Output> {
        self.bounded(self.git.run(arguments)).await
    }

    /// Dropping the call ends git.
    async fn bounded<T>(&self, call: impl Future<Output = std::result::Result<T, GitError>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(CheckoutError::Cancelled),
            done = call => Ok(done?),
        }
    }
}

/// Where a fetched branch stands: not under `refs/heads`, which is for what is made here.
fn fetched(branch: &str) -> String {
    format!("refs/fetched/{branch}")
}

/// A path, or a URL of this machine.
fn is_local(location: &str) -> bool {
    let is_scp_like = location.split_once(':').is_some_and(|(host, _)| !host.contains('/'));
    location.starts_with("file://") || (!location.contains("://") && !is_scp_like)
}

/// Git runs inside the working copy: a relative path must not depend on that.
fn absolute(location: &str) -> String {
    if !is_local(location) || location.starts_with("file://") {
        return location.to_owned();
    }
    std::path::absolute(location)
        .ok()
        .and_then(|path| path.to_str().map(str::to_owned))
        .unwrap_or_else(|| location.to_owned())
}

fn fields(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.split('\0').filter(|field| !field.is_empty()).map(str::to_owned).collect()
}

/// The path of an entry that was none before and is a repository now: mode 160000 in `diff --raw`.
fn new_repository(raw: &[String]) -> Option<String> {
    raw.chunks_exact(2).find_map(|pair| match pair {
        [entry, path] => {
            let mut modes = entry.trim_start_matches(':').split(' ');
            let (before, after) = (modes.next()?, modes.next()?);
            (after == "160000" && before != after).then(|| path.clone())
        }
        _ => None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_local_and_urls_are_not() {
        for local in ["/srv/a.git", "a.git", "./a", "file:///srv/a"] {
            assert!(is_local(local), "{local}");
        }
        for remote in ["https://forge.example/a", "git@forge.example:a/b", "ssh://forge.example/a"] {
            assert!(!is_local(remote), "{remote}");
        }
        assert!(absolute("a.git").starts_with('/'));
    }
}
