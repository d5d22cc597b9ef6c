//! A whole Millrace on this machine, for tests: a nats-server of its own with the generated permissions,
//! every service as a process of its own, git repositories, and the query service to ask. And what makes its
//! life hard: faults from a seed, with a check of every invariant from the outside at the end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use this crate"
)]
#![allow(clippy::disallowed_methods, reason = "only tests use this crate")]

mod campaign;
mod cluster;
mod dice;
pub mod invariants;
mod journal;
pub mod leftovers;
pub mod monitor;
mod process;
mod producer;
pub mod receiving;
mod repository;

pub use campaign::{Campaign, Submitted, Work};
pub use cluster::{Cluster, Options};
pub use dice::Dice;
pub use journal::{Entry, Journal, Kind};
pub use process::{is_running, millrace};
pub use producer::Producer;
pub use repository::{Plan, Repository, spec};
