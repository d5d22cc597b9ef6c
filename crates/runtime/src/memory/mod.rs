//! The seams in memory: a broker, a clock that only moves when told to, and ids from a seed. For tests and
//! simulations; deterministic, and held to the same conformance suite as the real broker.

mod administer;
mod broker;
mod clock;
mod consumer;
mod gated;
mod state;
mod stream;

pub use broker::MemoryBroker;
pub use clock::{ManualClock, SeededIds};
pub use gated::GatedBroker;
pub use state::ConsumerState;
pub use stream::CheckOrder;
