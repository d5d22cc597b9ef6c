//! Millrace as its users run it: built binaries as separate processes on a nats-server of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "all/crashes.rs"]
mod crashes;
#[path = "all/dead_letters.rs"]
mod dead_letters;
#[path = "all/faults/mod.rs"]
mod faults;
#[path = "all/happy_path.rs"]
mod happy_path;
#[path = "all/ledgers.rs"]
mod ledgers;
#[path = "all/limits.rs"]
mod limits;
#[path = "all/loss.rs"]
mod loss;
#[path = "all/models.rs"]
mod models;
#[path = "all/operators.rs"]
mod operators;
#[path = "all/refusals.rs"]
mod refusals;
#[path = "all/releases.rs"]
mod releases;
#[path = "all/traces.rs"]
mod traces;
