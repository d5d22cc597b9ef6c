//! Where the objects of a repository are: in place for a path, in a mirror for a URL.

use std::path::{Path, PathBuf};

use millrace_forge::{Git, GitError, LOCAL_UPLOAD_PACK};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::ports::{Repository, SourceError};

/// The most branches that an error message names.
const NAMED_BRANCHES: &str = "--count=10";

/// A repository whose objects can be read.
#[derive(Debug)]
pub(super) struct Checkout {
    repository: Repository,
    git: Git,
    /// The mirror of a URL; `None` for a path.
    mirror: Option<PathBuf>,
    /// One fetch at a time: two into one mirror would trip over each other's locks.
    fetching: Mutex<()>,
}

impl Checkout {
    pub(super) fn new(repository: &Repository, cache: PathBuf, git: Git) -> Self {
        let mirror = is_url(&repository.location).then(|| {
            let digest = hex::encode(Sha256::digest(repository.location.as_bytes()));
            let name = digest.get(..16).unwrap_or(&digest);
            cache.join(format!("{name}.git"))
        });
        Self { repository: repository.clone(), git, mirror, fetching: Mutex::new(()) }
    }

    /// The head of the base branch, fetched first if it is elsewhere, and a git that can read it.
    pub(super) async fn head(&self) -> Result<(Git, String), SourceError> {
        let git = match &self.mirror {
            Some(mirror) => {
                let _one_at_a_time = self.fetching.lock().await;
                self.sync(mirror).await?
            }
            None => self.in_place().await?,
        };
        let name = format!("refs/heads/{}", self.repository.base_branch);
        let answer = git
            .run_with(["show-ref", "--verify", "--hash", &name], &[], &[0, 1, 128])
            .await
            .map_err(|source| self.failed(source))?;
        if answer.status == 0 {
            return Ok((git, answer.text()));
        }
        let branches = git
            .run(["for-each-ref", NAMED_BRANCHES, "--format=%(refname:short)", "refs/heads"])
            .await
            .map_err(|source| self.failed(source))?
            .text();
        Err(self.no_such_branch(branches.lines().map(str::to_owned).collect()))
    }

    async fn in_place(&self) -> Result<Git, SourceError> {
        let path = PathBuf::from(&self.repository.location);
        let Ok(path) = tokio::fs::canonicalize(&path).await else {
            return Err(SourceError::NotFound {
                repository: self.repository.id.clone(),
                location: self.repository.location.clone(),
            });
        };
        let git = self.git.clone().in_directory(&path);
        // A folder inside somebody else's repository is not that repository.
        let git = match path.parent() {
            Some(parent) => git.with_variable("GIT_CEILING_DIRECTORIES", parent),
            None => git,
        };
        match git.run(["rev-parse", "--git-dir"]).await {
            Ok(_) => Ok(git),
            Err(GitError::Failed { .. }) => Err(self.not_a_repository()),
            Err(source) => Err(self.failed(source)),
        }
    }

    /// Brings the base branch, and nothing else, into the mirror.
    async fn sync(&self, mirror: &Path) -> Result<Git, SourceError> {
        let git = self.git.clone().in_directory(mirror);
        if !mirror.join("HEAD").exists() {
            self.create(mirror, &git).await?;
        }
        match self.fetch(&git).await {
            // What an interrupted fetch left behind stops every later one; the mirror is only a copy.
            Err(GitError::Failed { stderr, .. }) if stderr.contains(".lock") => {
                tokio::fs::remove_dir_all(mirror).await.map_err(|source| unusable(mirror, source))?;
                self.create(mirror, &git).await?;
                self.fetch(&git).await
            }
            other => other,
        }
        .map_err(|source| self.fetch_failed(source))?;
        Ok(git)
    }

    async fn create(&self, mirror: &Path, git: &Git) -> Result<(), SourceError> {
        tokio::fs::create_dir_all(mirror).await.map_err(|source| unusable(mirror, source))?;
        let created = git.run(["init", "--quiet", "--bare"]).await;
        created.map(drop).map_err(|source| self.failed(source))
    }

    async fn fetch(&self, git: &Git) -> Result<(), GitError> {
        let branch = &self.repository.base_branch;
        let refspec = format!("+refs/heads/{branch}:refs/heads/{branch}");
        let mut arguments = vec!["fetch", "--quiet", "--no-tags", "--depth=1"];
        if self.repository.location.starts_with("file://") {
            arguments.extend(["--upload-pack", LOCAL_UPLOAD_PACK]);
        }
        arguments.extend(["--", &self.repository.location, &refspec]);
        git.run(arguments).await.map(drop)
    }

    /// Git has no codes for what went wrong, only sentences; their language is fixed (`LC_ALL=C`).
    fn fetch_failed(&self, source: GitError) -> SourceError {
        let GitError::Failed { stderr, .. } = &source else {
            return self.failed(source);
        };
        let says = |sentence: &str| stderr.contains(sentence);
        if says("couldn't find remote ref") {
            return self.no_such_branch(Vec::new());
        }
        if let Some(path) = self.repository.location.strip_prefix("file://") {
            if !Path::new(path).exists() {
                return SourceError::NotFound {
                    repository: self.repository.id.clone(),
                    location: self.repository.location.clone(),
                };
            }
            if says("does not appear to be a git repository") {
                return self.not_a_repository();
            }
        }
        if says("' not found") || says("Repository not found") {
            return SourceError::NotFound {
                repository: self.repository.id.clone(),
                location: without_credentials(&self.repository.location),
            };
        }
        let location = without_credentials(&self.repository.location);
        SourceError::Unreachable {
            repository: self.repository.id.clone(),
            reason: stderr.replace(&self.repository.location, &location).trim().to_owned(),
            location,
        }
    }

    fn not_a_repository(&self) -> SourceError {
        SourceError::NotARepository {
            repository: self.repository.id.clone(),
            location: without_credentials(&self.repository.location),
        }
    }

    fn no_such_branch(&self, branches: Vec<String>) -> SourceError {
        SourceError::NoSuchBranch {
            repository: self.repository.id.clone(),
            branch: self.repository.base_branch.clone(),
            branches,
        }
    }

    fn failed(&self, source: GitError) -> SourceError {
        SourceError::Git { repository: self.repository.id.clone(), source }
    }
}

fn unusable(mirror: &Path, source: std::io::Error) -> SourceError {
    SourceError::Cache { path: mirror.display().to_string(), source }
}

/// Whether a location is fetched from rather than read in place: `https://…`, `git@host:path`.
pub(super) fn is_url(location: &str) -> bool {
    if location.contains("://") {
        return true;
    }
    let host = location.split(':').next().unwrap_or_default();
    location.contains(':') && host.contains('@') && !host.contains('/')
}

/// `https://user:token@host/x` becomes `https://host/x`.
fn without_credentials(location: &str) -> String {
    let Some((scheme, rest)) = location.split_once("://") else {
        return location.to_owned();
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}/{path}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_never_shown() {
        assert_eq!(
            without_credentials("https://me:secret@forge.example/a/b.git"),
            "https://forge.example/a/b.git"
        );
        assert_eq!(without_credentials("/srv/git/a.git"), "/srv/git/a.git");
    }

    #[test]
    fn urls_and_paths() {
        for url in ["https://forge.example/a", "file:///srv/a", "git@forge.example:a/b"] {
            assert!(is_url(url), "{url}");
        }
        for path in ["/srv/a", "../a", "a:b", "./me@host:x"] {
            assert!(!is_url(path), "{path}");
        }
    }
}
