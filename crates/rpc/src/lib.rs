//! The outward face: `millrace.v1` as generated code, what errors look like on the wire, and the server
//! that carries it together with reflection and health. The only crate that knows tonic's server.

pub mod client;
mod generated;
pub mod health;
mod json;
pub mod server;
pub mod status;

pub use generated::v1;
pub use health::HealthHandle;
pub use json::to_json;
pub use server::{ServeError, serve, serve_health};
pub use tonic::service::Routes;
pub use tonic::{Code as StatusCode, Request, Response, Status, async_trait};

/// The encoded `FileDescriptorSet` of `millrace.v1`.
pub fn descriptors() -> &'static [u8] {
    generated::DESCRIPTORS
}
