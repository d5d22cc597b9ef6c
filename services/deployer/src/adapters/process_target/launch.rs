//! Starts a release in its sandbox, in a session of its own, with a log that cannot grow for ever.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

use super::config::{Checked, User};
use super::process::Identity;
use super::{HOST, failed};
use crate::ports::TargetError;

/// Runs bubblewrap outside the sandbox, tells this program the sandbox's first process on standard
/// output, keeps what the release writes (a file of at most 4 MiB and the one before it), and writes its
/// exit status down. It belongs to nobody: it outlives this program. Its end of the pipe is opened for
/// reading too: without a reader bubblewrap would die of what it tells, and leave the half of itself that is
/// in the sandbox behind for ever.
///
/// Arguments: the log file, the exit status file, bubblewrap's arguments.
const LAUNCHER: &str = r#"
log=$1 exit_status=$2
shift 2
keep() {
  while told=$(dd bs=8192 count=512 of="$log" 2>&1); do
    reads=${told%% records in*}
    reads=${reads##*[!0-9+]}
    [ $((${reads%+*} + ${reads#*+})) -lt 512 ] && break
    mv "$log" "$log.1"
  done
  exec cat >/dev/null
}
exec 3<>/proc/self/fd/1 >/dev/null
{ bwrap "$@" 2>&1; echo $? >"$exit_status.new" 3>&-; mv "$exit_status.new" "$exit_status"; } | keep 3>&-
"#;

/// Runs inside the sandbox. Without the word that says the process was recorded, nothing starts: a crash
/// of this program in between leaves no release that nobody knows of.
const GATE: &str = r#"read -r word || exit 125; exec /bin/sh -c "$1" </dev/null"#;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the release finds its files.
const RELEASE_DIRECTORY: &str = "/release";

/// Where the release may write; it stays from one release to the next.
const STATE_DIRECTORY: &str = "/state";

/// What a release may read of `/etc`: name look-up, certificates, the loader's cache.
const ETC: [&str; 13] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki",
    "/etc/resolv.conf",
    "/etc/ssl",
];

/// How long bubblewrap may take to create the sandbox.
const HOLD_DEADLINE: Duration = Duration::from_secs(30);

/// How long the launcher may take to finish the log of a sandbox that is gone.
const FLUSH_DEADLINE: Duration = Duration::from_secs(10);

/// How much of the log is shown.
const TAIL_BYTES: usize = 4096;

/// A release about to be started.
pub(super) struct Launch<'a> {
    pub(super) config: &'a Checked,
    pub(super) commit: &'a str,
    pub(super) checkout: &'a Path,
    pub(super) port: u16,
    pub(super) generation: u64,
}

/// A sandbox that exists; the start command waits in it.
pub(super) struct Held {
    pub(super) identity: Identity,
    gate: ChildStdin,
    running: Running,
}

/// A release whose start command runs.
pub(super) struct Running {
    launcher: Child,
    root: PathBuf,
    generation: u64,
}

/// How a start command ended.
pub(super) struct Ended {
    pub(super) status: i32,
    pub(super) log_tail: String,
}

impl Launch<'_> {
    /// Builds the sandbox and stops before the start command.
    pub(super) async fn hold(&self) -> Result<Held, TargetError> {
        let root = &self.config.root;
        self.give_away_data().await?;
        delete_older_logs(root, self.generation).await?;
        let mut launcher = self
            .command()
            .spawn()
            .map_err(|source| TargetError::Io { action: "run setsid".to_owned(), source })?;
        let gate = launcher.stdin.take();
        let first = tokio::time::timeout(HOLD_DEADLINE, first_process(&mut launcher)).await;
        let identity = match first {
            Ok(Ok(Some(pid))) => Identity::of(pid),
            _ => None,
        };
        let mut running = Running { launcher, root: root.clone(), generation: self.generation };
        match (identity, gate) {
            (Some(identity), Some(gate)) => Ok(Held { identity, gate, running }),
            (_, gate) => {
                // Closed, the gate ends a sandbox that came too late by itself.
                drop(gate);
                let detail = match tokio::time::timeout(FLUSH_DEADLINE, running.ended()).await {
                    Ok(ended) => ended?.log_tail,
                    Err(_) => format!("bwrap hung for {} s", HOLD_DEADLINE.as_secs()),
                };
                Err(TargetError::SandboxUnavailable { detail })
            }
        }
    }

    /// Names the end of a start command: bubblewrap's own failures are not the release's.
    pub(super) fn failure(&self, status: i32, log_tail: String) -> TargetError {
        let last = log_tail.lines().last().unwrap_or_default();
        if ["bwrap: ", "setpriv: "].iter().any(|program| last.starts_with(program)) {
            return TargetError::SandboxUnavailable { detail: log_tail };
        }
        TargetError::StartExited { commit: self.commit.to_owned(), status, log_tail }
    }

    fn command(&self) -> Command {
        let root = &self.config.root;
        let mut command = Command::new("setsid");
        command
            .args(["/bin/sh", "-c", LAUNCHER, "launcher"])
            .arg(log_file(root, self.generation))
            .arg(exit_file(root, self.generation))
            .args(self.sandbox())
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }

    /// Bubblewrap's arguments. As root the sandbox is made by root and left by `setpriv` for another
    /// user; else it is made in a user namespace. Either way nothing in it has a capability.
    fn sandbox(&self) -> Vec<OsString> {
        let mut arguments = Arguments::default();
        arguments.add(["--info-fd", "3", "--new-session", "--cap-drop", "ALL"]);
        arguments.add(["--unshare-pid", "--unshare-ipc", "--unshare-uts"]);
        arguments.add(["--unshare-cgroup-try"]);
        match self.config.user {
            Some(_) => arguments.add(["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]),
            None => arguments.add(["--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534"]),
        }
        arguments.file_system(self.config, self.checkout);
        arguments.variables(self.config, self.commit, self.port);
        arguments.add(["--chdir", RELEASE_DIRECTORY, "--"]);
        if let Some(User { uid, gid }) = self.config.user {
            arguments.add(["setpriv", "--reuid", &uid.to_string(), "--regid"]);
            arguments.add([gid.to_string().as_str(), "--clear-groups", "--inh-caps=-all", "--"]);
        }
        arguments.add(["/bin/sh", "-c", GATE, "gate", &self.config.start_command]);
        arguments.0
    }

    async fn give_away_data(&self) -> Result<(), TargetError> {
        let data = self.config.root.join("data");
        match self.config.user {
            Some(User { uid, gid }) => {
                std::os::unix::fs::chown(&data, Some(uid), Some(gid)).map_err(failed("own", &data))
            }
            None => Ok(()),
        }
    }
}

impl Held {
    /// Lets the start command run.
    pub(super) async fn release(mut self) -> Result<Running, TargetError> {
        match self.gate.write_all(b"start\n").await {
            // It ended already; how is seen by whoever waits for it.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(TargetError::Io { action: "start the release".to_owned(), source: error })
            }
            _ => Ok(self.running),
        }
    }
}

impl Running {
    /// Waits until the start command, everything below it and its log have ended.
    pub(super) async fn ended(&mut self) -> Result<Ended, TargetError> {
        self.launcher
            .wait()
            .await
            .map_err(|source| TargetError::Io { action: "wait for the release".to_owned(), source })?;
        let ended = ended(&self.root, self.generation).await?;
        Ok(ended.unwrap_or(Ended { status: 128, log_tail: String::new() }))
    }
}

/// How the start of this generation ended, if it did.
pub(super) async fn ended(root: &Path, generation: u64) -> Result<Option<Ended>, TargetError> {
    let path = exit_file(root, generation);
    let status = match tokio::fs::read_to_string(&path).await {
        Ok(text) => text.trim().parse().unwrap_or(128),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &path)(error)),
    };
    let mut log = Vec::new();
    let current = log_file(root, generation);
    let mut before = current.clone().into_os_string();
    before.push(".1");
    for part in [Path::new(&before), &current] {
        if let Ok(bytes) = tokio::fs::read(part).await {
            log.extend(bytes);
        }
    }
    let tail = log.get(log.len().saturating_sub(TAIL_BYTES)..);
    let log_tail = String::from_utf8_lossy(tail.unwrap_or_default()).trim().to_owned();
    Ok(Some(Ended { status, log_tail }))
}

#[derive(Deserialize)]
struct Info {
    #[serde(rename = "child-pid")]
    child_pid: i32,
}

/// Reads bubblewrap's one JSON object; `None` when it ended without one.
async fn first_process(launcher: &mut Child) -> Result<Option<i32>, std::io::Error> {
    let Some(pipe) = &mut launcher.stdout else {
        return Ok(None);
    };
    let mut text = Vec::new();
    let mut chunk = [0; 512];
    while !text.contains(&b'}') {
        let count = pipe.read(&mut chunk).await?;
        if count == 0 {
            return Ok(None);
        }
        text.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
    let info: Info = serde_json::from_slice(&text)?;
    Ok(Some(info.child_pid))
}

/// Keeps the logs of the start before; deletes those before that.
async fn delete_older_logs(root: &Path, generation: u64) -> Result<(), TargetError> {
    let logs = root.join("logs");
    let mut entries = tokio::fs::read_dir(&logs).await.map_err(failed("read", &logs))?;
    while let Some(entry) = entries.next_entry().await.map_err(failed("read", &logs))? {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.split('.').next()?.parse::<u64>().ok());
        if number.is_some_and(|number| number + 1 < generation || number == generation) {
            super::remove_file(&entry.path()).await?;
        }
    }
    Ok(())
}

fn log_file(root: &Path, generation: u64) -> PathBuf {
    root.join(format!("logs/{generation}.log"))
}

fn exit_file(root: &Path, generation: u64) -> PathBuf {
    root.join(format!("logs/{generation}.exit"))
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(OsString::from));
    }

    fn bind(&mut self, how: &str, from: &OsStr, to: &OsStr) {
        self.0.extend([how.into(), from.into(), to.into()]);
    }

    fn file_system(&mut self, config: &Checked, checkout: &Path) {
        // Directories that bubblewrap makes by itself are closed to other users.
        self.add(["--perms", "0755", "--dir", "/etc"]);
        self.add(["--ro-bind", "/usr", "/usr"]);
        for directory in ["/bin", "/sbin", "/lib", "/lib32", "/lib64"] {
            let directory = Path::new(directory);
            match std::fs::read_link(directory) {
                Ok(link) => self.bind("--symlink", link.as_os_str(), directory.as_os_str()),
                Err(_) => self.bind("--ro-bind-try", directory.as_os_str(), directory.as_os_str()),
            }
        }
        for path in ETC {
            self.add(["--ro-bind-try", path, path]);
        }
        self.add(["--proc", "/proc", "--dev", "/dev"]);
        self.add(["--perms", "1777", "--tmpfs", "/tmp"]);
        for path in &config.read_only_paths {
            let above = path.ancestors().skip(1).filter(|above| above.parent().is_some());
            for directory in above.collect::<Vec<_>>().into_iter().rev() {
                self.add(["--perms", "0755", "--dir"]);
                self.0.push(directory.into());
            }
            self.bind("--ro-bind", path.as_os_str(), path.as_os_str());
        }
        let data = config.root.join("data");
        self.bind("--bind", data.as_os_str(), STATE_DIRECTORY.as_ref());
        self.bind("--ro-bind", checkout.as_os_str(), RELEASE_DIRECTORY.as_ref());
    }

    fn variables(&mut self, config: &Checked, commit: &str, port: u16) {
        self.add(["--clearenv", "--setenv", "PATH", PATH]);
        for (name, value) in &config.env {
            self.add(["--setenv", name, value]);
        }
        self.add(["--setenv", "PORT", &port.to_string()]);
        self.add(["--setenv", "HOST", HOST]);
        self.add(["--setenv", "MILLRACE_COMMIT", commit]);
        self.add(["--setenv", "MILLRACE_RELEASE_DIR", RELEASE_DIRECTORY]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::super::config::ProcessTargetConfig;
    use super::*;

    fn target(root: &Path, start_command: &str) -> Checked {
        for directory in ["data", "logs", "releases/a"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        let config: ProcessTargetConfig = toml::from_str(&format!(
            "id = 'web'\nroot = '{}'\nstart_command = '{start_command}'",
            root.display()
        ))
        .unwrap();
        config.check().unwrap_or_else(|error| panic!("{error}"))
    }

    /// A deployer that dies before it hears of the sandbox leaves nothing behind.
    #[tokio::test]
    async fn a_launcher_that_nobody_listens_to_ends() {
        let root = tempfile::TempDir::new().unwrap();
        let config = target(root.path(), "touch /state/started");
        let checkout = root.path().join("releases/a");
        let launch = Launch { config: &config, commit: "a", checkout: &checkout, port: 1, generation: 1 };
        let mut launcher = launch.command().spawn().unwrap();
        drop(launcher.stdout.take());
        drop(launcher.stdin.take());
        let ended = tokio::time::timeout(Duration::from_secs(20), launcher.wait()).await;
        if ended.is_err() {
            // What is left holds the launcher's log open; the launcher waits for that.
            let _gone = std::process::Command::new("pkill").args(["-9", "-f"]).arg(root.path()).status();
        }
        assert!(ended.is_ok(), "the sandbox is still there");
        let ended = super::ended(root.path(), 1).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(ended.unwrap().status, 125, "the start command was never let in");
        assert!(!root.path().join("data/started").exists());
    }

    /// A deployer that dies before it recorded the process leaves nothing behind.
    #[tokio::test]
    async fn nothing_starts_before_it_is_recorded() {
        let root = tempfile::TempDir::new().unwrap();
        let config = target(root.path(), "touch /state/started; exit 4");
        let checkout = root.path().join("releases/a");
        let launch =
            |generation| Launch { config: &config, commit: "a", checkout: &checkout, port: 1, generation };
        let Held { identity, gate, mut running } =
            launch(1).hold().await.unwrap_or_else(|error| panic!("{error}"));
        assert!(identity.lives());
        drop(gate);
        let ended = running.ended().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(ended.status, 125, "{}", ended.log_tail);
        assert!(!identity.lives());
        assert!(!root.path().join("data/started").exists());
        let held = launch(2).hold().await.unwrap_or_else(|error| panic!("{error}"));
        let mut running = held.release().await.unwrap_or_else(|error| panic!("{error}"));
        let ended = running.ended().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(ended.status, 4, "{}", ended.log_tail);
        assert!(root.path().join("data/started").exists());
    }
}
