//! Reads specifications out of a git repository at the head of its base branch.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use millrace_forge::{Git, GitError};

use super::git_mirror::{Checkout, is_url};
use super::git_tree::{Entry, Tree};
use crate::domain::format::{ParseSettings, task_id_in_file_name};
use crate::ports::{Blob, Found, Repository, Scan, ScanCursor, ScanLimits, SourceError, SpecSource};

/// A [`SpecSource`] over `git ls-tree` and `git cat-file`: no working tree is needed, none is touched, and
/// only what is committed counts. A URL is mirrored into a folder of its own under the cache directory.
///
/// Skipped: symbolic links and submodules (they lead elsewhere), and `README.md` in any folder (it speaks
/// about specifications and is none).
#[derive(Debug)]
pub struct GitScan {
    repository: Repository,
    checkout: Checkout,
    specs_path: String,
    settings: ParseSettings,
    limits: ScanLimits,
}

impl GitScan {
    /// A source for one repository. `git` may carry credentials (`GIT_ASKPASS`); mirrors go to `cache`.
    ///
    /// # Errors
    /// [`SourceError::Misconfigured`] for a specs path that leaves the repository, or a branch name that
    /// cannot be one. Nothing is read yet.
    pub fn new(
        repository: Repository,
        cache: impl Into<PathBuf>,
        git: Git,
        settings: ParseSettings,
        limits: ScanLimits,
    ) -> Result<Self, SourceError> {
        let specs_path = check(&repository)?;
        let git = git
            .with_deadline(limits.scan_deadline)
            // An object that is not there is an error, never a reason to call a program of the
            // repository's choice; and of transports only the usual ones.
            .with_variable("GIT_NO_LAZY_FETCH", "1")
            .with_variable("GIT_ALLOW_PROTOCOL", "file:http:https:ssh");
        Ok(Self {
            checkout: Checkout::new(&repository, cache.into(), git),
            repository,
            specs_path,
            settings,
            limits,
        })
    }

    async fn scan_now(&self, since: Option<&ScanCursor>) -> Result<Scan, SourceError> {
        let (git, commit) = self.checkout.head().await?;
        if let Some(since) = since.filter(|since| since.commit == commit) {
            return Ok(unchanged(since.clone()));
        }
        let tree = self.tree(&git).id(&commit).await?;
        let cursor = ScanCursor { commit, tree };
        if since.is_some_and(|since| since.tree == cursor.tree) {
            return Ok(unchanged(cursor));
        }
        let tree = self.tree(&git);
        let entries = tree.list(&cursor.commit).await?;
        let specs: Vec<&Entry> = entries.iter().filter(|e| is_spec(&e.path)).collect();
        let files = tree.read(&specs, &entries).await?;
        Ok(Scan { commit: cursor.commit.clone(), files, unchanged: false, cursor })
    }

    async fn find_now(&self, task_id: &str) -> Result<Option<Found>, SourceError> {
        let (git, commit) = self.checkout.head().await?;
        let tree = self.tree(&git);
        let entries = tree.list(&commit).await?;
        let id_of = |entry: &Entry| task_id_in_file_name(&entry.path, &self.settings);
        let specs = entries.iter().filter(|e| is_spec(&e.path));
        let named = specs.clone().find(|e| id_of(e).as_deref() == Some(task_id));
        if let Some(entry) = named {
            let file = tree.read(&[entry], &entries).await?.into_iter().next();
            return Ok(file.map(|file| Found { commit, file }));
        }
        let unnamed: Vec<&Entry> = specs.filter(|e| id_of(e).is_none()).collect();
        let files = tree.read(&unnamed, &entries).await?;
        let file = files.into_iter().find(|file| {
            file.parse(&self.settings).is_ok_and(|spec| spec.task_id.as_deref() == Some(task_id))
        });
        Ok(file.map(|file| Found { commit, file }))
    }

    fn tree<'a>(&'a self, git: &'a Git) -> Tree<'a> {
        Tree { git, repository: &self.repository.id, specs_path: &self.specs_path, limits: &self.limits }
    }

    async fn within<T>(
        &self,
        deadline: Duration,
        work: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, SourceError> {
        let timed_out = || SourceError::TimedOut { repository: self.repository.id.clone(), deadline };
        match tokio::time::timeout(deadline, work).await {
            Ok(Err(SourceError::Git { source: GitError::TimedOut { .. }, .. })) | Err(_) => Err(timed_out()),
            Ok(result) => result,
        }
    }
}

#[async_trait]
impl SpecSource for GitScan {
    async fn scan(&self, since: Option<&ScanCursor>) -> Result<Scan, SourceError> {
        self.within(self.limits.scan_deadline, self.scan_now(since)).await
    }

    async fn find(&self, task_id: &str) -> Result<Option<Found>, SourceError> {
        self.within(self.limits.find_deadline, self.find_now(task_id)).await
    }

    async fn head(&self) -> Result<String, SourceError> {
        let head = async { Ok(self.checkout.head().await?.1) };
        self.within(self.limits.find_deadline, head).await
    }
}

fn unchanged(cursor: ScanCursor) -> Scan {
    Scan { commit: cursor.commit.clone(), files: Vec::new(), unchanged: true, cursor }
}

fn is_spec(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.ends_with(".md") && !name.eq_ignore_ascii_case("readme.md")
}

/// The specs path without the slashes around it, once everything about the repository makes sense.
fn check(repository: &Repository) -> Result<String, SourceError> {
    let fault =
        |reason: String| Err(SourceError::Misconfigured { repository: repository.id.clone(), reason });
    let path = repository.specs_path.trim_matches('/');
    if path.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return fault(format!(
            "the specs path `{}` is not a folder inside the repository",
            repository.specs_path
        ));
    }
    let branch = &repository.base_branch;
    let odd = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    if branch.is_empty() || branch.contains("..") || branch.contains(odd) {
        return fault(format!("`{branch}` cannot be the name of a branch"));
    }
    if repository.location.is_empty() || repository.location.starts_with('-') {
        return fault(format!("`{}` is no path or URL", repository.location));
    }
    if !is_url(&repository.location) && repository.location.contains("::") {
        return fault(format!("`{}`: only paths and file, https and ssh URLs are read", repository.location));
    }
    Ok(path.to_owned())
}

/// A blob that was left unread because of its size.
pub(super) fn oversize(entry: &Entry) -> Blob {
    Blob { path: entry.path.clone(), sha: entry.sha.clone(), bytes: Vec::new(), oversize: Some(entry.size) }
}
