//! Time that stands still until it is moved, and ids that repeat from run to run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::Timestamp;
use tokio::sync::watch;

use crate::clock::{Clock, Ids};

/// A clock that moves only by [`advance`](Self::advance); whoever sleeps wakes when it has passed.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<Timestamp>,
}

impl ManualClock {
    /// Stands at `start`.
    pub fn at(start: Timestamp) -> Self {
        Self { now: watch::Sender::new(start) }
    }

    /// Moves forward, and wakes who has slept long enough.
    pub fn advance(&self, duration: Duration) {
        self.now.send_modify(|now| *now = *now + duration);
    }

    /// Moves back, as a clock does that was ahead and is put right. Who sleeps goes on sleeping.
    pub fn put_back(&self, duration: Duration) {
        self.now.send_modify(|now| *now = *now - duration);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let mut now = self.now.subscribe();
        let until = *now.borrow() + duration;
        // Fails only when the clock is gone, which it is not while it is borrowed here.
        let _ = now.wait_for(|now| *now >= until).await;
    }
}

/// Ids from a seed: SplitMix64, two steps an id.
#[derive(Debug)]
pub struct SeededIds {
    state: AtomicU64,
}

impl SeededIds {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    fn step(&self) -> u64 {
        const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut mixed = self.state.fetch_add(GOLDEN_GAMMA, Ordering::Relaxed).wrapping_add(GOLDEN_GAMMA);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Ids for SeededIds {
    fn random(&self) -> u128 {
        (u128::from(self.step()) << 64) | u128::from(self.step())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_sleeper_wakes_when_its_time_has_come_and_not_before() {
        let clock = ManualClock::at(Timestamp::from_millis(1_000));
        let mut sleeper = clock.sleep(Duration::from_millis(20));
        assert_eq!((&mut sleeper).now_or_never(), None);
        clock.advance(Duration::from_millis(19));
        assert_eq!((&mut sleeper).now_or_never(), None);
        clock.advance(Duration::from_millis(1));
        assert_eq!(sleeper.now_or_never(), Some(()));
        assert_eq!(clock.now(), Timestamp::from_millis(1_020));
    }

    #[test]
    fn a_seed_gives_the_same_ids_again() {
        let ids = |seed| {
            let source = SeededIds::new(seed);
            [source.random(), source.random(), source.random()]
        };
        assert_eq!(ids(7), ids(7));
        assert_ne!(ids(7), ids(8));
        let [one, two, _] = ids(7);
        assert_ne!(one, two);
    }
}
