//! The runtime: hosts deciders, projections and responders on JetStream. The only crate that knows NATS.
//!
//! [`host`] is the loop that every deciding service runs in; [`broker`], [`kv`] and [`clock`] are the seams
//! below it, each with a twin in memory; [`settings`] is the configuration of everything.

pub mod blobs;
pub mod bootstrap;
pub mod broker;
pub mod bucket;
pub mod clock;
pub mod crash_point;
pub mod host;
pub mod inspect;
pub mod kv;
pub mod launch;
pub mod lease;
pub mod log_reader;
pub mod memory;
pub mod nats;
pub mod permissions;
pub mod preflight;
pub mod service;
pub mod settings;
