//! The deterministic simulator: one seed, one run, always the same.
//!
//! One thread, one paused clock, everything that is chance drawn from the seed. All six deciders run under the
//! real host with their real rims; broker, forge, targets, the work itself and the ledger's rows are in memory
//! ([`millrace_runtime::memory`], [`forge`], [`target`], [`work`], [`ledger`]). Faults come from a [`profile`]
//! that belongs to the seed; what must hold all the same stands in [`invariants`]. docs/testing.md.

pub mod broker;
pub mod dice;
pub mod evidence;
pub mod forge;
pub mod gate;
pub mod history;
pub mod invariants;
pub mod ledger;
pub mod people;
pub mod process;
pub mod profile;
pub mod projector;
pub mod run;
pub mod specs;
pub mod target;
pub mod work;
