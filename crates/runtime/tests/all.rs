//! The broker's two implementations under one conformance suite, and what only a real server can show.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "all/conformance/mod.rs"]
mod conformance;
#[path = "all/dead_letters.rs"]
mod dead_letters;
#[path = "all/host.rs"]
mod host;
#[path = "all/reports.rs"]
mod reports;
#[path = "all/server/mod.rs"]
mod server;
#[path = "all/through.rs"]
mod through;
