//! What a test needs beside the forge: people with clones, and bundles as a worker makes them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use millrace_forge::{Forge, Git, LocalForge, LocalForgeConfig, MergeRequest, NewPullRequest, PullRequest};
use tempfile::TempDir;

/// A forge under test with an empty-handed person beside it. A second implementation of the port brings
/// its own and runs the same suite.
#[async_trait]
pub(crate) trait Bench: Send + Sync {
    /// A new connection to the same repository, as another process would have.
    async fn forge(&self) -> Arc<dyn Forge>;
    /// Removes a pull request as an administrator would.
    async fn delete_pull_request(&self, number: u64);
    /// Where tests may put clones and bundles.
    fn scratch(&self) -> &Path;
}

/// The local forge on a bare repository whose `main` has one commit.
pub(crate) struct LocalBench {
    scratch: TempDir,
}

impl LocalBench {
    pub(crate) async fn new() -> Self {
        let scratch = TempDir::new().unwrap();
        let bench = Self { scratch };
        git(bench.scratch.path()).run(["init", "-q", "--bare", "-b", "main", "origin.git"]).await.unwrap();
        let person = Person::clone_from(&bench, "first").await;
        person.commit(&[("README.md", "hello\n"), ("page.css", "a\nb\nc\n")]).await;
        person.push("main").await;
        bench
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.scratch.path().join("origin.git")
    }

    /// A forge during whose first call of `git <word>` somebody runs another git command.
    pub(crate) async fn interrupted(&self, word: &str, command: &str) -> Arc<dyn Forge> {
        let once = self.scratch.path().join("once");
        std::fs::write(&once, "").unwrap();
        self.forge_with(&format!(
            r#"case " $* " in *" {word} "*) if rm {once} 2>/dev/null; then git -C {repository} {command} || exit 99; fi;; esac
exec git "$@""#,
            once = once.display(),
            repository = self.repository().display(),
        ))
        .await
    }

    /// A forge that dies as soon as its `nth` git command that writes has done its work.
    pub(crate) async fn killed_after_write(&self, nth: u64) -> Arc<dyn Forge> {
        let left = self.scratch.path().join("left");
        std::fs::write(&left, nth.to_string()).unwrap();
        self.forge_with(&format!(
            r#"case " $* " in *" fetch "*|*" update-ref "*|*" hash-object "*|*" mktree "*|*" commit-tree "*)
left=$(($(cat {left}) - 1)); echo $left >{left}
if [ $left -eq 0 ]; then git "$@" >/dev/null 2>&1; exit 137; fi;; esac
exec git "$@""#,
            left = left.display(),
        ))
        .await
    }

    async fn forge_with(&self, script: &str) -> Arc<dyn Forge> {
        let mut config = LocalForgeConfig::new(self.repository().display().to_string());
        let wrapper = super::git::script(self.scratch.path(), "git-wrapper", script);
        config.git = Git::new().with_binary(wrapper);
        Arc::new(LocalForge::open(config).await.unwrap())
    }

    pub(crate) async fn plain(&self, arguments: &[&str]) -> String {
        git(&self.repository()).run(arguments).await.unwrap().text()
    }
}

#[async_trait]
impl Bench for LocalBench {
    async fn forge(&self) -> Arc<dyn Forge> {
        let url = format!("file://{}", self.repository().display());
        Arc::new(LocalForge::open(LocalForgeConfig::new(url)).await.unwrap())
    }

    async fn delete_pull_request(&self, number: u64) {
        self.plain(&["update-ref", "-d", &format!("refs/millrace/pulls/{number}")]).await;
    }

    fn scratch(&self) -> &Path {
        self.scratch.path()
    }
}

/// Someone with a clone, who uses git and nothing else.
pub(crate) struct Person {
    clone: PathBuf,
}

impl Person {
    pub(crate) async fn clone_from(bench: &dyn Bench, name: &str) -> Self {
        let clone = bench.scratch().join(name);
        let origin = bench.scratch().join("origin.git");
        git(bench.scratch())
            .run(["clone".as_ref(), "-q".as_ref(), origin.as_os_str(), clone.as_os_str()])
            .await
            .unwrap();
        Self { clone }
    }

    pub(crate) async fn git(&self, arguments: &[&str]) -> String {
        git(&self.clone).run(arguments).await.unwrap().text()
    }

    pub(crate) async fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            let file = self.clone.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
        }
        self.git(&["add", "-A"]).await;
        self.git(&["commit", "-q", "--allow-empty", "-m", "a change"]).await;
        self.git(&["rev-parse", "HEAD"]).await
    }

    pub(crate) async fn push(&self, branch: &str) {
        self.git(&["push", "-q", "origin", &format!("HEAD:refs/heads/{branch}")]).await;
    }

    pub(crate) async fn bundle(&self, name: &str) -> Vec<u8> {
        let file = self.clone.join(format!("../{name}.bundle"));
        let path = file.to_str().unwrap();
        self.git(&["bundle", "create", "-q", path, "HEAD", "^origin/main"]).await;
        std::fs::read(file).unwrap()
    }
}

/// A change of `files` on a new branch, published, with an open pull request.
pub(crate) async fn proposed(
    bench: &dyn Bench,
    branch: &str,
    files: &[(&str, &str)],
) -> (Arc<dyn Forge>, PullRequest) {
    let forge = bench.forge().await;
    let head = published(bench, &*forge, branch, files).await;
    let pull = forge.open_pull_request(&new(branch)).await.unwrap();
    assert_eq!(pull.head_sha, head);
    (forge, pull)
}

pub(crate) async fn published(
    bench: &dyn Bench,
    forge: &dyn Forge,
    branch: &str,
    files: &[(&str, &str)],
) -> String {
    let name = branch.replace('/', "-");
    let worker = Person::clone_from(bench, &name).await;
    let head = worker.commit(files).await;
    let bundle = worker.bundle(&name).await;
    forge.push_bundle(branch, &bundle, &head).await.unwrap();
    head
}

pub(crate) fn new(head_branch: &str) -> NewPullRequest {
    NewPullRequest {
        title: "Change the colour".to_owned(),
        body: "Why and how.".to_owned(),
        head_branch: head_branch.to_owned(),
        base_branch: "main".to_owned(),
        draft: false,
        labels: vec!["millrace".to_owned()],
    }
}

pub(crate) fn merge(pull: &PullRequest) -> MergeRequest {
    MergeRequest {
        number: pull.number,
        expected_head: pull.head_sha.clone(),
        expected_base: None,
        message: "Merge the change\n\nTask-Id: VTID-01213\n".to_owned(),
        at: Some("2026-01-02T03:04:05Z".parse().unwrap()),
    }
}

pub(crate) fn git(directory: &Path) -> Git {
    ["AUTHOR", "COMMITTER"].into_iter().fold(Git::new().in_directory(directory), |git, role| {
        git.with_variable(format!("GIT_{role}_NAME"), "Person")
            .with_variable(format!("GIT_{role}_EMAIL"), "person@example.org")
    })
}
