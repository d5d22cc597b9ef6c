//! The sandbox against a real bubblewrap: what works, what is denied, what is bounded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "all/bounds.rs"]
mod bounds;
#[path = "all/credentials.rs"]
mod credentials;
#[path = "all/escapes.rs"]
mod escapes;
#[path = "all/pod.rs"]
mod pod;
#[path = "all/probe.rs"]
mod probe;
#[path = "all/runs.rs"]
mod runs;
#[path = "all/setup.rs"]
mod setup;
#[path = "all/support.rs"]
mod support;
#[path = "all/syscalls.rs"]
mod syscalls;
#[path = "all/toolchains.rs"]
mod toolchains;
