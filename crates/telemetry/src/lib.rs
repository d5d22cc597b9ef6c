//! Logs, traces and metrics: the only crate that imports `opentelemetry*`.
//!
//! A process calls [`init`] once and keeps the [`Guard`]. Everything else uses plain `tracing` spans and
//! events; [`context`] moves a span's identity in and out of an envelope as the two W3C strings, and
//! [`names`] lists the names of spans, attributes and metrics, so that a dashboard finds the same word everywhere.
//!
//! Without an endpoint nothing is exported and no span of a trace is kept: [`context::current`] then says
//! that there is none, and whoever forwards an envelope forwards the trace it came with. [`metrics`] then count
//! nothing.

pub mod context;
mod export;
mod init;
pub mod metrics;
pub mod names;

pub use init::{Guard, LogFormat, TelemetryConfig, TelemetryError, init, subscriber};
