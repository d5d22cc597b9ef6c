//! The ports over the real thing.
