//! The deployer against real repositories and processes, and hosted in memory with a scripted target.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod all {
    mod app;
    mod cancelling;
    mod merging;
    mod opening;
    mod outage;
    mod overlap;
    mod process_target;
    mod releasing;
    mod scripted_target;
    mod shy_forge;
    mod stage;
}
