//! What the shim is told, as JSON in one argument.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::SandboxError;

/// How a command is confined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Orders {
    /// RLIMIT_CPU.
    pub(crate) cpu_seconds: u64,
    /// RLIMIT_AS.
    pub(crate) memory_bytes: u64,
    /// RLIMIT_NPROC; inside a user namespace it counts that namespace's processes alone (Linux 5.14).
    pub(crate) processes: u64,
    /// RLIMIT_FSIZE.
    pub(crate) file_size_bytes: u64,
    /// RLIMIT_NOFILE.
    pub(crate) open_files: u64,
    /// Places that may be written, with all below them.
    pub(crate) write: Vec<PathBuf>,
    /// Places that may be read and executed, with all below them.
    pub(crate) read: Vec<PathBuf>,
    /// What a kernel without (enough) Landlock means.
    pub(crate) landlock: Landlock,
    /// Which sockets can be made.
    pub(crate) sockets: Sockets,
    /// Whether a bridge to the proxy's socket is started first.
    pub(crate) bridge: bool,
}

impl Orders {
    /// As the shim reads it.
    pub(crate) fn to_json(&self) -> Result<String, SandboxError> {
        let text = serde_json::to_string(self);
        text.map_err(|error| SandboxError::refused(format!("its limits cannot be told to the shim: {error}")))
    }
}

/// What a kernel means that cannot do all of Landlock that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Landlock {
    /// Do what it can: namespaces deny the same.
    AsFarAsPossible,
    /// Run nothing: there is no other guard.
    Required,
}

/// The kinds of sockets that a command may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sockets {
    /// None at all; pairs that are connected already are no sockets in this sense.
    None,
    /// AF_UNIX.
    Unix,
    /// AF_UNIX, AF_INET and AF_INET6, where a network namespace has nothing but its own loopback.
    Loopback,
}
