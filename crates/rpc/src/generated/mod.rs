//! Generated from `proto/millrace/v1`; the test `generated_code_is_current` makes it anew and compares.

/// Messages, clients and server traits of `millrace.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
#[path = "millrace.v1.rs"]
pub mod v1;

/// The compiled descriptors, for reflection.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!("descriptors.bin");
