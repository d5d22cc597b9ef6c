//! Commands in bubblewrap; where that cannot be had, none at all.

use std::path::Path;

use async_trait::async_trait;
use millrace_policy::exec::{Decision, ExecPolicy, Verdict};
use millrace_sandbox::{
    CommandSpec, Exit, Finished, Limits, Prepared, Sandbox, SandboxError, SandboxUnavailable, SetupError,
};
use tokio_util::sync::CancellationToken;

use super::dependencies::Dependencies;
use crate::ports::Commands;

/// The sandbox as it was found at start, with the bounds of every command.
#[derive(Debug)]
pub struct Sandboxed {
    sandbox: Result<Sandbox, SandboxUnavailable>,
    limits: Limits,
    rules: ExecPolicy,
    dependencies: Dependencies,
}

impl Sandboxed {
    /// With what the probe at start came to, and what every command is subject to.
    pub fn new(
        sandbox: Result<Sandbox, SandboxUnavailable>,
        limits: Limits,
        rules: ExecPolicy,
        dependencies: Dependencies,
    ) -> Self {
        Self { sandbox, limits, rules, dependencies }
    }

    fn sandbox(&self) -> Result<&Sandbox, SandboxError> {
        let sandbox = self.sandbox.as_ref();
        sandbox.map_err(|unavailable| SandboxError::Setup { reason: unavailable.to_string() })
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
        let mut spec = CommandSpec::new(command, workspace);
        spec.limits = self.limits.clone();
        self.dependencies.add_to(&mut spec);
        self.sandbox()?.run(&spec, cancel).await
    }

    async fn prepare(
        &self,
        repository: &str,
        workspace: &Path,
        cancel: &CancellationToken,
    ) -> Result<Option<Prepared>, SetupError> {
        self.dependencies.ensure(self.sandbox()?, repository, workspace, cancel).await
    }

    fn refusal(&self, command: &str) -> Option<Verdict> {
        // Nobody is at hand who could be asked.
        let verdict = self.rules.judge(command);
        (verdict.decision > Decision::Allow).then_some(verdict)
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
