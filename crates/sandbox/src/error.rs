//! Why a sandbox refused: at start ([`SandboxUnavailable`]) or for one command ([`SandboxError`]).

use std::io;
use std::path::PathBuf;

/// No sandbox can be built on this machine; work must be refused with `SANDBOX_UNAVAILABLE`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox cannot be used: {reason}; to fix it: {fix}")]
pub struct SandboxUnavailable {
    /// What was tried and what happened, on one line.
    pub reason: String,
    /// What an operator does about it, on one line.
    pub fix: String,
}

/// A command that was not run to an end that can be reported as [`crate::Finished`].
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The request itself cannot be honoured (a relative mount, a missing workspace, a bad variable name).
    #[error("the command cannot be sandboxed: {reason}")]
    Refused {
        /// What is wrong with which part of the request.
        reason: String,
    },
    /// The sandbox did not come up, so the command never started.
    #[error("the sandbox did not start: {reason}")]
    Setup {
        /// The first line that bubblewrap (or a helper) wrote, or its exit status.
        reason: String,
    },
    /// A file operation around the sandbox failed.
    #[error("{action} {}", path.display())]
    Io {
        /// What was being done, as a phrase that the path completes.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Processes were still there long after SIGKILL; the workspace must not be used again.
    #[error("the sandbox's processes outlived SIGKILL by {waited_seconds} s")]
    Unkillable {
        /// How long the sandbox waited for them.
        waited_seconds: u64,
    },
}

impl SandboxError {
    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}
