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
}

impl Backoff {
    /// Pauses around `first`, doubling up to `longest`, each up to a fifth longer or shorter. Never ends by
    /// itself: the caller counts.
    pub fn new(first: Duration, longest: Duration) -> Self {
        let inner = backoff::ExponentialBackoffBuilder::new()
            .with_initial_interval(first)
            .with_max_interval(longest)
            .with_multiplier(2.0)
            .with_randomization_factor(0.2)
            .with_max_elapsed_time(None)
            .build();
        Self { inner, longest }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        self.inner.next_backoff().unwrap_or(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let pauses: Vec<Duration> = (0..8).map(|_| backoff.pause()).collect();
        assert!(pauses.first() <= Some(&Duration::from_millis(120)), "{pauses:?}");
        assert!(pauses.last() >= Some(&Duration::from_millis(800)), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(1_200)), "{pauses:?}");
    }
}
