//! A nats-server per test: own port, own store, restarted on the same store, gone with the test.
//!
//! The shape follows `nats-server/src/lib.rs` of nats-io/nats.rs.

use crate::reaper::Reaper;
use crate::workspace_root;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The oldest server that Millrace runs on (DESIGN: floor).
const FLOOR: (u32, u32) = (2, 12);
const READY_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);

/// A running nats-server with JetStream on a store of its own. Dropping it kills it and removes the store.
#[derive(Debug)]
pub struct NatsServer {
    // The order matters: the process goes before its folder.
    process: Mutex<Option<Process>>,
    port: u16,
    name: String,
    options: Options,
    folder: TempDir,
}

/// What a test may want different from the usual.
#[derive(Debug, Clone)]
pub struct Options {
    /// More server configuration, at the top level: `accounts`, `authorization`, `max_payload`, …
    pub config: String,
    /// JetStream's `sync_interval`; Millrace always runs with `always`.
    pub sync_interval: String,
    /// More settings of JetStream, such as `max_file_store: 1GB`.
    pub jetstream: String,
    /// Where JetStream stores, such as a small or a frail disk; `None`: in the server's own folder.
    pub store: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: String::new(),
            sync_interval: "always".to_owned(),
            jetstream: String::new(),
            store: None,
        }
    }
}

/// Whether every thread of a process is stopped: state `T`, the field after the name in brackets.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    })
}

#[derive(Debug)]
struct Process {
    child: Child,
    _reaper: Reaper,
}

impl NatsServer {
    /// Starts a server with no users: whoever connects may do everything.
    #[must_use]
    pub fn start() -> Self {
        Self::start_options(Options::default())
    }

    /// Starts a server with more configuration, for example users and their permissions.
    #[must_use]
    pub fn start_with(config: &str) -> Self {
        Self::start_options(Options { config: config.to_owned(), ..Options::default() })
    }

    /// Starts a server with these options.
    #[must_use]
    pub fn start_options(options: Options) -> Self {
        let folder = tempfile::Builder::new().prefix("millrace-nats-").tempdir().expect("a folder");
        let name = format!("test-{}", uuid::Uuid::new_v4().simple());
        let mut server = Self { process: Mutex::new(None), port: 0, name, options, folder };
        server.port = server.launch(None);
        server
    }

    /// `nats://127.0.0.1:<port>`: the same for the life of this value, across restarts.
    #[must_use]
    pub fn client_url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// The address that the server listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The process id of the running server, or nothing after [`kill`](Self::kill).
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.lock().as_ref().map(|process| process.child.id())
    }

    /// Where the running server answers about itself over HTTP; another port after each restart.
    #[must_use]
    pub fn monitor(&self) -> Option<SocketAddr> {
        ports(self.folder.path(), self.pid()?)?.monitoring.first()?.rsplit_once("//")?.1.parse().ok()
    }

    /// SIGKILL, as a crash of the machine would; the store stays. Returns when the process is gone.
    pub fn kill(&self) {
        drop(self.lock().take());
    }

    /// Starts the server again on the same store and the same port; kills it first when it still runs.
    pub fn restart(&self) {
        self.kill();
        let port = self.launch(Some(self.port));
        assert_eq!(port, self.port, "the restarted server must listen where it did");
    }

    /// SIGSTOP: connections stay open and nothing answers, as when a machine hangs.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        // The signal reaches one thread after the other: it is paused when none of them runs.
        let pid = self.pid().expect("the server runs");
        let started = Instant::now();
        while !is_stopped(pid) {
            assert!(started.elapsed() < READY_WITHIN, "the server goes on although it is stopped");
            std::thread::sleep(POLL);
        }
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// The folder that JetStream stores in.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.options.store.clone().unwrap_or_else(|| self.folder.path().join("store"))
    }

    /// SIGTERM: the server says goodbye to its store and ends.
    pub fn stop(&self) {
        self.signal(Signal::TERM);
        if let Some(mut process) = self.lock().take() {
            process.child.wait().expect("the server ends");
        }
    }

    /// The server's own log so far, for failure messages.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().expect("the server runs");
        let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("signal the server");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Starts the process and waits until the server that answers on its port is this one.
    fn launch(&self, port: Option<u16>) -> u16 {
        let folder = self.folder.path();
        let config = folder.join("server.conf");
        std::fs::write(&config, self.config(port)).expect("write the configuration");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("server.log"))
            .expect("open the log");
        let child = Command::new(binary())
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start nats-server");
        let pid = child.id();
        let reaper = Reaper::watch(pid, "KILL", folder);
        *self.lock() = Some(Process { child, _reaper: reaper });

        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let listening = port.or_else(|| listening_port(folder, pid));
            if let Some(listening) = listening
                && server_name(listening).as_deref() == Some(self.name.as_str())
            {
                return listening;
            }
            let ended = self.lock().as_mut().and_then(|process| process.child.try_wait().ok().flatten());
            if let Some(status) = ended {
                panic!("nats-server ended ({status}):\n{}", self.log());
            }
            assert!(
                Instant::now() < deadline,
                "nats-server is not ready after {READY_WITHIN:?}:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn config(&self, port: Option<u16>) -> String {
        let folder = self.folder.path().display();
        let port = port.map_or_else(|| "-1".to_owned(), |port| port.to_string());
        let Options { config, sync_interval, jetstream, .. } = &self.options;
        let store = self.store();
        let store = store.display();
        format!(
            "server_name: \"{name}\"\n\
             listen: \"127.0.0.1:{port}\"\n\
             http: \"127.0.0.1:-1\"\n\
             ports_file_dir: \"{folder}\"\n\
             jetstream {{\nstore_dir: \"{store}\"\nsync_interval: {sync_interval}\n{jetstream}\n}}\n\
             {config}\n",
            name = self.name
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the server writes to its ports file (`nats-server_<pid>.ports`).
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
    #[serde(default)]
    monitoring: Vec<String>,
}

/// The port that it listens on, once it has written that down.
fn listening_port(folder: &Path, pid: u32) -> Option<u16> {
    ports(folder, pid)?.nats.first()?.rsplit(':').next()?.parse().ok()
}

fn ports(folder: &Path, pid: u32) -> Option<Ports> {
    let file = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).find(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().ends_with(&format!("_{pid}.ports"))
    })?;
    serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()
}

/// Who answers on this port: the `server_name` of the INFO line, which comes before any log-in.
fn server_name(port: u16) -> Option<String> {
    #[derive(Deserialize)]
    struct Info {
        server_name: String,
    }
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    let info: Info = serde_json::from_str(line.strip_prefix("INFO ")?.trim()).ok()?;
    Some(info.server_name)
}

/// The nats-server to use: `MILLRACE_NATS_SERVER`, else the one that `make setup` unpacked into
/// `.tools/`, else a suitable one on PATH.
///
/// # Panics
/// When there is none that is new enough, with the way to get one.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(named) = std::env::var_os("MILLRACE_NATS_SERVER") {
            return PathBuf::from(named);
        }
        let candidates = [workspace_root().join(".tools/nats-server"), PathBuf::from("nats-server")];
        let found = candidates.into_iter().find(|path| version(path).is_some_and(|found| found >= FLOOR));
        found.unwrap_or_else(|| {
            panic!("no nats-server {}.{} or newer in .tools/ or on PATH: run `make setup`", FLOOR.0, FLOOR.1)
        })
    })
}

fn version(binary: &Path) -> Option<(u32, u32)> {
    let output = Command::new(binary).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.split(": v").nth(1)?.trim().split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
