//! The broker on a real nats-server. The only module that imports async-nats.
//!
//! One connection per process carries everything. Consumers are attached by raw pull requests, so that a
//! service needs no permission to create or change one.

mod api;
mod broker;
mod connection;
mod consumer;
mod delivery;
mod message;

pub use api::ApiError;
pub use connection::{ConnectError, ConnectOptions, NatsBroker, ServerInfo};
