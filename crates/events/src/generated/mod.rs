//! Generated from `proto/`; the test `generated_code_is_current` makes it anew and compares.

/// CloudEvents' own envelope message.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
#[path = "io.cloudevents.v1.rs"]
pub(crate) mod cloudevents;

/// Millrace's events, version 1.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
#[path = "millrace.events.v1.rs"]
pub mod v1;

/// The compiled descriptors of both, for JSON and reflection.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!("descriptors.bin");
