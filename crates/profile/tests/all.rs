//! Everything in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "all/bytes.rs"]
mod bytes;
#[path = "all/fixtures.rs"]
mod fixtures;
#[path = "all/grounding.rs"]
mod grounding;
#[path = "all/schema.rs"]
mod schema;
