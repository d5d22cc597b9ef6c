//! The projector: follows every log and writes the ledger, no effect before its cause; notices tasks that
//! have fallen silent and streams that have lost events. DESIGN section 7.

pub mod adapters;
mod crowd;
pub mod domain;
mod effects;
mod follower;
mod loss;
mod projection;
mod proof;
mod service;
mod silence;
mod status;
mod watchdog;

pub use projection::{Options, Projector, ProjectorError};
pub use service::{check, run};
pub use status::Status;
