//! The only way out of a setup step: a small HTTP proxy that connects to hosts on a list and to nothing else. It
//! runs outside the sandbox, on a Unix socket that is mounted inside; a bridge in the shim carries the loopback
//! of the sandbox there. Egress by allow-list: S4-D8.

mod address;
mod rules;
mod serve;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

pub use rules::{Egress, EgressError};

/// A proxy at work; dropping it ends every connection.
#[derive(Debug)]
pub(crate) struct Proxy {
    folder: TempDir,
    refused: Arc<Mutex<BTreeSet<String>>>,
    _serving: JoinSet<()>,
}

/// Where the proxy's socket is seen inside.
pub(crate) const SOCKET: &str = "/.millrace-egress";

/// Where the bridge listens inside, in a network namespace that has nothing else.
pub(crate) const BRIDGE_PORT: u16 = 3128;

impl Proxy {
    /// Starts a proxy for one setup step, with a socket below `scratch`.
    pub(crate) fn start(rules: Egress, scratch: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("millrace-egress-").tempdir_in(scratch)?;
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path)?;
        // The folder is ours alone; the mounted socket is used by whom the command runs as.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        let refused = Arc::new(Mutex::new(BTreeSet::new()));
        let mut serving = JoinSet::new();
        serving.spawn(serve::serve(listener, rules, Arc::clone(&refused)));
        Ok(Self { folder, refused, _serving: serving })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// What was asked for and refused, at most [`serve::REFUSALS`], with the reason.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
