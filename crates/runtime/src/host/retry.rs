//! Back-off, in one place: exponential with jitter, bounded.
//!
//! The `backoff` crate is named by those who commissioned Millrace and no longer maintained
//! (RUSTSEC-2025-0012); this module is the only one that knows it.

use std::time::Duration;

use backoff::backoff::Backoff as _;

/// Pauses that grow from a first one to a longest one.
#[derive(Debug)]
pub struct Backoff {
    inner: backoff::ExponentialBackoff,
    longest: Duration,
    seed: u64,
}

impl Backoff {
    /// Pauses around `first`, doubling up to `longest`, each up to a fifth longer or shorter, drawn from
    /// `seed`: the same seed pauses the same. Never ends by itself: the caller counts.
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        let inner = backoff::ExponentialBackoffBuilder::new()
            .with_initial_interval(first)
            .with_max_interval(longest)
            .with_multiplier(2.0)
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        Self { inner, longest, seed }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.inner.next_backoff().unwrap_or(self.longest);
        self.seed = mixed(self.seed);
        pause * (80 + spread(self.seed, 40)) / 100
    }
}

/// One step of SplitMix64: spread like chance, and the same for the same number.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number from 0 to `most` that follows from a mixed one.
pub(crate) fn spread(mixed: u64, most: u32) -> u32 {
    u32::try_from(mixed % (u64::from(most) + 1)).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), 7);
        let pauses: Vec<Duration> = (0..8).map(|_| backoff.pause()).collect();
        assert!(pauses.first() <= Some(&Duration::from_millis(120)), "{pauses:?}");
        assert!(pauses.last() >= Some(&Duration::from_millis(800)), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(1_200)), "{pauses:?}");
    }

    #[test]
    fn a_seed_pauses_the_same_again_and_another_one_otherwise() {
        let pauses = |seed| -> Vec<Duration> {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), seed);
            (0..8).map(|_| backoff.pause()).collect()
        };
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
    }
}
