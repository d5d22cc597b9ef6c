//! Runs the `git` program: bounded in time and output, deaf to the machine's configuration and hooks.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// How long one call may take unless [`Git::with_deadline`] says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);

/// The most bytes of standard output that one call may return.
pub const MAX_OUTPUT_BYTES: u64 = 64 * 1024 * 1024;

/// How many bytes of standard error are kept, counted from its end.
const MAX_STDERR_BYTES: usize = 8 * 1024;

/// How long a git that passed its deadline has to remove its lock files before it is killed.
const TERMINATION_GRACE: Duration = Duration::from_secs(2);

/// Value for `--upload-pack` when cloning or fetching from a *local path or `file://` URL* that may belong
/// to another user. Git hands `-c safe.directory=*` to its own process only, never to the upload-pack
/// that it starts for a local repository, which then refuses with "dubious ownership". Not for ssh:
/// hosted forges accept a plain `git-upload-pack` only.
pub const LOCAL_UPLOAD_PACK: &str = "git -c safe.directory=* upload-pack";

/// Variables of the environment that git still sees: what is needed to reach a remote, nothing that
/// changes what git does.
const INHERITED: [&str; 10] = [
    "PATH",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// A way to call git. Cheap to clone; each `with_…` returns a changed copy.
#[derive(Debug, Clone)]
pub struct Git {
    binary: PathBuf,
    directory: Option<PathBuf>,
    deadline: Duration,
    environment: Vec<(OsString, OsString)>,
}

/// What a finished git said.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit status, 0 unless the caller allowed others.
    pub status: i32,
    /// Standard output, whole.
    pub stdout: Vec<u8>,
    /// The last 8 KiB of standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output as text, without the white space around it.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

/// Why a call of git gave no result.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no such program.
    #[error("the program {} was not found: install git", binary.display())]
    NotFound {
        /// The program that was looked for.
        binary: PathBuf,
    },
    /// The program, or the pipe to it, failed before git could answer.
    #[error("`git {command}` could not be run")]
    Io {
        /// The sub-command.
        command: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// Git was still running at its deadline and was ended.
    #[error("`git {command}` was ended after {} s without finishing", deadline.as_secs())]
    TimedOut {
        /// The sub-command.
        command: String,
        /// The deadline that passed.
        deadline: Duration,
    },
    /// Git answered with a status that the caller did not allow.
    #[error("`git {command}` failed with status {status}: {stderr}")]
    Failed {
        /// The sub-command.
        command: String,
        /// The exit status, or 128 plus the signal.
        status: i32,
        /// The last 8 KiB of standard error.
        stderr: String,
    },
    /// Git wrote more than [`MAX_OUTPUT_BYTES`].
    #[error("`git {command}` wrote more than {MAX_OUTPUT_BYTES} bytes")]
    TooMuchOutput {
        /// The sub-command.
        command: String,
    },
    /// `git --version` said something that is not a version.
    #[error("`git --version` answered `{answer}`, which is not a version")]
    VersionUnreadable {
        /// The answer.
        answer: String,
    },
}

impl GitError {
    /// Whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::Io { .. })
    }

    /// Whether git failed because another process held or moved a reference.
    pub(crate) fn lost_a_reference(&self) -> bool {
        matches!(self, Self::Failed { stderr, .. } if stderr.contains("cannot lock ref"))
    }
}

/// Major and minor version of git, for example 2.39.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl std::fmt::Display for GitVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Default for Git {
    fn default() -> Self {
        Self::new()
    }
}

impl Git {
    /// The `git` on `PATH`, with [`DEFAULT_DEADLINE`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            binary: PathBuf::from("git"),
            directory: None,
            deadline: DEFAULT_DEADLINE,
            environment: Vec::new(),
        }
    }

    /// Uses another program.
    #[must_use]
    pub fn with_binary(mut self, binary: impl Into<PathBuf>) -> Self {
        self.binary = binary.into();
        self
    }

    /// Ends a call that takes longer than this.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs in this directory, as `git -C` does.
    #[must_use]
    pub fn in_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Adds a variable to the otherwise nearly empty environment, for example `GIT_ASKPASS`.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs git and returns its output. Dropping the future ends git.
    ///
    /// # Errors
    /// Any exit status but 0, and everything else that [`GitError`] names.
    pub async fn run<I, S>(&self, arguments: I) -> Result<Output, GitError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.run_with(arguments, &[], &[0]).await
    }

    /// Like [`Git::run`], with bytes for standard input and the list of exit statuses that are answers
    /// and not failures (`merge-base --is-ancestor` says no with 1).
    ///
    /// # Errors
    /// Any other exit status, and everything else that [`GitError`] names.
    pub async fn run_with<I, S>(
        &self,
        arguments: I,
        input: &[u8],
        allowed: &[i32],
    ) -> Result<Output, GitError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let arguments: Vec<OsString> =
            arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let command = sub_command(&arguments);
        let mut child = self.command(&arguments).spawn().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => GitError::NotFound { binary: self.binary.clone() },
            _ => io(&command, source),
        })?;
        let mut group = Group::of(&child);
        let finished = tokio::time::timeout(self.deadline, talk(&mut child, input)).await;
        let Ok(finished) = finished else {
            group.terminate(&mut child).await;
            return Err(GitError::TimedOut { command, deadline: self.deadline });
        };
        let (status, stdout, stderr) = finished.map_err(|source| io(&command, source))?;
        group.disarm();
        if stdout.len() as u64 > MAX_OUTPUT_BYTES {
            return Err(GitError::TooMuchOutput { command });
        }
        let status = exit_code(status);
        let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
        if allowed.contains(&status) {
            Ok(Output { status, stdout, stderr })
        } else {
            Err(GitError::Failed { command, status, stderr })
        }
    }

    /// The version of this git.
    ///
    /// # Errors
    /// [`GitError::VersionUnreadable`], and the failures of [`Git::run`].
    pub async fn version(&self) -> Result<GitVersion, GitError> {
        let answer = self.run(["--version"]).await?.text();
        parse_version(&answer).ok_or(GitError::VersionUnreadable { answer })
    }

    fn command(&self, arguments: &[OsString]) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear();
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        for setting in [
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "protocol.ext.allow=never",
            "safe.directory=*",
            "gc.auto=0",
            "maintenance.auto=false",
        ] {
            command.args(["-c", setting]);
        }
        if let Some(directory) = &self.directory {
            command.arg("-C").arg(directory);
        }
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own group, so that helpers such as git-remote-https end with it.
            .process_group(0);
        command
    }
}

/// Ends git and its helpers when the call is abandoned. The polite signal, because a git that is killed
/// outright leaves lock files behind that stop every later writer.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn disarm(&mut self) {
        self.0 = None;
    }

    async fn terminate(&mut self, child: &mut Child) {
        let Some(pid) = self.0.take() else { return };
        // The group may be gone already; nothing is owed then.
        let _ = kill_process_group(pid, Signal::TERM);
        let _ = tokio::time::timeout(TERMINATION_GRACE, child.wait()).await;
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = child.wait().await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::TERM);
        }
    }
}

async fn talk(child: &mut Child, input: &[u8]) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), std::io::Error> {
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let feed = async move {
        if let Some(mut pipe) = stdin {
            match pipe.write_all(input).await {
                // Git may answer without reading everything; its exit status tells.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                other => other,
            }
        } else {
            Ok(())
        }
    };
    let (fed, stdout, stderr) = tokio::join!(feed, read_head(stdout), read_tail(stderr));
    fed?;
    Ok((child.wait().await?, stdout?, stderr?))
}

/// Keeps one byte more than allowed, so that the caller sees that it was too much.
async fn read_head(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, std::io::Error> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut kept).await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(kept)
}

async fn read_tail(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, std::io::Error> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        let mut chunk = vec![0; MAX_STDERR_BYTES];
        loop {
            let count = pipe.read(&mut chunk).await?;
            if count == 0 {
                break;
            }
            kept.extend_from_slice(chunk.get(..count).unwrap_or_default());
            let surplus = kept.len().saturating_sub(MAX_STDERR_BYTES);
            kept.drain(..surplus);
        }
    }
    Ok(kept)
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// The word that says what was asked, without the paths and values that follow it.
fn sub_command(arguments: &[OsString]) -> String {
    let mut words = arguments.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        if word == "-c" || word == "-C" {
            words.next();
        } else if !word.starts_with('-') || word == "--version" {
            return word.into_owned();
        }
    }
    String::new()
}

fn parse_version(answer: &str) -> Option<GitVersion> {
    let number = answer.strip_prefix("git version ")?;
    let mut parts = number.split(['.', ' ']);
    Some(GitVersion { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
}

fn io(command: &str, source: std::io::Error) -> GitError {
    GitError::Io { command: command.to_owned(), source }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_every_vendor_are_read() {
        for (answer, minor) in [("git version 2.39.5", 39), ("git version 2.50.1 (Apple Git-155)", 50)] {
            assert_eq!(parse_version(answer), Some(GitVersion { major: 2, minor }));
        }
        assert_eq!(parse_version("hub 1.0"), None);
    }

    #[test]
    fn the_sub_command_is_named_without_its_values() {
        let words = ["-c", "a=b", "--git-dir=/x", "push", "https://secret@host/"];
        assert_eq!(sub_command(&words.map(OsString::from)), "push");
    }
}
