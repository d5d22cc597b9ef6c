//! A whole Millrace on this machine, for tests: a nats-server of its own with the generated permissions,
//! every service as a process of its own, a git repository, and the query service to ask.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use this crate"
)]
#![allow(clippy::disallowed_methods, reason = "only tests use this crate")]

mod cluster;
mod process;
mod repository;

pub use cluster::{Cluster, Options};
pub use process::{is_running, millrace};
pub use repository::{Plan, Repository, spec};
