//! The step that fetches a repository's dependencies: before anything is changed, in a sandbox of its own that
//! reaches the hosts on a list and holds no secret. Its result is kept by the hash of what it follows from, and
//! every later command sees it read-only and works offline. S4-D7, S4-D8.

mod digest;
mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::egress::{BRIDGE_PORT, Egress, Proxy};
use crate::error::SandboxError;
use crate::limits::Limits;
use crate::sandbox::{CommandSpec, Exit, Finished, Mode, Mount, Sandbox};
use crate::toolchain;

/// Where a setup step leaves what it fetched, and where later commands find it.
pub const DEPENDENCIES: &str = "/dependencies";

/// How the dependencies of a repository are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Given to `sh -c` in a copy of the checkout. What it puts below [`DEPENDENCIES`] stays; nothing else does.
    pub command: String,
    /// The files that say which dependencies there are, relative to the checkout.
    pub lockfiles: Vec<PathBuf>,
    /// Variables of the step and of every later command, such as `CARGO_HOME=/dependencies/cargo`.
    pub env: BTreeMap<String, String>,
    /// Further variables of later commands, such as `CARGO_NET_OFFLINE=true`.
    pub offline_env: BTreeMap<String, String>,
    /// Who may be reached.
    pub egress: Egress,
    /// The bounds of the step.
    pub limits: Limits,
}

/// The result of a setup step, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// SHA-256 of what it follows from: command, variables, lockfiles, toolchain.
    pub key: String,
    /// SHA-256 of what it consists of.
    pub content_sha256: String,
    /// The directory that commands see as [`DEPENDENCIES`].
    pub folder: PathBuf,
    /// Variables of every command that uses it.
    pub env: BTreeMap<String, String>,
}

/// Why there are no dependencies.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A lockfile is not in the checkout.
    #[error("the lockfile {} cannot be read in the checkout", path.display())]
    Lockfile {
        /// Relative to the checkout.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The step ended badly.
    #[error("`{command}` did not fetch the dependencies ({exit:?}){}", refusals(refused))]
    Failed {
        /// The step.
        command: String,
        /// How it ended.
        exit: Exit,
        /// What it wrote.
        output: Vec<u8>,
        /// Hosts that it asked for in vain, with the reason.
        refused: Vec<String>,
    },
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The sandbox did not run it.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The result cannot be kept.
    #[error("{action} {}", path.display())]
    Store {
        /// What was being done, as a phrase that the path completes.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl Setup {
    /// The name of the result: SHA-256 over the command, its variables, the lockfiles' contents and the toolchain.
    ///
    /// # Errors
    /// A lockfile cannot be read.
    pub fn key(&self, sandbox: &Sandbox, checkout: &Path) -> Result<String, SetupError> {
        let mut hash = Sha256::new();
        let mut add = |field: &[u8]| {
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field);
        };
        add(b"millrace setup 1");
        add(self.command.as_bytes());
        for (name, value) in &self.env {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        add(b"lockfiles");
        for path in &self.lockfiles {
            let text = digest::read_below(checkout, path)
                .map_err(|source| SetupError::Lockfile { path: path.clone(), source })?;
            add(path.to_string_lossy().as_bytes());
            add(&text);
        }
        add(toolchain::stamp_of(sandbox).as_bytes());
        Ok(hex::encode(hash.finalize()))
    }

    /// The result for a checkout: from the cache, or made now. Of several callers with the same key, in any process
    /// of this machine, one makes it and the others wait.
    ///
    /// # Errors
    /// The step failed, or its result cannot be kept.
    pub async fn ensure(
        &self,
        sandbox: &Sandbox,
        cache: &Path,
        checkout: &Path,
        cancel: &CancellationToken,
    ) -> Result<Prepared, SetupError> {
        let key = self.key(sandbox, checkout)?;
        if let Some(found) = store::find(cache, &key)? {
            return Ok(self.prepared(key, found));
        }
        let _turn = store::turn(cache, &key, cancel).await?;
        if let Some(found) = store::find(cache, &key)? {
            return Ok(self.prepared(key, found));
        }
        let staging = store::Staging::begin(cache, &key, checkout).await?;
        self.fetch(sandbox, &staging, cancel).await?;
        let found = staging.keep().await?;
        Ok(self.prepared(key, found))
    }

    async fn fetch(
        &self,
        sandbox: &Sandbox,
        staging: &store::Staging,
        cancel: &CancellationToken,
    ) -> Result<(), SetupError> {
        if sandbox.config().mode == Mode::Shim {
            return Err(SandboxError::refused(
                "a setup step needs mounts and a network of its own, which `mode = \"shim\"` has not; put the \
                 dependencies into the image, or use bubblewrap",
            )
            .into());
        }
        let mut spec = CommandSpec::new(self.command.clone(), staging.checkout());
        spec.limits = self.limits.clone();
        spec.env = self.env.clone();
        spec.mounts =
            vec![Mount { from: staging.content(), to: PathBuf::from(DEPENDENCIES), writable: true }];
        let mut proxy = None;
        if !self.egress.is_empty() {
            let started = Proxy::start(self.egress.clone(), &sandbox.config().scratch);
            let started = started.map_err(|source| SandboxError::io("starting", "the proxy", source))?;
            spec.egress = Some(started.socket());
            spec.env.extend(proxy_variables());
            proxy = Some(started);
        }
        let Finished { exit, output, .. } = sandbox.run(&spec, cancel).await?;
        match exit {
            Exit::Code(0) => Ok(()),
            Exit::Cancelled => Err(SetupError::Cancelled),
            exit => {
                let refused = proxy.map(|proxy| proxy.refused()).unwrap_or_default();
                Err(SetupError::Failed { command: self.command.clone(), exit, output, refused })
            }
        }
    }

    fn prepared(&self, key: String, found: store::Found) -> Prepared {
        let mut env = self.env.clone();
        env.extend(self.offline_env.clone());
        Prepared { key, content_sha256: found.content_sha256, folder: found.folder, env }
    }
}

impl Prepared {
    /// How a command sees the result.
    #[must_use]
    pub fn mount(&self) -> Mount {
        Mount { from: self.folder.clone(), to: PathBuf::from(DEPENDENCIES), writable: false }
    }

    /// Whether the result still is what it was when it was made.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_intact(&self) -> std::io::Result<bool> {
        Ok(digest::of_tree(&self.folder)? == self.content_sha256)
    }
}

/// Told to every program in the way it may look for it.
fn proxy_variables() -> impl Iterator<Item = (String, String)> {
    let names = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "CARGO_HTTP_PROXY"];
    names.map(|name| (name.to_owned(), format!("{}://127.0.0.1:{BRIDGE_PORT}", "http"))).into_iter()
}

fn refusals(refused: &[String]) -> String {
    if refused.is_empty() { String::new() } else { format!("; it was refused {}", refused.join(", ")) }
}
