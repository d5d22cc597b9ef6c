//! Where releases run, and which repositories and targets there are.

pub mod process_target;
pub mod sites;
