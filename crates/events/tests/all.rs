//! Tests of the wire contract.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "all/generated.rs"]
mod generated;

#[path = "all/golden.rs"]
mod golden;
