//! Every event in every state.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "all/matrix.rs"]
mod matrix;
#[path = "all/newer.rs"]
mod newer;
#[path = "all/replay.rs"]
mod replay;
#[path = "all/watchdog.rs"]
mod watchdog;
