//! What the projector decides: which notices it owes its own log. Pure.

mod alarm;
mod notice;

pub use alarm::{Findings, Lost, alarm, lost_before};
pub use notice::{Notice, Silent, overdue};
