//! Two versions side by side: which task gets which, the same on every machine and every day.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One of two versions that run side by side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// The one in use.
    #[default]
    A,
    /// The one on trial.
    B,
}

impl Variant {
    /// As in records and traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// The version that a task gets in a trial: one to one, by a hash, so that the same task always has the same one and
/// anybody can work it out again.
#[must_use]
pub fn assign(trial: &str, task: &str) -> Variant {
    if drawn("assign", trial, task).is_multiple_of(2) { Variant::A } else { Variant::B }
}

/// Whether a task takes part in a trial of which `per_mille` of a thousand tasks do. Independent of [`assign`].
#[must_use]
pub fn is_sampled(trial: &str, task: &str, per_mille: u16) -> bool {
    drawn("sample", trial, task) % 1_000 < u64::from(per_mille)
}

/// A number that depends on nothing but the texts.
fn drawn(purpose: &str, trial: &str, task: &str) -> u64 {
    let mut hash = Sha256::new();
    for text in [purpose, trial, task] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks() -> impl Iterator<Item = String> {
        (0..10_000).map(|number| format!("VTID-{number:05}"))
    }

    #[test]
    fn s4_imp_26_a_task_always_has_the_same_variant_and_both_are_equally_many() {
        // Fixed once and for all: an assignment that changed would mix up a trial that is under way.
        let first: Vec<&str> = tasks().take(12).map(|task| assign("trial-1", &task).name()).collect();
        assert_eq!(first.concat(), FIRST);
        let seconds = tasks().filter(|task| assign("trial-1", task) == Variant::B).count();
        assert!((4_800..5_200).contains(&seconds), "{seconds}");
        let moved = tasks().filter(|task| assign("trial-1", task) != assign("trial-2", task)).count();
        assert!((4_800..5_200).contains(&moved), "trials are independent: {moved}");
    }

    #[test]
    fn s4_imp_26_the_sampling_rate_is_honoured_and_says_nothing_about_the_variant() {
        for (per_mille, least, most) in
            [(0, 0, 0), (100, 900, 1_100), (500, 4_800, 5_200), (1_000, 10_000, 10_000)]
        {
            let sampled: Vec<String> =
                tasks().filter(|task| is_sampled("trial-1", task, per_mille)).collect();
            assert!((least..=most).contains(&sampled.len()), "{per_mille}: {}", sampled.len());
            let seconds = sampled.iter().filter(|task| assign("trial-1", task) == Variant::B).count();
            assert!(
                seconds.abs_diff(sampled.len() / 2) <= 200,
                "{per_mille}: {seconds} of {}",
                sampled.len()
            );
        }
        // Who is in at a low rate stays in at a higher one.
        assert!(tasks().all(|task| !is_sampled("t", &task, 100) || is_sampled("t", &task, 300)));
    }

    const FIRST: &str = "bbbbbbaaaaaa";
}
