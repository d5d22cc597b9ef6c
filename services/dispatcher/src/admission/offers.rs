//! Runs that this process has put on offer and that no worker has taken yet. Pure.

use std::collections::{BTreeMap, BTreeSet};

use millrace_decider::Timestamp;

/// Open offers by task, and by age.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    since: BTreeMap<String, Timestamp>,
    ages: BTreeSet<(Timestamp, String)>,
    /// When the one before the oldest was closed.
    first_since: Timestamp,
}

impl Offers {
    /// A run is on offer. It keeps its age when it was.
    pub(crate) fn open(&mut self, task: &str, now: Timestamp) {
        if !self.since.contains_key(task) {
            self.since.insert(task.to_owned(), now);
            self.ages.insert((now, task.to_owned()));
        }
    }

    /// A worker has taken it, or its run is over. Whether it was open.
    pub(crate) fn close(&mut self, task: &str, now: Timestamp) -> bool {
        let Some(since) = self.since.remove(task) else { return false };
        if self.is_first(task) {
            self.first_since = now;
        }
        self.ages.remove(&(since, task.to_owned()))
    }

    /// Whether it is open.
    pub(crate) fn contains(&self, task: &str) -> bool {
        self.since.contains_key(task)
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.since.len()
    }

    /// Whether others were put on offer before it, or it is the first only since after `begun`.
    pub(crate) fn is_behind(&self, task: &str, begun: Timestamp) -> bool {
        let first = self.ages.first();
        first.is_some_and(|(since, _)| !self.is_first(task) || self.first_since.max(*since) > begun)
    }

    fn is_first(&self, task: &str) -> bool {
        self.ages.first().is_some_and(|(_, first)| first == task)
    }

    /// The next few after `place` that were opened before `before`; from the oldest on when there are none.
    pub(crate) fn after(
        &self,
        place: &(Timestamp, String),
        before: Timestamp,
        count: usize,
    ) -> Vec<(Timestamp, String)> {
        let following = self.ages.range((std::ops::Bound::Excluded(place), std::ops::Bound::Unbounded));
        let following: Vec<_> =
            following.take_while(|(since, _)| *since < before).take(count).cloned().collect();
        if !following.is_empty() {
            return following;
        }
        self.ages.iter().take_while(|(since, _)| *since < before).take(count).cloned().collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_keeps_its_age_until_it_is_closed() {
        let at = Timestamp::from_millis;
        let mut offers = Offers::default();
        offers.open("a", at(1));
        offers.open("b", at(2));
        offers.open("a", at(3));
        let behind = |offers: &Offers, begun| ["a", "b"].map(|task| offers.is_behind(task, at(begun)));
        assert_eq!((offers.len(), behind(&offers, 1)), (2, [false, true]));
        assert_eq!(behind(&offers, 0), [true, true], "nobody has been the first for so long");
        let old = offers.after(&(at(0), String::new()), at(2), 9);
        assert_eq!(old, [(at(1), "a".to_owned())]);
        assert_eq!(offers.after(&old[0], at(2), 9), old, "from the oldest on again");
        assert!(offers.close("a", at(5)) && !offers.close("a", at(9)) && !offers.contains("a"));
        assert!(offers.is_behind("b", at(4)) && !offers.is_behind("b", at(5)), "the first since then");
        offers.open("c", at(6));
        assert!(offers.close("c", at(7)) && !offers.is_behind("b", at(5)), "that was not the first");
    }
}
