//! The forge, tested through its port and, for what is local's own, with plain git beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod all {
    mod bench;
    mod contract;
    mod git;
    mod local;
}
