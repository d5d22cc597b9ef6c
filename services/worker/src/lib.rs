//! The worker takes work orders and does them: it turns a spec into a change, or checks a pull request. It
//! holds model keys and read access to the forge; it hands over a git bundle and evidence by digest and
//! never pushes. DESIGN sections 2, 4 (Leases) and 5 (Gates).
//!
//! Read in this order: [`domain`] (who may take which order, and what ends it), [`effects`] (the lease and
//! the limits around the work, then the two kinds of work), [`process`] (phases, evidence, tools), [`ports`] and [`adapters`] (sandbox, git, models).

pub mod adapters;
pub mod config;
pub mod domain;
pub mod effects;
pub mod ports;
pub mod process;
mod start;

pub use config::{SandboxConfig, SandboxMode, SetupConfig, SetupStep, WorkerConfig};
pub use start::{check, run, run_as};
