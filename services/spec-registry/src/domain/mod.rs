//! The pure part of the registry: no I/O, no clock, no randomness.

pub mod format;
