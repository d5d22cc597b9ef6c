//! The `process` target: one sandboxed process on this machine, from a checkout per commit.
//!
//! Below the target's root: `releases/<commit>` (read-only for the release), `current` (a link to one of
//! them), `data` (the release's own, mounted as `/state`), `logs`, `target.json` (the record) and `lock`.
//! The process has its own session and outlives this program; it is found again by process id, start
//! time and boot, so that a number used again for something else is never taken for it. Under systemd the
//! unit needs `KillMode=process`, or a restart takes the release with it.

mod config;
mod http;
mod launch;
mod process;
mod record;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_forge::{Forge, ForgeError};
use tokio::net::{TcpListener, TcpStream};

use crate::ports::{Observed, ReleaseRecord, ReleaseRequest, RolledOut, Target, TargetError};
use config::Checked;
pub use config::ProcessTargetConfig;
use launch::{Ended, Launch};
use process::Identity;
use record::{Record, Release, Store};

/// How many releases stay on disk, the running one included.
pub const KEPT_RELEASES: usize = 3;

/// The only address that releases listen on.
const HOST: &str = "127.0.0.1";

const ACCEPT_POLL: Duration = Duration::from_millis(25);

/// A [`Target`] that runs releases on this machine. Any number of these may exist for one root, one
/// after the other or at once.
pub struct ProcessTarget {
    config: Checked,
    forge: Arc<dyn Forge>,
    store: Store,
}

impl ProcessTarget {
    /// Checks the configuration. Nothing is created or started yet.
    ///
    /// # Errors
    /// `Configuration`.
    pub fn new(config: ProcessTargetConfig, forge: Arc<dyn Forge>) -> Result<Self, TargetError> {
        let config = config.check()?;
        let store = Store::new(&config.id, &config.root);
        Ok(Self { config, forge, store })
    }

    async fn start(&self, record: &mut Record, commit: &str) -> Result<RolledOut, TargetError> {
        let checkout = self.check_out(commit).await?;
        // Written before anything changes: a crash from here on is finished by the next call.
        let old = record.begin(commit);
        self.store.save(record).await?;
        self.point_current_at(commit).await?;
        if let Some(old) = old {
            process::stop(&old, self.config.stop_grace).await?;
        }
        self.require_free(record.port).await?;
        let launch = Launch {
            config: &self.config,
            commit,
            checkout: &checkout,
            port: record.port,
            generation: record.generation,
        };
        let held = launch.hold().await?;
        record.adopt(held.identity.clone());
        self.store.save(record).await?;
        let pid = held.identity.pid;
        let mut running = held.release().await?;
        let ended = tokio::select! {
            ended = running.ended() => Some(ended?),
            () = accepts(record.port) => None,
            () = tokio::time::sleep(self.config.start_wait) => None,
        };
        if let Some(Ended { status, log_tail }) = ended {
            record.forget_process();
            self.store.save(record).await?;
            return Err(launch.failure(status, log_tail));
        }
        self.prune(record).await?;
        Ok(RolledOut { previous: record.previous(), pid, address: address(record.port), started: true })
    }

    async fn check_out(&self, commit: &str) -> Result<PathBuf, TargetError> {
        // It names a directory below, so it is checked before the forge sees it.
        if !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) || commit.len() < 40 {
            return Err(TargetError::Forge(ForgeError::CommitNotFound { commit: commit.to_owned() }));
        }
        let directory = self.releases().join(commit);
        // The forge makes it appear whole, so being there is being complete.
        if !is_there(&directory).await? {
            self.forge.checkout(commit, &directory).await?;
        }
        Ok(directory)
    }

    async fn point_current_at(&self, commit: &str) -> Result<(), TargetError> {
        let link = self.config.root.join("current");
        let scratch = self.config.root.join(".current");
        remove_file(&scratch).await?;
        tokio::fs::symlink(Path::new("releases").join(commit), &scratch)
            .await
            .map_err(failed("link", &scratch))?;
        tokio::fs::rename(&scratch, &link).await.map_err(failed("replace", &link))
    }

    async fn require_free(&self, port: u16) -> Result<(), TargetError> {
        match TcpListener::bind((HOST, port)).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                Err(TargetError::AddressTaken { target: self.config.id.clone(), address: address(port) })
            }
            Err(source) => Err(TargetError::Io { action: format!("listen on {}", address(port)), source }),
        }
    }

    async fn port(&self, record: &Record) -> Result<u16, TargetError> {
        match (self.config.port, record.port) {
            (0, 0) => {
                let action = || format!("find a free port on {HOST}");
                let free = TcpListener::bind((HOST, 0)).await.and_then(|listener| listener.local_addr());
                free.map(|address| address.port())
                    .map_err(|source| TargetError::Io { action: action(), source })
            }
            (0, chosen) => Ok(chosen),
            (configured, _) => Ok(configured),
        }
    }

    /// Deletes releases that are neither current nor recent, and what a crash left half fetched.
    async fn prune(&self, record: &Record) -> Result<(), TargetError> {
        let releases = self.releases();
        let mut entries = tokio::fs::read_dir(&releases).await.map_err(failed("read", &releases))?;
        while let Some(entry) = entries.next_entry().await.map_err(failed("read", &releases))? {
            let name = entry.file_name();
            if !record.keeps(&name.to_string_lossy()) {
                let path = entry.path();
                tokio::fs::remove_dir_all(&path).await.map_err(failed("delete", &path))?;
            }
        }
        Ok(())
    }

    fn releases(&self) -> PathBuf {
        self.config.root.join("releases")
    }

    async fn ask(&self, port: u16, release: &Release) -> Observed {
        let health = self.get(port, &self.config.health_path).await;
        let version = self.get(port, &self.config.version_path).await;
        let healthy = matches!(&health, Ok(answer) if (200..300).contains(&answer.status));
        let reported_sha = match &version {
            Ok(answer) if (200..300).contains(&answer.status) => http::reported_sha(&answer.body),
            _ => None,
        };
        let health = health.map_or_else(
            |error| format!("gave no answer ({error})"),
            |answer| format!("answered {}", answer.status),
        );
        let version = match (version, &reported_sha) {
            (_, Some(sha)) => format!("reports {sha}"),
            (Err(error), None) => format!("gave no answer ({error})"),
            (Ok(answer), None) => {
                format!("answered {} without a commit: {}", answer.status, http::excerpt(&answer.body))
            }
        };
        Observed {
            running: true,
            reported_sha,
            healthy,
            detail: format!(
                "{} of release {} {health}, {} {version}",
                self.config.health_path, release.commit, self.config.version_path
            ),
        }
    }

    async fn get(&self, port: u16, path: &str) -> Result<http::Answer, http::HttpError> {
        http::get(HOST, port, path, self.config.probe_timeout).await
    }

    async fn not_running(&self, release: Option<&Release>) -> Result<Observed, TargetError> {
        let detail = match release {
            None => "nothing was rolled out yet".to_owned(),
            Some(release) => {
                let ended = launch::ended(&self.config.root, release.generation).await?;
                match ended {
                    Some(Ended { status, log_tail }) => {
                        format!("release {} exited with status {status}: {log_tail}", release.commit)
                    }
                    None => format!("release {} is not running", release.commit),
                }
            }
        };
        Ok(Observed { running: false, reported_sha: None, healthy: false, detail })
    }
}

#[async_trait]
impl Target for ProcessTarget {
    async fn roll_out(&self, release: &ReleaseRequest) -> Result<RolledOut, TargetError> {
        let _lock = self.store.lock().await?;
        let mut record = self.store.load().await?;
        let port = self.port(&record).await?;
        match record.running(&release.commit) {
            Some(pid) if record.port == port => {
                self.point_current_at(&release.commit).await?;
                Ok(RolledOut { previous: record.previous(), pid, address: address(port), started: false })
            }
            _ => {
                record.port = port;
                self.start(&mut record, &release.commit).await
            }
        }
    }

    async fn observe(&self) -> Result<Observed, TargetError> {
        let record = self.store.load().await?;
        match &record.release {
            // Whoever else may listen on that port is not asked.
            Some(release) if release.lives() => Ok(self.ask(record.port, release).await),
            release => self.not_running(release.as_ref()).await,
        }
    }

    async fn current(&self) -> Result<Option<ReleaseRecord>, TargetError> {
        let record = self.store.load().await?;
        let address = address(record.port);
        Ok(record.release.map(|release| ReleaseRecord {
            pid: release.process.as_ref().filter(|process| process.lives()).map(|process| process.pid),
            commit: release.commit,
            previous: release.previous,
            address,
        }))
    }

    async fn stop(&self) -> Result<(), TargetError> {
        let _lock = self.store.lock().await?;
        let mut record = self.store.load().await?;
        if let Some(process) = record.process() {
            process::stop(&process, self.config.stop_grace).await?;
            record.forget_process();
            self.store.save(&record).await?;
        }
        Ok(())
    }
}

fn address(port: u16) -> String {
    format!("http://{HOST}:{port}")
}

async fn accepts(port: u16) {
    while TcpStream::connect((HOST, port)).await.is_err() {
        tokio::time::sleep(ACCEPT_POLL).await;
    }
}

async fn is_there(path: &Path) -> Result<bool, TargetError> {
    tokio::fs::try_exists(path).await.map_err(failed("look at", path))
}

async fn remove_file(path: &Path) -> Result<(), TargetError> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(failed("delete", path)),
    }
}

fn failed(verb: &str, path: &Path) -> impl FnOnce(std::io::Error) -> TargetError {
    let action = format!("{verb} {}", path.display());
    move |source| TargetError::Io { action, source }
}
