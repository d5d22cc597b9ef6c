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
mod foreign;
pub mod invariants;
mod journal;
pub mod leftovers;
pub mod monitor;
mod process;
mod producer;
mod proxy;
pub mod receiving;
mod repository;
mod storm;

pub use campaign::{Campaign, Submitted, Work};
pub use cluster::{Cluster, Options};
pub use dice::Dice;
pub use foreign::writer;
pub use journal::{Entry, Journal, Kind};
pub use process::{is_running, millrace};
pub use producer::Producer;
pub use proxy::{Line, Proxy};
pub use repository::{Plan, Repository, spec};
pub use storm::{Fault, Storm};
