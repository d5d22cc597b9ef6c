//! The driver: what may be asked, what comes back, and the order in which one command is run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cgroup::{Group, Parents};
use crate::error::{SandboxError, SandboxUnavailable};
use crate::limits::Limits;
use crate::shim::ASKED;
use crate::workspace::{Guard, Lent, hand_over};
use crate::{pod, probe, profile, scratch, shim, supervise};

/// A sandbox that has proved each of its denials on this machine. Only [`Sandbox::probe`] makes one.
#[derive(Debug, Clone)]
pub struct Sandbox {
    config: Config,
    shim: PathBuf,
    groups: Parents,
}

/// How sandboxes are built here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What a command is kept in.
    pub mode: Mode,
    /// Whether memory and processes of a command are bounded by control groups where that is possible.
    pub cgroups: bool,
    /// The bubblewrap program (0.8.0 or newer); a bare name is looked up in the system's directories.
    pub bwrap: PathBuf,
    /// The program that restricts a command from inside ([`crate::shim`]). Unset: the running executable, which
    /// must call [`crate::shim::run_if_asked`] first of all.
    pub shim: Option<PathBuf>,
    /// Toolchains outside `/usr`, absolute; every command sees them read-only at the same path.
    pub read_only: Vec<PathBuf>,
    /// Directories that every command's PATH begins with, absolute; they lie in `/usr` or in `read_only`.
    pub path: Vec<PathBuf>,
    /// Variables of every command, such as where a toolchain keeps its files. No secrets.
    pub env: BTreeMap<String, String>,
    /// Whether a command may use TCP and UDP on the loopback of its own network namespace, for tests that
    /// start a server. Nothing else is reachable either way.
    pub loopback: bool,
    /// Where it is remembered that the toolchains work, so that a restart does not build programs again. Unset:
    /// they are tried at each start.
    pub remember: Option<PathBuf>,
    /// Files of this process that no command may ever read; the self-test tries.
    pub secrets: Vec<PathBuf>,
    /// Whom commands run as when this process is root. The kernel exempts root from process limits, so
    /// root never runs a command.
    pub run_as: RunAs,
    /// A directory that every user may enter, for a few small files per command.
    pub scratch: PathBuf,
    /// Size of the sandbox's `/tmp`, which lives in memory.
    pub tmp_bytes: u64,
}

/// What a command is kept in. docs/sandbox.md compares the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Namespaces and mounts of its own, made by bubblewrap, and the shim inside.
    Bubblewrap,
    /// The shim alone, where no user namespaces can be made: Landlock (Linux 6.12) and seccomp.
    Shim,
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
    /// Further mounts at another place than their own, for this command only.
    pub mounts: Vec<Mount>,
    /// The socket of the proxy of a setup step.
    pub(crate) egress: Option<PathBuf>,
}

/// A directory shown to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is outside, absolute.
    pub from: PathBuf,
    /// Where the command sees it, absolute.
    pub to: PathBuf,
    /// Whether the command may write there. Only a directory made for this one command should be.
    pub writable: bool,
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
            mounts: Vec::new(),
            egress: None,
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
        let shim = config.shim.clone().or_else(shim::running_program);
        let shim = shim.and_then(|path| path.canonicalize().ok()).ok_or_else(probe::no_shim)?;
        let groups = if config.cgroups { Parents::find() } else { Parents::default() };
        let sandbox = Self { config, shim, groups };
        let scratch = sandbox.config.scratch.clone();
        // What it does not get to stays for the next start.
        let _swept = tokio::task::spawn_blocking(move || scratch::sweep(&scratch)).await;
        probe::prove(&sandbox).await?;
        Ok(sandbox)
    }

    /// What control groups bound here, such as `memory and processes`, or `nothing`.
    #[must_use]
    pub fn bounded_by_groups(&self) -> &'static str {
        self.groups.bounds()
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
        let guard = match self.config.mode {
            Mode::Bubblewrap => Guard::Mount,
            Mode::Shim => Guard::Aside,
        };
        let lent = Lent::lend(&spec.workspace, self.lend_to(), guard).await?;
        let ended = self.run_lent(spec, &lent, cancel).await;
        lent.give_back().await?;
        ended
    }

    async fn run_lent(
        &self,
        spec: &CommandSpec,
        lent: &Lent,
        cancel: &CancellationToken,
    ) -> Result<Finished, SandboxError> {
        let writable: Vec<PathBuf> =
            spec.mounts.iter().filter(|mount| mount.writable).map(|mount| mount.from.clone()).collect();
        if let Some(to) = self.lend_to() {
            writable.iter().try_for_each(|folder| hand_over(folder, to))?;
        }
        let (command, support) = match self.config.mode {
            Mode::Bubblewrap => profile::build(&self.config, &self.shim, spec, lent)?,
            Mode::Shim => pod::build(&self.config, &self.shim, spec, lent)?,
        };
        let mut watched = writable;
        watched.push(lent.root().to_owned());
        if self.config.mode == Mode::Shim {
            watched.push(pod::temporary(&support));
        }
        let group = self
            .groups
            .make(&spec.limits)
            .map_err(|source| SandboxError::io("making a control group for", &spec.workspace, source))?;
        let command = self.inside(&group, command);
        let started = Instant::now();
        let ended = supervise::run(command, &watched, &group, &spec.limits, cancel).await;
        let duration = started.elapsed();
        // Taking them away may wait for the kernel, or for many files.
        let _removed = tokio::task::spawn_blocking(move || drop((group, support))).await;
        let ended = ended?;
        Ok(Finished { exit: ended.exit, output: ended.output, truncated: ended.truncated, duration })
    }

    /// The same command, which enters the groups first: moved in from outside it could have started something
    /// before.
    fn inside(&self, group: &Group, command: Command) -> Command {
        let entrances: Vec<PathBuf> = group.entrances().collect();
        if entrances.is_empty() {
            return command;
        }
        let command = command.into_std();
        let mut entering = Command::new(&self.shim);
        entering.args([ASKED, "enter"]).args(entrances).arg("--");
        entering.arg(command.get_program()).args(command.get_args()).env_clear();
        entering.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(directory) = command.get_current_dir() {
            entering.current_dir(directory);
        }
        profile::pipes(&mut entering, self.config.mode);
        entering
    }

    /// Where a command finds the shim.
    pub(crate) fn shim_inside(&self) -> &Path {
        match self.config.mode {
            Mode::Bubblewrap => Path::new(profile::SHIM),
            Mode::Shim => &self.shim,
        }
    }

    /// The namespaces that a command must have to itself.
    pub(crate) fn namespaces(&self) -> &'static [(&'static str, &'static str)] {
        match self.config.mode {
            Mode::Bubblewrap => &probe::NAMESPACES,
            Mode::Shim => &[],
        }
    }

    fn lend_to(&self) -> Option<RunAs> {
        rustix::process::geteuid().is_root().then_some(self.config.run_as)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Bubblewrap,
            cgroups: true,
            bwrap: PathBuf::from("bwrap"),
            shim: None,
            read_only: Vec::new(),
            path: Vec::new(),
            env: BTreeMap::new(),
            loopback: false,
            remember: None,
            secrets: Vec::new(),
            // In a range that systemd's table of ids leaves to nobody (60706 to 61183).
            run_as: RunAs { uid: 61_000, gid: 61_000 },
            scratch: PathBuf::from("/tmp"),
            tmp_bytes: 512 * 1024 * 1024,
        }
    }
}
