//! What must hold whatever happens, each as a function over what a run left behind. `Err`: a sentence that names
//! what breaks it.

mod effects;
mod ledger;
mod letters;
mod limits;
mod logs;
mod rest;
mod runs;
#[cfg(test)]
mod test_kit;
mod workers;

pub use effects::{
    branches_of_ended_runs_are_gone, every_effect_happens_once, every_merge_is_recorded,
    nothing_is_merged_after_a_cancel, only_what_was_validated_is_merged,
};
pub use ledger::{chains_verify, the_ledger_refused_nothing, the_live_ledger_is_the_rebuilt_one};
pub use letters::a_dead_letter_is_handled_once;
pub use limits::{no_limit_is_exceeded, nothing_is_offered_under_an_alarm};
pub use logs::{acknowledged_appends_are_stored, every_event_is_written_once, every_key_is_one_chain};
pub use rest::{everything_comes_to_rest, nothing_fell_over};
pub use runs::{every_run_ends_once, statuses_move_legally};
pub use workers::{claims_and_ends_are_fenced, no_order_is_claimed_twice};

use crate::evidence::Evidence;

/// An invariant with its name.
pub type Invariant = (&'static str, fn(&Evidence) -> Result<(), String>);

/// All of them; the first that is broken is told. Safety before rest: what is wrong says why it never rests.
pub const ALL: [Invariant; 20] = [
    ("nothing_fell_over", nothing_fell_over),
    ("I1 acknowledged_appends_are_stored", acknowledged_appends_are_stored),
    ("I2 every_key_is_one_chain", every_key_is_one_chain),
    ("I2 every_event_is_written_once", every_event_is_written_once),
    ("I8 no_order_is_claimed_twice", no_order_is_claimed_twice),
    ("I8 claims_and_ends_are_fenced", claims_and_ends_are_fenced),
    ("I3 every_effect_happens_once", every_effect_happens_once),
    ("I3 only_what_was_validated_is_merged", only_what_was_validated_is_merged),
    ("I3 every_merge_is_recorded", every_merge_is_recorded),
    ("cancel nothing_is_merged_after_a_cancel", nothing_is_merged_after_a_cancel),
    ("limits no_limit_is_exceeded", no_limit_is_exceeded),
    ("alarm nothing_is_offered_under_an_alarm", nothing_is_offered_under_an_alarm),
    ("replay a_dead_letter_is_handled_once", a_dead_letter_is_handled_once),
    ("I6 every_run_ends_once", every_run_ends_once),
    ("I6 statuses_move_legally", statuses_move_legally),
    ("I6 the_ledger_refused_nothing", the_ledger_refused_nothing),
    ("I5 chains_verify", chains_verify),
    ("I4 the_live_ledger_is_the_rebuilt_one", the_live_ledger_is_the_rebuilt_one),
    ("I7 everything_comes_to_rest", everything_comes_to_rest),
    ("I3 branches_of_ended_runs_are_gone", branches_of_ended_runs_are_gone),
];

/// The first that does not hold.
pub fn first_broken(evidence: &Evidence) -> Option<(&'static str, String)> {
    ALL.iter().find_map(|(name, holds)| Some((*name, holds(evidence).err()?)))
}
