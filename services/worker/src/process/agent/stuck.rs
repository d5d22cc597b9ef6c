//! Reflection: is the loop at a standstill? Looks at the last steps, their results included, and at nothing else.

use std::collections::VecDeque;

use millrace_runtime::blobs::digest_of;
use serde_json::Value;

/// Steps that are looked at.
const WINDOW: usize = 20;
/// The same call with the same result, so often in a row.
const REPEATS: usize = 4;
/// A cycle of calls, so often in a row.
const CYCLES: usize = 3;
/// Longest cycle that is looked for: [`CYCLES`] of them are within the window.
const LONGEST_CYCLE: usize = WINDOW / CYCLES;
/// Turns in a row in which nothing is done.
const THOUGHTS: usize = 3;

/// One turn, as far as a standstill is concerned.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A tool was called, or was to be.
    Call {
        /// Which.
        tool: String,
        /// With what.
        arguments: Value,
    },
    /// Nothing was done.
    Thought(String),
    /// It could not be read; that has a limit of its own.
    Unreadable,
}

/// A standstill.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// The same call with the same result.
    #[error("`{tool}` was called {REPEATS} times in a row with the same arguments and the same result")]
    Repeats {
        /// What was called.
        tool: String,
    },
    /// The same calls with the same results, in turns.
    #[error("the same {} calls were made {CYCLES} times in turns, with the same results: {}", tools.len(), tools.join(", "))]
    Alternates {
        /// What was called.
        tools: Vec<String>,
    },
    /// Words without deeds.
    #[error("{THOUGHTS} turns in a row called no tool and handed nothing over")]
    Monologue {},
}

/// Looks for a standstill.
pub trait Reflection: Send {
    /// Takes note of a step and says whether the loop stands still.
    fn reflect(&mut self, step: Step, result: &str) -> Option<Stuck>;
}

/// The last steps, by digest.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    steps: VecDeque<Seen>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Call { tool: String, digest: String },
    Thought,
    Unreadable,
}

impl Reflection for Recent {
    fn reflect(&mut self, step: Step, result: &str) -> Option<Stuck> {
        let seen = match step {
            Step::Call { tool, arguments } => {
                let digest = digest_of(format!("{tool}\0{arguments}\0{result}").as_bytes());
                Seen::Call { tool, digest }
            }
            Step::Thought(_) => Seen::Thought,
            Step::Unreadable => Seen::Unreadable,
        };
        if self.steps.len() == WINDOW {
            self.steps.pop_front();
        }
        self.steps.push_back(seen);
        self.standstill()
    }
}

impl Recent {
    fn standstill(&self) -> Option<Stuck> {
        let newest = |count: usize| self.steps.iter().rev().take(count);
        if newest(THOUGHTS).filter(|seen| **seen == Seen::Thought).count() == THOUGHTS {
            return Some(Stuck::Monologue {});
        }
        if let Some(tools) = self.cycle(1, REPEATS) {
            return tools.into_iter().next().map(|tool| Stuck::Repeats { tool });
        }
        (2..=LONGEST_CYCLE)
            .find_map(|length| self.cycle(length, CYCLES))
            .map(|tools| Stuck::Alternates { tools })
    }

    /// The tools of the newest `length` steps, if these are calls and were made `times` in a row.
    fn cycle(&self, length: usize, times: usize) -> Option<Vec<String>> {
        let newest: Vec<&Seen> = self.steps.iter().rev().take(length * times).collect();
        if newest.len() < length * times {
            return None;
        }
        let (first, rest) = newest.split_at_checked(length)?;
        let again = rest.chunks_exact(length).all(|other| other == first);
        let tools = first.iter().rev().map(|seen| match seen {
            Seen::Call { tool, .. } => Some(tool.clone()),
            Seen::Thought | Seen::Unreadable => None,
        });
        if again { tools.collect() } else { None }
    }
}
