//! The dispatcher hosted on the broker's twin in memory: what it asks of other logs and of the leases.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "all/hosted.rs"]
mod hosted;
