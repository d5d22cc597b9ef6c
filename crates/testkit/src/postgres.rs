//! One PostgreSQL for a test process, one database for each test.
//!
//! It listens on a unix socket in a folder that only this user may enter: no port to clash, no password.

use crate::reaper::Reaper;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// What the server says while back ends of a killed postmaster still live.
const IN_USE: &str = "is still in use";

/// A PostgreSQL server that lives as long as the test process, with the distribution's default
/// configuration (fsync on). It and its folder are gone when the process is.
#[derive(Debug)]
pub struct Postgres {
    binaries: PathBuf,
    folder: PathBuf,
    databases: AtomicU32,
    process: Mutex<Option<Process>>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    _reaper: Reaper,
}

impl Postgres {
    /// The server of this process; the first call starts it.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start, with its log.
    #[must_use]
    pub fn start() -> &'static Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        SERVER.get_or_init(Self::launch)
    }

    /// Creates an empty database and gives its URL
    /// (`postgres://postgres@localhost/<name>?host=<socket folder>`).
    #[must_use]
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut createdb = self.client("createdb");
        createdb.args(["--template", "template0", "--encoding", "UTF8", &name]);
        expect_success("createdb", run(createdb));
        format!("postgres://postgres@localhost/{name}?host={}", self.folder.display())
    }

    fn launch() -> Self {
        let binaries = binaries();
        let folder =
            tempfile::Builder::new().prefix("millrace-pg-").tempdir_in("/tmp").expect("a folder").keep();
        if let Some((user, group)) = unprivileged_owner() {
            std::os::unix::fs::chown(&folder, Some(user), Some(group)).expect("chown the folder");
        }
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).expect("chmod the folder");

        let cluster = folder.join("cluster");
        let mut initdb = unprivileged(&binaries.join("initdb"));
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        initdb.arg("--pgdata").arg(&cluster).current_dir(&folder);
        expect_success("initdb", run(initdb));

        let server = Self { binaries, folder, databases: AtomicU32::new(0), process: Mutex::new(None) };
        server.run();
        server
    }

    /// SIGKILL to the postmaster; its back ends notice and end by themselves.
    pub fn kill(&self) {
        let Some(mut process) = self.process.lock().expect("no test holds it").take() else { return };
        process.child.kill().expect("the postmaster runs");
        process.child.wait().expect("the postmaster ended");
    }

    /// Starts the server again on the same folder after a [`kill`](Self::kill), and waits until it answers.
    pub fn restart(&self) {
        self.kill();
        self.run();
    }

    /// Starts the process. Back ends of one that was killed may live for a moment, and the new one refuses
    /// to start beside them: then it is started again.
    fn run(&self) {
        let log = self.folder.join("server.log");
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let mut postgres = unprivileged(&self.binaries.join("postgres"));
            postgres.arg("-D").arg(self.folder.join("cluster")).arg("-k").arg(&self.folder);
            postgres.args(["-c", "listen_addresses="]).current_dir(&self.folder);
            postgres.stdin(Stdio::null()).stdout(Stdio::null());
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&log);
            postgres.stderr(file.expect("open the log"));
            let mut child = postgres.spawn().expect("start postgres");
            // SIGQUIT is PostgreSQL's immediate shutdown.
            let reaper = Reaper::watch(child.id(), "QUIT", &self.folder);
            let ended = loop {
                let mut ready = self.client("pg_isready");
                ready.arg("--quiet");
                if run(ready).status.success() {
                    *self.process.lock().expect("no test holds it") =
                        Some(Process { child, _reaper: reaper });
                    return;
                }
                let ended = child.try_wait().ok().flatten();
                if ended.is_some() || Instant::now() >= deadline {
                    break ended;
                }
                std::thread::sleep(Duration::from_millis(10));
            };
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let beside = ended.is_some() && text.lines().rev().take(3).any(|line| line.contains(IN_USE));
            assert!(
                beside && Instant::now() < deadline,
                "PostgreSQL is not ready within {READY_WITHIN:?} ({ended:?}):\n{text}"
            );
        }
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.arg("--host").arg(&self.folder).args(["--username", "postgres"]);
        command
    }
}

/// The folder of the newest installed PostgreSQL's programs.
fn binaries() -> PathBuf {
    let mut installed: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").exists())
        .collect();
    installed.sort();
    let newest = installed.pop().map(|(_, folder)| folder);
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|folder| folder.join("initdb").exists())
    };
    newest.or_else(on_path).expect("PostgreSQL is not installed: run `make setup`")
}

/// PostgreSQL refuses to run as root, so as root it runs as the distribution's user for it.
fn unprivileged(program: &Path) -> Command {
    let Some((user, group)) = unprivileged_owner() else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).arg("--clear-groups").arg(program);
    command
}

/// User and group id to run PostgreSQL as: none when this process is not root.
fn unprivileged_owner() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").expect("read the accounts");
    let fields = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let account = fields.into_iter().find(|fields| fields.first() == Some(&"postgres"));
    let account = account.expect("no user `postgres`: run `make setup`");
    Some((account[2].parse().expect("a user id"), account[3].parse().expect("a group id")))
}

fn run(mut command: Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn expect_success(what: &str, output: Output) {
    assert!(output.status.success(), "{what} failed: {}", String::from_utf8_lossy(&output.stderr));
}
