//! What the tests of this workspace share: a real nats-server and a real PostgreSQL of their own, a
//! bounded wait, an OTLP receiver, a stand-in for providers of models, and the layout rules. A dev-dependency
//! only; nothing that ships uses it.
//!
//! Everything here ends the test with a sentence when the machine is not set up (`make setup` mends that):
//! a test that silently skips proves nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test library reports by panicking, and reads the machine that it runs on"
)]

mod eventually;
pub mod layout;
pub mod models;
pub mod nats;
pub mod otlp;
pub mod postgres;
mod reaper;

pub use eventually::{Outcome, eventually};
pub use models::ModelServer;
pub use nats::NatsServer;
pub use otlp::OtlpReceiver;
pub use postgres::Postgres;

use std::path::{Path, PathBuf};

/// The root of this workspace: the folder of the virtual `Cargo.toml`.
#[must_use]
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/testkit lies two folders below the workspace root")
        .to_path_buf()
}
