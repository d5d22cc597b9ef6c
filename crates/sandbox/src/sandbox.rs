//! The driver: what may be asked, what comes back, and the order in which one command is run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{SandboxError, SandboxUnavailable};
use crate::limits::Limits;
use crate::workspace::Lent;
use crate::{probe, profile, scratch, supervise};

/// A sandbox that has proved each of its denials on this machine. Only [`Sandbox::probe`] makes one.
#[derive(Debug, Clone)]
pub struct Sandbox {
    config: Config,
}

/// How sandboxes are built here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The bubblewrap program (0.8.0 or newer); a bare name is looked up in the system's directories.
    pub bwrap: PathBuf,
    /// Toolchains outside `/usr`, absolute; every command sees them read-only at the same path.
    pub read_only: Vec<PathBuf>,
    /// Whom commands run as when this process is root. The kernel exempts root from process limits, so
    /// root never runs a command.
    pub run_as: RunAs,
    /// A directory that every user may enter, for a few small files per command.
    pub scratch: PathBuf,
    /// Size of the sandbox's `/tmp`, which lives in memory.
    pub tmp_bytes: u64,
}

/// An unprivileged numeric identity that owns nothing else on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunAs {
    /// User id, not 0.
    pub uid: u32,
    /// Group id, not 0.
    pub gid: u32,
}

/// One command and what it may see and use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSpec {
    /// Given to `sh -c`.
    pub command: String,
    /// Mounted at `/workspace`; its `.git` is read-only. One command at a time per workspace.
    pub workspace: PathBuf,
    /// Where the command starts, relative to the workspace; empty for its root.
    pub cwd: PathBuf,
    /// Added to the sandbox's own PATH, HOME, LANG and git settings. Nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// The bounds of this command.
    pub limits: Limits,
    /// Further read-only mounts, absolute, for this command only.
    pub read_only: Vec<PathBuf>,
}

impl CommandSpec {
    /// A command at the workspace's root with default limits and nothing extra.
    #[must_use]
    pub fn new(command: impl Into<String>, workspace: impl Into<PathBuf>) -> Self {
        Self {
            command: command.into(),
            workspace: workspace.into(),
            cwd: PathBuf::new(),
            env: BTreeMap::new(),
            limits: Limits::default(),
            read_only: Vec::new(),
        }
    }
}

/// How a command ended. After any of these no process of the command is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself with this status.
    Code(i32),
    /// A signal ended it, for instance 9 past the processor limit. A shell cannot tell a status of 128+n
    /// from signal n; such a status is reported as the signal.
    Signal(i32),
    /// Killed at `wall_clock`.
    TimedOut,
    /// Killed for writing more than `output_bytes`.
    OutputExceeded,
    /// Killed because the workspace grew by more than `disk_bytes`, or could no longer be measured.
    DiskExceeded,
    /// Killed because its processes together used more than `memory_bytes`; or it failed because it was given
    /// no more: it was close to the bound, or says in its last lines that memory was refused.
    MemoryExceeded,
    /// Killed because it had nearly as many processes and threads as `processes` allows (nine tenths, for the
    /// last few come and go unseen); or it left so many behind, however it ended itself.
    ProcessesExceeded,
    /// Killed because the caller cancelled.
    Cancelled,
}

/// A command that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub exit: Exit,
    /// Standard output and standard error as written, at most `output_bytes`.
    pub output: Vec<u8>,
    /// Whether there was more output than that.
    pub truncated: bool,
    /// From start to the end of the last process.
    pub duration: Duration,
}

impl Sandbox {
    /// Checks the tools and proves each denial (network, writes outside, `.git`, processes, privileges) with
    /// one short command. Sweeps away what killed processes left in the scratch directory.
    ///
    /// # Errors
    /// The first thing that is missing or not denied, with its fix.
    pub async fn probe(config: Config) -> Result<Self, SandboxUnavailable> {
        let sandbox = Self { config };
        let scratch = sandbox.config.scratch.clone();
        // What it does not get to stays for the next start.
        let _swept = tokio::task::spawn_blocking(move || scratch::sweep(&scratch)).await;
        probe::prove(&sandbox).await?;
        Ok(sandbox)
    }

    /// The configuration this sandbox was proved with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Runs one command to its end and leaves no process behind. Dropping the future kills the command too.
    ///
    /// Call it from a thread that lives as long as the command (any runtime worker does): the kernel kills
    /// the sandbox when the thread that started it ends, which is what makes it die with the service.
    ///
    /// # Errors
    /// The request is refused, the sandbox does not start, or its processes cannot be killed.
    pub async fn run(
        &self,
        spec: &CommandSpec,
        cancel: &CancellationToken,
    ) -> Result<Finished, SandboxError> {
        let lent = Lent::lend(&spec.workspace, self.lend_to()).await?;
        let (command, _support) = profile::build(&self.config, spec, &lent)?;
        let started = Instant::now();
        let ended = supervise::run(command, &lent, &spec.limits, cancel).await;
        let duration = started.elapsed();
        lent.give_back().await?;
        let ended = ended?;
        Ok(Finished { exit: ended.exit, output: ended.output, truncated: ended.truncated, duration })
    }

    fn lend_to(&self) -> Option<RunAs> {
        rustix::process::geteuid().is_root().then_some(self.config.run_as)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bwrap: PathBuf::from("bwrap"),
            read_only: Vec::new(),
            // In a range that systemd's table of ids leaves to nobody (60706 to 61183).
            run_as: RunAs { uid: 61_000, gid: 61_000 },
            scratch: PathBuf::from("/tmp"),
            tmp_bytes: 512 * 1024 * 1024,
        }
    }
}
