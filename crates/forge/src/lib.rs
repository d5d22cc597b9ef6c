//! Pull requests, merges and commits behind one port.
//!
//! [`Forge`] is what the deployer writes to and the validator reads from. [`LocalForge`] implements it on
//! a bare git repository, so that Millrace works without any hosted forge. [`git`] runs the `git` program
//! with a deadline and without the machine's own configuration; services that clone or scan use it too.

pub mod error;
pub mod git;
pub mod local;
pub mod names;
pub mod port;

pub use error::ForgeError;
pub use git::{Git, GitError, GitVersion, LOCAL_UPLOAD_PACK, Output};
pub use local::{Identity, LocalForge, LocalForgeConfig};
pub use port::{
    Comment, Forge, MergeRequest, Merged, NewPullRequest, PullRequest, RevertRequest, Reverted, State,
};
