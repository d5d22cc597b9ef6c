//! What the deployer asks of the place where a repository's releases run, and how it finds forge and place.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use millrace_forge::{Forge, ForgeError};

/// The configured repositories and targets.
#[async_trait]
pub trait Sites: Send + Sync {
    /// The repository of that id.
    ///
    /// # Errors
    /// `Unknown`, `Forge`.
    async fn repository(&self, id: &str) -> Result<Site, SiteError>;

    /// The target of that id.
    ///
    /// # Errors
    /// `Unknown`, `Forge`, `Target`.
    async fn target(&self, id: &str) -> Result<Arc<dyn Target>, SiteError>;
}

/// A repository as the deployer sees it.
#[derive(Clone)]
pub struct Site {
    /// Where its pull requests are.
    pub forge: Arc<dyn Forge>,
    /// The branch that changes are merged into.
    pub base_branch: String,
}

/// Why a repository or target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// None is configured under that id.
    #[error("no {kind} `{id}` is configured here")]
    Unknown {
        /// `repository` or `target`.
        kind: &'static str,
        /// The id that was asked for.
        id: String,
    },
    /// Its forge cannot be opened.
    #[error("the forge of repository `{repository}` cannot be opened")]
    Forge {
        /// The repository's id.
        repository: String,
        /// Why.
        #[source]
        source: ForgeError,
    },
    /// The target's configuration cannot be used.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// One target. At most one release runs on it, and every call may be repeated after a crash.
#[async_trait]
pub trait Target: Send + Sync {
    /// Makes a commit the running release. It asks first what runs: if the commit does, nothing is
    /// restarted. Returns once the release listens, or was given its time to; whether it is healthy and
    /// reports its commit is for [`Target::observe`] to say.
    ///
    /// # Errors
    /// `StartExited`, `Forge`, `Busy`, `AddressTaken`, `SandboxUnavailable`, `NotStopped`, `Io`.
    async fn roll_out(&self, release: &ReleaseRequest) -> Result<RolledOut, TargetError>;

    /// Looks at what runs now and asks it for its health and its commit.
    ///
    /// # Errors
    /// Only when the target's own records cannot be read; a silent or sick release is an answer.
    async fn observe(&self) -> Result<Observed, TargetError>;

    /// The release that was rolled out last, running or not.
    ///
    /// # Errors
    /// Only when the target's own records cannot be read.
    async fn current(&self) -> Result<Option<ReleaseRecord>, TargetError>;

    /// Ends what runs. Nothing happens if nothing runs.
    ///
    /// # Errors
    /// `Busy`, `NotStopped`, `Io`.
    async fn stop(&self) -> Result<(), TargetError>;
}

/// What to roll out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRequest {
    /// The merged commit, a full hexadecimal id.
    pub commit: String,
}

/// A roll-out that happened, now or earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledOut {
    /// The commit that was current before this one.
    pub previous: Option<String>,
    /// The release's process.
    pub pid: i32,
    /// `http://host:port` of the release.
    pub address: String,
    /// Whether this call started it; false when it was running already.
    pub started: bool,
}

/// What a look at the target showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Whether the release's process lives.
    pub running: bool,
    /// The commit that the release says it is, as it says it (it may be abbreviated).
    pub reported_sha: Option<String>,
    /// Whether the health path answered with a status of 200 to 299.
    pub healthy: bool,
    /// What was seen, in a sentence for people.
    pub detail: String,
}

/// The release that was rolled out last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRecord {
    /// Its commit.
    pub commit: String,
    /// The commit that was current before it.
    pub previous: Option<String>,
    /// Its process, if that lives.
    pub pid: Option<i32>,
    /// `http://host:port` of the release.
    pub address: String,
}

/// Why a target did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The target's configuration cannot work.
    #[error("target {target}: {problem}")]
    Configuration {
        /// The target's id.
        target: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The commit could not be fetched from the forge.
    #[error("the release could not be fetched")]
    Forge(#[from] ForgeError),
    /// Another roll-out or stop on this target did not finish in time.
    #[error("target {target} is busy with another roll-out")]
    Busy {
        /// The target's id.
        target: String,
    },
    /// Something that is not ours listens where the release should.
    #[error("target {target}: another program listens on {address}")]
    AddressTaken {
        /// The target's id.
        target: String,
        /// The address.
        address: String,
    },
    /// The sandbox could not be built. Nothing was started without it.
    #[error(
        "the sandbox could not start ({detail}): bubblewrap must be installed and allowed to create \
         namespaces; run `bwrap --unshare-user --ro-bind / / true` to see why it is not"
    )]
    SandboxUnavailable {
        /// What bubblewrap said.
        detail: String,
    },
    /// The start command ended by itself.
    #[error("release {commit} exited with status {status} instead of serving: {log_tail}")]
    StartExited {
        /// The release.
        commit: String,
        /// The start command's exit status; 128 plus the signal if one ended it.
        status: i32,
        /// The end of what it wrote.
        log_tail: String,
    },
    /// A process outlived SIGKILL.
    #[error("process {pid} of the release could not be stopped")]
    NotStopped {
        /// The process.
        pid: i32,
    },
    /// The target's record cannot be read.
    #[error("the record {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: serde_json::Error,
    },
    /// The operating system refused something.
    #[error("could not {action}")]
    Io {
        /// What was tried.
        action: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl TargetError {
    /// Whether the same call may succeed later with nothing changed. Everything else is an answer.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::AddressTaken { .. } | Self::NotStopped { .. } | Self::Io { .. } => true,
            Self::Forge(error) => error.is_transient(),
            _ => false,
        }
    }
}
