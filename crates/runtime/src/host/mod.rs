//! Hosts a decider: pulls inputs from durable consumers, loads the state from the service's own log,
//! decides, appends, performs what is due, and acknowledges an input only when nothing due remains.
//! DESIGN section 4.

mod counters;
mod dead_letter;
mod deadline;
mod effect;
mod fault;
mod handle;
mod hosted;
mod lanes;
mod log_store;
mod pump;
mod replay;
mod reports;
pub mod retry;
mod settle;
mod spans;
mod state_cache;

pub use deadline::Arming;
pub use effect::EffectContext;
pub use fault::Fault;
pub use hosted::{Hosted, Incoming, Received};
pub use pump::{Host, HostError, HostOptions};
pub use reports::{NotRecorded, Reports};
