//! Every prompt, byte for byte; what a folder may change; what drift is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "all/attestation.rs"]
mod attestation;
#[path = "all/folder.rs"]
mod folder;
#[path = "all/golden.rs"]
mod golden;
