//! The sandbox against a real bubblewrap: what works, what is denied, what is bounded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "all/bounds.rs"]
mod bounds;
#[path = "all/escapes.rs"]
mod escapes;
#[path = "all/probe.rs"]
mod probe;
#[path = "all/runs.rs"]
mod runs;
#[path = "all/support.rs"]
mod support;
