//! Faults that need a machine to spare: disks that lose power or fill up, damaged files, a flood.
//!
//! Not part of `make test`: every scenario is an ignored test of `tests/all.rs`, and `make chaos`
//! (`scripts/chaos.sh`) runs them one after the other and closes with a table. Most need root, for they
//! mount disks of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "only scenarios use this crate; they report by panicking and printing"
)]

mod disk;
mod ending;
mod memory;
mod report;
mod scripted;
mod streams;
mod submissions;

pub use disk::{FrailDisk, SmallDisk};
pub use ending::{Ending, at_rest, check_ending, check_ending_but, verify};
pub use memory::peak_mib;
pub use report::Report;
pub use scripted::Scripted;
pub use streams::{Events, read_all};
pub use submissions::{Journal, Sender, Sent, Spec};
