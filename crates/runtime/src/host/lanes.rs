//! Order: messages of one key from one log are handled one after the other, in the log's order, however
//! many are in flight.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::poll;
use tokio::sync::OwnedMutexGuard;

type Lane = Arc<tokio::sync::Mutex<()>>;

/// One queue per (consumer, key) that has something in flight.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Mutex<BTreeMap<(usize, String), Lane>>,
}

/// A place in a lane's queue.
pub(super) enum Ticket {
    /// At its head.
    Now(OwnedMutexGuard<()>),
    /// Behind others.
    Later(Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>),
}

impl Lanes {
    /// Takes a place. Places are in the order of these calls.
    pub(super) async fn enter(&self, consumer: usize, key: &str) -> Ticket {
        let lane = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.entry((consumer, key.to_owned())).or_default().clone()
        };
        let mut turn: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(lane.lock_owned());
        // The first poll is what queues; the lock is fair.
        match poll!(turn.as_mut()) {
            std::task::Poll::Ready(guard) => Ticket::Now(guard),
            std::task::Poll::Pending => Ticket::Later(turn),
        }
    }

    /// Gives a place back and forgets the lane when nobody is left in it.
    pub(super) fn leave(&self, consumer: usize, key: &str, guard: OwnedMutexGuard<()>) {
        drop(guard);
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (consumer, key.to_owned());
        if lanes.get(&name).is_some_and(|lane| Arc::strong_count(lane) == 1) {
            lanes.remove(&name);
        }
    }
}

impl Ticket {
    /// Waits until it is at the head.
    pub(super) async fn turn(self) -> OwnedMutexGuard<()> {
        match self {
            Self::Now(guard) => guard,
            Self::Later(turn) => turn.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_in_order_and_empty_lanes_go() {
        let lanes = Lanes::default();
        let first = lanes.enter(0, "a").await;
        let second = lanes.enter(0, "a").await;
        let other = lanes.enter(0, "b").await;
        assert!(matches!(first, Ticket::Now(_)) && matches!(second, Ticket::Later(_)));
        assert!(matches!(other, Ticket::Now(_)));
        lanes.leave(0, "b", other.turn().await);
        lanes.leave(0, "a", first.turn().await);
        lanes.leave(0, "a", second.turn().await);
        assert!(lanes.lanes.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
    }
}
