//! A repository with releases of a small application, and the target that runs them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_deployer::adapters::process_target::{ProcessTarget, ProcessTargetConfig};
use millrace_deployer::ports::{Observed, ReleaseRequest, RolledOut, Target, TargetError};
use millrace_forge::{Forge, Git, LocalForge, LocalForgeConfig};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const APP: &str = include_str!("app.py");

pub(crate) struct Bench {
    scratch: TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let bench = Self { scratch: TempDir::new().unwrap() };
        let git = bench.git();
        git.clone()
            .in_directory(bench.scratch.path())
            .run(["init", "-q", "--bare", "-b", "main", "origin.git"])
            .await
            .unwrap();
        git.clone()
            .in_directory(bench.scratch.path())
            .run(["clone", "-q", "origin.git", "clone"])
            .await
            .unwrap();
        bench
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.scratch.path().join("target")
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.scratch.path().join("origin.git")
    }

    /// Commits and pushes an application whose source had `from` replaced by `to`.
    pub(crate) async fn release(&self, from: &str, to: &str) -> String {
        assert!(APP.contains(from));
        self.release_of(&APP.replace(from, to)).await
    }

    pub(crate) async fn release_of(&self, source: &str) -> String {
        let git = self.git();
        std::fs::write(self.scratch.path().join("clone/app.py"), source).unwrap();
        for arguments in [
            ["add", "-A", "."].as_slice(),
            &["commit", "-q", "--allow-empty", "-m", "a release"],
            &["push", "-q", "origin", "HEAD:refs/heads/main"],
        ] {
            git.run(arguments).await.unwrap();
        }
        git.run(["rev-parse", "HEAD"]).await.unwrap().text()
    }

    pub(crate) fn config(&self) -> ProcessTargetConfig {
        config(&self.root())
    }

    /// A new connection to the same target, as a restarted deployer has.
    pub(crate) async fn target(&self) -> ProcessTarget {
        target(self.config(), &self.repository()).await
    }

    pub(crate) async fn roll_out(&self, commit: &str) -> Result<RolledOut, TargetError> {
        roll_out(&self.target().await, commit).await
    }

    fn git(&self) -> Git {
        ["AUTHOR", "COMMITTER"].into_iter().fold(
            Git::new().in_directory(self.scratch.path().join("clone")),
            |git, role| {
                git.with_variable(format!("GIT_{role}_NAME"), "Person")
                    .with_variable(format!("GIT_{role}_EMAIL"), "person@example.org")
            },
        )
    }
}

impl Drop for Bench {
    /// Ends the release by its process id; the sandbox dies with its first process.
    fn drop(&mut self) {
        let Ok(record) = std::fs::read_to_string(self.root().join("target.json")) else {
            return;
        };
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        let pid = record["release"]["process"]["pid"].as_i64();
        if let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).unwrap())) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

pub(crate) fn config(root: &Path) -> ProcessTargetConfig {
    toml::from_str(&format!(
        "id = 'web'\nroot = '{root}'\nstart_wait = '60s'\nprobe_timeout = '20s'\n\
         start_command = 'exec /usr/bin/python3 app.py {root}'",
        root = root.display()
    ))
    .unwrap()
}

pub(crate) async fn target(config: ProcessTargetConfig, repository: &Path) -> ProcessTarget {
    let url = repository.display().to_string();
    let forge: Arc<dyn Forge> = Arc::new(LocalForge::open(LocalForgeConfig::new(url)).await.unwrap());
    ProcessTarget::new(config, forge).unwrap()
}

pub(crate) async fn roll_out(target: &ProcessTarget, commit: &str) -> Result<RolledOut, TargetError> {
    let request = ReleaseRequest { commit: commit.to_owned() };
    target.roll_out(&request).await
}

pub(crate) fn is_verified(observed: &Observed, commit: &str) -> bool {
    observed.running && observed.healthy && observed.reported_sha.as_deref() == Some(commit)
}
