//! The fold, for those who have the events at hand.

use crate::{Decider, Recorded};

/// Folds `events`, in the order of the log, into the state they make.
pub fn fold<'a, D: Decider>(
    decider: &D,
    events: impl IntoIterator<Item = Recorded<'a, D::Event>>,
) -> D::State {
    let mut state = D::State::default();
    for event in events {
        decider.evolve(&mut state, &event);
    }
    state
}
