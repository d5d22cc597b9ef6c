//! How a command ends: by itself, or killed with everything it started, and never in between.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::cgroup::Group;
use crate::error::SandboxError;
use crate::limits::Limits;
use crate::profile::{LEFT, STARTED};
use crate::sandbox::Exit;
use crate::usage;

/// How a supervised command ended and what it wrote.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) output: Vec<u8>,
    pub(crate) truncated: bool,
}

/// Starts the command and sees it to its end. When this returns, no process of it is left.
pub(crate) async fn run(
    mut command: Command,
    watched: &[PathBuf],
    group: &Group,
    limits: &Limits,
    cancel: &CancellationToken,
) -> Result<Ended, SandboxError> {
    let watch = Watch::begin(watched, limits).await?;
    let program = PathBuf::from(command.as_std().get_program());
    let mut child = command.spawn().map_err(|source| SandboxError::io("starting", program, source))?;
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(setup("its pipes are missing"));
    };
    let mut output = Captured::new(limits.output_bytes);
    let monitor = child.id();
    let mut control = Vec::new();
    // Standard output ends when bubblewrap and every process inside have gone, not when the command closes it.
    let stopped = tokio::select! {
        biased;
        () = cancel.cancelled() => Some(Exit::Cancelled),
        () = sleep(limits.wall_clock) => Some(Exit::TimedOut),
        exceeded = watch.exceeded(monitor) => Some(exceeded),
        () = watch.crowded(monitor) => Some(Exit::ProcessesExceeded),
        fits = output.read(&mut stdout) => (!fits).then_some(Exit::OutputExceeded),
        () = orphaned(&mut child) => None,
        // From the beginning on, so that no command finds anything there to take away.
        () = listen(&mut stderr, &mut control) => None,
    };
    let status = match stopped {
        None => settle(&mut child).await?,
        Some(_) => kill(&mut child).await?,
    };
    if stopped.is_some() && !output.truncated {
        // What was written before the kill is still in the pipe.
        let _ = timeout(DRAIN, output.read(&mut stdout)).await;
    }
    let _ = timeout(DRAIN, read_control(&mut stderr, &mut control)).await;
    let control = String::from_utf8_lossy(&control).into_owned();
    let exit = match stopped {
        Some(exit) => exit,
        None if started(&control) && group.ran_out_of_memory() => Exit::MemoryExceeded,
        None if started(&control) => {
            let exit = exit_of(status);
            let words = tail_lines(&output.bytes);
            if left_behind(&control) >= limits.processes_watched() || says_no_process(&words) {
                Exit::ProcessesExceeded
            } else if exit != Exit::Code(0) && (watch.memory_was_short() || says_no_memory(&words)) {
                Exit::MemoryExceeded
            } else {
                exit
            }
        }
        None => return Err(setup(&first_line(&control, status))),
    };
    Ok(Ended { exit, output: output.bytes, truncated: output.truncated })
}

/// Resolves when whatever watches over the command has gone before it: somebody killed it, or the kernel did for
/// lack of memory. In the usual order the output ends first.
async fn orphaned(child: &mut Child) {
    // Waiting for it would close its standard input, which tells an attendant to end the command.
    while matches!(child.try_wait(), Ok(None)) {
        sleep(WATCH_EVERY).await;
    }
    sleep(DRAIN).await;
}

const DRAIN: Duration = Duration::from_secs(1);
const KILL_STEP: Duration = Duration::from_millis(50);
const KILL_STEPS: u64 = 200;
const WATCH_EVERY: Duration = Duration::from_millis(200);
const COUNT_EVERY: Duration = Duration::from_millis(20);
const CONTROL_BYTES: usize = 4096;

/// Everything inside is gone already; bubblewrap itself has only to be collected.
async fn settle(child: &mut Child) -> Result<ExitStatus, SandboxError> {
    match timeout(KILL_STEP * 20, child.wait()).await {
        Ok(status) => status.map_err(|source| SandboxError::io("waiting for", "the sandbox", source)),
        Err(_) => kill(child).await,
    }
}

/// Kills process 1 of the sandbox, with which the kernel ends all others, and waits until bubblewrap has
/// seen it gone. Killing bubblewrap first would return before the last process inside is dead.
async fn kill(child: &mut Child) -> Result<ExitStatus, SandboxError> {
    let mut childless_steps = 0;
    for _ in 0..KILL_STEPS {
        let inside = child.id().map(usage::children).unwrap_or_default();
        childless_steps = if inside.is_empty() { childless_steps + 1 } else { 0 };
        if let Some(monitor) = child.id() {
            inside.into_iter().for_each(|pid| kill_child(monitor, pid));
        }
        if childless_steps > 10 {
            // Nothing was ever started inside: this is the program itself that hangs.
            let _ = child.start_kill();
        }
        if let Ok(status) = timeout(KILL_STEP, child.wait()).await {
            return status.map_err(|source| SandboxError::io("waiting for", "the sandbox", source));
        }
    }
    let _ = child.start_kill();
    Err(SandboxError::Unkillable { waited_seconds: (KILL_STEP * 200).as_secs() })
}

fn kill_child(parent: u32, pid: i32) {
    let Some(process) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return;
    };
    // Only if the number still means the same process now that the descriptor holds on to it. A process that
    // has ended by itself is what we want, so a failure to signal says nothing.
    if usage::children(parent).contains(&pid) {
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code @ 129..=192), _) => Exit::Signal(code - 128),
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    }
}

/// Reads what process 1 says, and never resolves.
async fn listen(stderr: &mut (impl AsyncRead + Unpin), control: &mut Vec<u8>) {
    read_control(stderr, control).await;
    std::future::pending().await
}

/// Reads to the end; what is beyond the bound is thrown away.
async fn read_control(stderr: &mut (impl AsyncRead + Unpin), control: &mut Vec<u8>) {
    let mut chunk = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        let room = CONTROL_BYTES.saturating_sub(control.len());
        control.extend(chunk.iter().take(count.min(room)));
    }
}

fn started(control: &str) -> bool {
    control.lines().any(|line| line == STARTED)
}

/// How many processes and threads were left when the command ended, process 1 among them.
fn left_behind(control: &str) -> u64 {
    let counts = control.lines().filter_map(|line| line.strip_prefix(LEFT)?.parse().ok());
    counts.max().unwrap_or(0)
}

/// What programs write when the kernel refuses them memory. A refused allocation leaves no trace that can be
/// seen from outside, so only their own last words tell it from any other failure.
const NO_MEMORY: [&str; 7] = [
    "MemoryError",
    "Cannot allocate memory",
    "memory exhausted",
    "out of memory",
    "OutOfMemoryError",
    "std::bad_alloc",
    "memory allocation of ",
];

fn says_no_memory(words: &str) -> bool {
    NO_MEMORY.iter().any(|sign| words.contains(sign))
}

/// What the shells write when the kernel refuses them a process: dash, then bash. The command may go on and
/// end well all the same, after the crowd is gone.
fn says_no_process(words: &str) -> bool {
    words.lines().any(|line| {
        line.ends_with(": Cannot fork")
            || (line.contains("fork: ") && line.ends_with("Resource temporarily unavailable"))
    })
}

/// The last three lines of an output, of at most 1 KiB.
fn tail_lines(output: &[u8]) -> String {
    let end = output.get(output.len().saturating_sub(1024)..).unwrap_or_default();
    let text = String::from_utf8_lossy(end);
    let mut lines: Vec<&str> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
    lines.reverse();
    lines.join("\n")
}

fn first_line(control: &str, status: ExitStatus) -> String {
    match control.lines().find(|line| !line.trim().is_empty()) {
        Some(line) => line.trim().to_owned(),
        None => format!("it ended with {status} and said nothing"),
    }
}

fn setup(reason: &str) -> SandboxError {
    SandboxError::Setup { reason: reason.to_owned() }
}

/// Output kept up to a bound.
struct Captured {
    bytes: Vec<u8>,
    bound: usize,
    truncated: bool,
}

impl Captured {
    fn new(bound: usize) -> Self {
        Self { bytes: Vec::new(), bound, truncated: false }
    }

    /// Reads to the end (`true`) or past the bound (`false`). What was read stays when the future is dropped.
    async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> bool {
        let mut chunk = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut chunk).await {
            let room = self.bound.saturating_sub(self.bytes.len());
            self.bytes.extend(chunk.iter().take(count.min(room)));
            if count > room {
                self.truncated = true;
                return false;
            }
        }
        true
    }
}

fn bytes_in(roots: &[PathBuf]) -> io::Result<u64> {
    roots.iter().try_fold(0, |sum: u64, root| Ok(sum.saturating_add(usage::workspace_bytes(root)?)))
}

/// Measures what the kernel's own limits do not bound: totals over many files and many processes.
struct Watch {
    roots: Vec<PathBuf>,
    device: u64,
    disk_bound_bytes: u64,
    memory_bound_bytes: u64,
    memory_short_bytes: u64,
    memory_was_short: AtomicBool,
    processes_bound: u64,
}

impl Watch {
    /// The last of the `roots` is the workspace.
    async fn begin(roots: &[PathBuf], limits: &Limits) -> Result<Self, SandboxError> {
        let root = roots.last().map(PathBuf::as_path).unwrap_or(Path::new("/"));
        let (paths, path) = (roots.to_owned(), root.to_owned());
        let measured = tokio::task::spawn_blocking(move || {
            let device = std::fs::metadata(&path)?.dev();
            Ok((device, bytes_in(&paths)?))
        });
        let (device, before) = measured
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| SandboxError::io("measuring", root, source))?;
        Ok(Self {
            roots: roots.to_owned(),
            device,
            disk_bound_bytes: before.saturating_add(limits.disk_bytes),
            memory_bound_bytes: limits.memory_bytes,
            memory_short_bytes: limits.memory_short_bytes(),
            memory_was_short: AtomicBool::new(false),
            processes_bound: limits.processes_watched(),
        })
    }

    /// Whether the memory in use was once close to its bound.
    fn memory_was_short(&self) -> bool {
        self.memory_was_short.load(Ordering::Relaxed)
    }

    /// Resolves when there are too many processes; otherwise never. It looks often, and at nothing else: a
    /// crowd whose forks are refused may be gone a moment later.
    async fn crowded(&self, monitor: Option<u32>) {
        let Some(monitor) = monitor else { return std::future::pending().await };
        loop {
            sleep(COUNT_EVERY).await;
            let counted = tokio::task::spawn_blocking(move || usage::processes_below(monitor)).await;
            if counted.is_ok_and(|processes| processes >= self.processes_bound) {
                return;
            }
        }
    }

    /// Resolves when a bound is passed; otherwise never.
    async fn exceeded(&self, monitor: Option<u32>) -> Exit {
        loop {
            sleep(WATCH_EVERY).await;
            let (roots, device) = (self.roots.clone(), self.device);
            let measured = tokio::task::spawn_blocking(move || {
                let held = monitor.map(|pid| usage::held_below(pid, device)).unwrap_or_default();
                (held, bytes_in(&roots))
            });
            let Ok((held, Ok(disk_bytes))) = measured.await else {
                return Exit::DiskExceeded;
            };
            if disk_bytes.saturating_add(held.nameless_disk_bytes) > self.disk_bound_bytes {
                return Exit::DiskExceeded;
            }
            if held.memory_bytes > self.memory_bound_bytes {
                return Exit::MemoryExceeded;
            }
            if held.memory_bytes >= self.memory_short_bytes {
                self.memory_was_short.store(true, Ordering::Relaxed);
            }
        }
    }
}
