//! The service over a real socket, with scripted stand-ins behind it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "all/dependencies_down.rs"]
mod dependencies_down;
#[path = "all/operators.rs"]
mod operators;
#[path = "all/reads.rs"]
mod reads;
#[path = "all/real.rs"]
mod real;
#[path = "all/support.rs"]
mod support;
#[path = "all/watches.rs"]
mod watches;
