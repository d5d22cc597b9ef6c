//! Who may take which work order, and which end of it counts. Pure.

mod decider;
mod input;
mod orders;
#[cfg(test)]
mod tests;

pub use decider::Worker;
pub use input::{Effect, Execute, Input, Offer, Said};
pub use orders::{Claim, Orders, Rank};
