//! The simulator's runs. docs/testing.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod all {
    mod seeds;
    mod teeth;
}
