//! Commands in bubblewrap; where that cannot be had, none at all.

use std::path::Path;

use async_trait::async_trait;
use millrace_sandbox::{CommandSpec, Exit, Finished, Limits, Sandbox, SandboxError, SandboxUnavailable};
use tokio_util::sync::CancellationToken;

use crate::ports::Commands;

/// The sandbox as it was found at start, with the bounds of every command.
#[derive(Debug)]
pub struct Sandboxed {
    sandbox: Result<Sandbox, SandboxUnavailable>,
    limits: Limits,
}

impl Sandboxed {
    /// With what the probe at start came to.
    pub fn new(sandbox: Result<Sandbox, SandboxUnavailable>, limits: Limits) -> Self {
        Self { sandbox, limits }
    }
}

#[async_trait]
impl Commands for Sandboxed {
    fn ready(&self) -> Result<(), SandboxUnavailable> {
        self.sandbox.as_ref().map(drop).map_err(Clone::clone)
    }

    async fn run(
        &self,
        command: &str,
        workspace: &Path,
        cancel: &CancellationToken,
    ) -> Result<Finished, SandboxError> {
        match &self.sandbox {
            Ok(sandbox) => {
                let mut spec = CommandSpec::new(command, workspace);
                spec.limits = self.limits.clone();
                sandbox.run(&spec, cancel).await
            }
            Err(unavailable) => Err(SandboxError::Setup { reason: unavailable.to_string() }),
        }
    }

    fn bound(&self, finished: &Finished) -> Option<String> {
        let limits = &self.limits;
        Some(match finished.exit {
            Exit::TimedOut => format!("it was killed after {} s", limits.wall_clock.as_secs()),
            Exit::OutputExceeded => format!("its output passed {} bytes", limits.output_bytes),
            Exit::DiskExceeded => format!("it added more than {} bytes to the disk", limits.disk_bytes),
            Exit::MemoryExceeded => format!("it used more than {} bytes of memory", limits.memory_bytes),
            Exit::ProcessesExceeded => {
                format!("it had as many processes as it may have at once ({})", limits.processes)
            }
            // The kernel's answers to RLIMIT_CPU and RLIMIT_FSIZE.
            Exit::Signal(24) => format!("it used more than {} s of processor time", limits.cpu_seconds),
            Exit::Signal(25) => format!("it wrote a file of more than {} bytes", limits.file_size_bytes),
            Exit::Code(_) | Exit::Signal(_) | Exit::Cancelled => return None,
        })
    }
}
