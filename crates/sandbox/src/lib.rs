//! Runs one untrusted command in a bubblewrap sandbox, or refuses: it never runs bare.
//!
//! Read in this order: [`Sandbox`] (probe, then run), [`CommandSpec`] and [`Limits`] (what may be asked),
//! `profile` (what the command can see), [`shim`] (what restricts it from inside), `supervise` (how it ends),
//! `probe` (the proof at start).
//!
//! What a command gets: `/workspace` writable with `.git` read-only, `/usr` and configured toolchains
//! read-only, a small `/tmp`, an empty environment. What it does not get: a network, the host's processes,
//! capabilities, further user namespaces, or a life beyond the command that started it.

mod cgroup;
mod egress;
mod error;
mod limits;
mod pod;
mod probe;
mod profile;
mod sandbox;
mod scratch;
mod setup;
pub mod shim;
mod supervise;
mod toolchain;
mod tree;
mod usage;
mod workspace;

pub use egress::{Egress, EgressError};
pub use error::{SandboxError, SandboxUnavailable};
pub use limits::Limits;
pub use sandbox::{CommandSpec, Config, Exit, Finished, Mode, Mount, RunAs, Sandbox};
pub use setup::{DEPENDENCIES, Prepared, Setup, SetupError};
