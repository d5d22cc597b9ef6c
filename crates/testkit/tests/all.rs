//! The test kit on itself, and the layout rules on this workspace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "all/documents.rs"]
mod documents;
#[path = "all/layout.rs"]
mod layout;
#[path = "all/nats.rs"]
mod nats;
#[path = "all/postgres.rs"]
mod postgres;
#[path = "all/setup.rs"]
mod setup;
