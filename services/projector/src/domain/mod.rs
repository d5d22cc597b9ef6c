//! What the projector decides: which notices it owes its own log. Pure.

mod alarm;
mod notice;

pub use alarm::{Findings, Lost, alarm, excuses_silence, ledger_changed, lost_before, says_ledger_changed};
pub use notice::{Notice, Silent, overdue};
