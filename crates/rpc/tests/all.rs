//! Tests of the gRPC surface that need a socket or the proto files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "all/generated.rs"]
mod generated;
#[path = "all/health.rs"]
mod health;
