//! The deployer's adapters against real processes and a real repository.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod all {
    mod app;
    mod process_target;
}
