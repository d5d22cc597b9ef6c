//! Millrace spec-registry: finds written specifications, checks them, and records each version once.

pub mod adapters;
pub mod domain;
pub mod ports;
