//! The invariants of `make test`'s and `make chaos`'s runs, checked from the outside on what was collected
//! when a run was over. Each is a pure function that names what it found; that none of them is blind is shown
//! by its own tests, which feed it what it must find.

mod effects;
mod evidence;
mod ledger;
mod life;
mod logs;

use std::fmt;

pub use evidence::{End, Evidence, Expected, LedgerSeen, Message};

/// What an invariant found broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// What kind of damage it is.
    pub damage: Damage,
    /// What is wrong with what.
    pub text: String,
}

/// Kinds of damage, counted in the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Something is not there that was acknowledged or owed.
    Lost,
    /// Something is there twice.
    Duplicated,
    /// Anything else.
    Wrong,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}): {}", self.invariant, self.damage, self.text)
    }
}

/// Checks one invariant.
pub type Check = fn(&Evidence) -> Vec<Violation>;

/// All of them, with a name and the sentence that each stands for.
pub const ALL: &[(&str, &str, Check)] = &[
    ("I1", "what the producer was told is stored stands in the log, with the same bytes", logs::acknowledged),
    ("I2", "the events of a key form one chain, and no event stands there twice", logs::chains),
    (
        "I3",
        "every effect happened at most once where it lands, and once where it was promised",
        effects::once,
    ),
    ("I4", "the ledger that is rebuilt from the logs is the live one", ledger::rebuilt),
    ("I5", "the hash chains verify against the streams, with the same heads", ledger::verified),
    ("I6", "only legal transitions, one end per run, and the end that was expected", life::legal),
    ("I7", "every run has ended and no consumer has anything left", life::at_rest),
    (
        "I8",
        "one claim per order, each end under its claim's token, nothing of an expired order merged",
        life::fenced,
    ),
    ("leftovers", "no branch, sandbox or second release of what is over", effects::nothing_left),
];

/// Everything that is wrong.
pub fn check(evidence: &Evidence) -> Vec<Violation> {
    ALL.iter().flat_map(|(_, _, check)| check(evidence)).collect()
}
