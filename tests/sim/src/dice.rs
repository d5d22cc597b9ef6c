//! Chance from a seed: SplitMix64. Every process draws from a sequence of its own, so that one more draw in one
//! place changes nothing in another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// One sequence of draws.
#[derive(Debug)]
pub struct Dice {
    state: AtomicU64,
}

/// A number spread over all numbers.
pub fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(GOLDEN_GAMMA);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number that follows from a seed and a name.
pub fn named(seed: u64, name: &str) -> u64 {
    name.bytes().fold(mixed(seed), |sum, byte| mixed(sum ^ u64::from(byte)))
}

impl Dice {
    /// The sequence of a seed and a name.
    pub fn new(seed: u64, name: &str) -> Self {
        Self { state: AtomicU64::new(named(seed, name)) }
    }

    /// The next number.
    pub fn roll(&self) -> u64 {
        mixed(self.state.fetch_add(GOLDEN_GAMMA, Ordering::Relaxed))
    }

    /// From 0 to `bound`, without it; 0 for a bound of 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.roll().checked_rem(bound).unwrap_or(0)
    }

    /// `rate` times out of 10,000.
    pub fn chance(&self, rate: u32) -> bool {
        rate > 0 && self.below(10_000) < u64::from(rate)
    }

    /// One of these.
    pub fn pick<T: Copy>(&self, of: &[T]) -> Option<T> {
        of.get(usize::try_from(self.below(of.len() as u64)).unwrap_or(0)).copied()
    }

    /// A time between two, in whole milliseconds.
    pub fn between(&self, shortest: Duration, longest: Duration) -> Duration {
        let spread = u64::try_from(longest.saturating_sub(shortest).as_millis()).unwrap_or(0);
        shortest + Duration::from_millis(self.below(spread + 1))
    }

    /// Puts things into another order.
    pub fn shuffle<T>(&self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, usize::try_from(self.below(last as u64 + 1)).unwrap_or(last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_again_and_a_name_draws_its_own() {
        let draws = |seed, name| {
            let dice = Dice::new(seed, name);
            [dice.roll(), dice.below(10), dice.roll()]
        };
        assert_eq!(draws(1, "a"), draws(1, "a"));
        assert_ne!(draws(1, "a"), draws(2, "a"));
        assert_ne!(draws(1, "a"), draws(1, "b"));
    }
}
