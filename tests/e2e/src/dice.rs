//! Chance from a seed: the same seed makes the same choices.

use std::time::Duration;

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// From this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The seed that `SEED` names, in decimal, else one of this moment. Whoever takes it prints it.
    pub fn seed() -> u64 {
        match std::env::var("SEED") {
            Ok(text) => text.parse().expect("SEED is a number"),
            Err(_) => moment(),
        }
    }

    /// Unlike any other.
    pub fn of_this_moment() -> Self {
        Self::new(moment() ^ u64::from(std::process::id()).rotate_left(32))
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A time from `shortest` to `longest`.
    pub fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let millis = longest.saturating_sub(shortest).as_millis() as usize;
        shortest + Duration::from_millis(self.below(millis + 1) as u64)
    }

    /// In another order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }
}

fn moment() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_choices_again() {
        let choices = |seed| {
            let mut dice = Dice::new(seed);
            let mut order: Vec<usize> = (0..20).collect();
            dice.shuffle(&mut order);
            (order, dice.below(1_000), dice.between(Duration::ZERO, Duration::from_secs(9)))
        };
        assert_eq!(choices(1), choices(1));
        assert_ne!(choices(1), choices(2));
    }
}
