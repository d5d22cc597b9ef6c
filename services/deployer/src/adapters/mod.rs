//! Where releases run.

pub mod process_target;
