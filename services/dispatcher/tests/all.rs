//! The dispatcher hosted on the broker's twin in memory: what it asks of other logs and of the leases,
//! and whom it lets in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "all/floods.rs"]
mod floods;
#[path = "all/hosted.rs"]
mod hosted;
#[path = "all/limits.rs"]
mod limits;
#[path = "all/operators.rs"]
mod operators;
#[path = "all/world.rs"]
mod world;
