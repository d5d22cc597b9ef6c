//! The bounds of one command. Every one is enforced; none can be switched off, only set.

use std::time::Duration;

/// What one command may use. The defaults suit building and testing an ordinary project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// From start to the kill of everything. Default 10 minutes.
    pub wall_clock: Duration,
    /// Processor seconds per process (RLIMIT_CPU). Default 600.
    pub cpu_seconds: u64,
    /// Address space per process (RLIMIT_AS), and memory in use by all of them together. Default 8 GiB.
    pub memory_bytes: u64,
    /// Processes and threads at once, counted inside the sandbox only (RLIMIT_NPROC). Default 256. The kernel
    /// refuses the one beyond; nine tenths of it end the run.
    pub processes: u64,
    /// The largest single file (RLIMIT_FSIZE). Default 1 GiB.
    pub file_size_bytes: u64,
    /// How much the workspace may grow; each entry counts as at least one 4 KiB block. Default 2 GiB.
    pub disk_bytes: u64,
    /// Standard output and standard error together. Default 1 MiB.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            wall_clock: Duration::from_secs(600),
            cpu_seconds: 600,
            memory_bytes: 8 * 1024 * MIB,
            processes: 256,
            file_size_bytes: 1024 * MIB,
            disk_bytes: 2 * 1024 * MIB,
            output_bytes: 1024 * 1024,
        }
    }
}

impl Limits {
    /// So many processes and threads are a command that does not stop by itself. Not the last one: a refused
    /// fork ends many a process before anyone has looked, the command's own two shells among them.
    pub(crate) fn processes_watched(&self) -> u64 {
        nine_tenths(self.processes).saturating_sub(2).max(4)
    }

    /// A command that fails while it holds so much was refused more.
    pub(crate) fn memory_short_bytes(&self) -> u64 {
        nine_tenths(self.memory_bytes)
    }
}

fn nine_tenths(of: u64) -> u64 {
    of - of / 10
}

/// Open files per process: enough for compilers, and a bound on files that are deleted but still written.
pub(crate) const OPEN_FILES: u64 = 1024;
