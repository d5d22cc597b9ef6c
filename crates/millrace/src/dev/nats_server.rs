//! The nats-server that a development server starts for itself.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use millrace_runtime::bootstrap::Installation;
use millrace_runtime::permissions::{IdentityKey, nats_config};
use millrace_runtime::preflight::FLOOR;
use rustix::process::{Pid, Signal, kill_process};

use super::folder::Folder;
use crate::exit::Failure;
use crate::program::version;

/// How long a server may take to be ready, and to stop.
const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// When the server writes to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SyncInterval {
    /// Before every acknowledgement: an acknowledged event survives a power cut.
    Always,
    /// Every 100 ms: a power cut loses at most that much.
    #[value(name = "100ms")]
    HundredMilliseconds,
}

impl SyncInterval {
    const fn as_config(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::HundredMilliseconds => "100ms",
        }
    }
}

/// A running server.
pub(crate) struct NatsServer {
    child: tokio::process::Child,
    pub(crate) url: String,
    pub(crate) version: String,
    pid_file: PathBuf,
}

impl NatsServer {
    /// Starts one on a free port of the loopback, on the folder's streams.
    pub(crate) async fn start(
        folder: &Folder,
        keys: &[IdentityKey],
        installation: &Installation,
        sync_interval: SyncInterval,
    ) -> anyhow::Result<Self> {
        let (binary, version) = find_nats_server().await?;
        let pid_file = folder.path("nats-server.pid");
        end_leftover(&pid_file).await;
        let ports = folder.path("nats-ports");
        let _none = fs::remove_dir_all(&ports);
        fs::create_dir_all(&ports)?;
        let config = folder.path("nats-server.conf");
        let text = format!(
            "# Written by `millrace dev` at every start.\nserver_name: millrace-dev-{pid}\nlisten: \"127.0.0.1:-1\"\n\
             ports_file_dir: \"{ports}\"\npid_file: \"{pid_file}\"\nlog_file: \"{log}\"\n\
             jetstream {{\n  store_dir: \"{store}\"\n  sync_interval: {sync}\n}}\n{users}",
            pid = std::process::id(),
            ports = ports.display(),
            pid_file = pid_file.display(),
            log = folder.nats_log().display(),
            store = folder.path("nats").display(),
            sync = sync_interval.as_config(),
            users = nats_config(keys, installation),
        );
        fs::write(&config, text)?;
        let mut command = Command::new(&binary);
        // A group of its own: a Ctrl-C ends us first, and we end it in order.
        command
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", binary.display()))?;
        let url = ready(&mut child, &ports, folder).await?;
        Ok(Self { child, url, version, pid_file })
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => describe(status),
            Err(error) => error.to_string(),
        }
    }

    /// Ends it in order, or by force.
    pub(crate) async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _gone = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            let _ended = self.child.kill().await;
        }
        let _none = fs::remove_file(&self.pid_file);
    }
}

/// Waits until the server says on which port it answers.
async fn ready(child: &mut tokio::process::Child, ports: &Path, folder: &Folder) -> anyhow::Result<String> {
    let started = tokio::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            let log = fs::read_to_string(folder.nats_log()).unwrap_or_default();
            let last = log.lines().last().unwrap_or("it wrote no log").to_owned();
            bail!("nats-server did not start ({}): {last}", describe(status));
        }
        for entry in fs::read_dir(ports)?.flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let parsed: Option<serde_json::Value> = serde_json::from_str(&text).ok();
            let url = parsed.as_ref().and_then(|ports| ports.get("nats")?.get(0)?.as_str());
            if let Some(url) = url {
                return Ok(url.to_owned());
            }
        }
        if started.elapsed() > START_LIMIT {
            bail!(
                "nats-server was not ready within {START_LIMIT:?}; its log is {}",
                folder.nats_log().display()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Ends the server of a development server that was killed before it could. A process id alone proves
/// nothing: the process must be a nats-server with our configuration.
async fn end_leftover(pid_file: &Path) {
    let Some(pid) = fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse::<i32>().ok()) else {
        return;
    };
    let ours = || {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let config = pid_file.with_file_name("nats-server.conf");
        String::from_utf8_lossy(&arguments).contains(config.to_string_lossy().as_ref())
    };
    if !ours() {
        return;
    }
    tracing::info!(pid, "ending the nats-server that an earlier run left behind");
    if let Some(pid) = Pid::from_raw(pid) {
        let _gone = kill_process(pid, Signal::TERM);
    }
    for _ in 0..500 {
        if !ours() {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The nats-server to use and its version: `.tools/nats-server` of a checkout, else one on PATH that is new
/// enough.
pub(crate) async fn find_nats_server() -> Result<(PathBuf, String), Failure> {
    let here = std::env::current_dir().unwrap_or_default();
    let near_binary = std::env::current_exe().unwrap_or_default();
    let checkouts =
        here.ancestors().chain(near_binary.ancestors()).map(|folder| folder.join(".tools/nats-server"));
    let environment = millrace_runtime::launch::environment();
    let on_path = environment
        .get("PATH")
        .map(String::as_str)
        .unwrap_or_default()
        .split(':')
        .map(|folder| Path::new(folder).join("nats-server"));
    let mut unusable = Vec::new();
    for candidate in checkouts.chain(on_path).filter(|candidate| candidate.is_file()) {
        match version(&candidate).await {
            Ok((found, text)) if found >= FLOOR => {
                return Ok((candidate, text.rsplit('v').next().unwrap_or_default().to_owned()));
            }
            Ok((_, text)) => unusable.push(format!("{} is too old: {text}", candidate.display())),
            Err(problem) => unusable.push(problem),
        }
    }
    let (major, minor) = FLOOR;
    let found = if unusable.is_empty() {
        "no nats-server was found".to_owned()
    } else {
        format!("no nats-server can be used: {}", unusable.join("; "))
    };
    let advice =
        format!("Run `make setup`, which puts one into .tools/, or put {major}.{minor} or newer on PATH.");
    Err(Failure::configuration(found, advice))
}

fn describe(status: ExitStatus) -> String {
    status.to_string()
}
