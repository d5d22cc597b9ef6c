//! The validator, hosted in memory: the test plays worker, deployer and forge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod all {
    mod configured;
    mod hosted;
}
