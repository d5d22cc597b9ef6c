//! What the projector decides: which notices it owes its own log. Pure.

mod notice;

pub use notice::{Lost, Notice, Silent, overdue, regressed};
