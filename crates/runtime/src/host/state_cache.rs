//! The states of the keys that were last decided about. Bounded; each locked from load until our own
//! append is acknowledged and applied, for an answer from downstream can be faster than that.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use millrace_events::Key;

/// A state and the last sequence it has seen.
#[derive(Debug, Clone)]
pub(super) struct Cached<State> {
    pub(super) state: State,
    /// Last sequence on the key's subject; 0 when there is none.
    pub(super) last: u64,
}

pub(super) type Slot<State> = Arc<tokio::sync::Mutex<Option<Cached<State>>>>;

pub(super) struct StateCache<State> {
    slots: Mutex<LruCache<Key, Slot<State>>>,
}

impl<State> StateCache<State> {
    pub(super) fn new(capacity: NonZeroUsize) -> Self {
        Self { slots: Mutex::new(LruCache::new(capacity)) }
    }

    /// The slot of a key. A slot that somebody holds is never the one that is dropped for room while in
    /// use by them: they keep it alive, and a second slot of the same key is only made when none is held.
    pub(super) fn slot(&self, key: &Key) -> Slot<State> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key) {
            return slot.clone();
        }
        let slot = Slot::default();
        // Make room by the oldest slot that nobody holds; where all are held the cache grows for a moment,
        // bounded by what is in flight.
        if slots.len() == slots.cap().get() {
            let idle =
                slots.iter().rev().find(|(_, slot)| Arc::strong_count(slot) == 1).map(|(key, _)| key.clone());
            match idle {
                Some(idle) => {
                    slots.pop(&idle);
                }
                None => {
                    let larger = slots.cap().saturating_add(1);
                    slots.resize(larger);
                }
            }
        }
        slots.put(key.clone(), slot.clone());
        slot
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_held_slot_is_never_replaced_by_a_second_one() {
        let cache = StateCache::<u32>::new(NonZeroUsize::new(2).unwrap());
        let key = |n: u32| Key::new(format!("k{n}")).unwrap();
        let held = cache.slot(&key(0));
        for n in 1..10 {
            drop(cache.slot(&key(n)));
        }
        assert!(Arc::ptr_eq(&held, &cache.slot(&key(0))));
        let all: Vec<_> = (0..5).map(|n| cache.slot(&key(n))).collect();
        assert!(Arc::ptr_eq(all.first().unwrap(), &cache.slot(&key(0))));
    }
}
