//! Traces as a collector sees them, over a real gRPC connection.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "all/metrics.rs"]
mod metrics;
#[path = "all/traces.rs"]
mod traces;
