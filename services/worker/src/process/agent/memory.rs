//! What the loop remembers: every turn, the newest in full, the oldest by what was called.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::stuck::Step;

/// Characters of all that is remembered together.
const MOST_CHARS: usize = 120_000;
/// Characters of a call's arguments that are shown again.
const ARGUMENT_CHARS: usize = 2_000;

/// Remembers what happened.
pub trait Memory: Send {
    /// Takes note of a turn and its result.
    fn remember(&mut self, turn: u32, step: &Step, result: &str);

    /// All of it, for the next turn.
    fn told(&self) -> String;
}

/// The turns in their order, bounded.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    turns: VecDeque<String>,
    left_out: u32,
    chars: usize,
}

impl Memory for Transcript {
    fn remember(&mut self, turn: u32, step: &Step, result: &str) {
        let mut text = format!("## Turn {turn}\n");
        let _ = match step {
            Step::Call { tool, arguments } => {
                let arguments: String = arguments.to_string().chars().take(ARGUMENT_CHARS).collect();
                writeln!(text, "You called `{tool}` with {arguments}")
            }
            Step::Thought(thought) => {
                let thought: String = thought.chars().take(ARGUMENT_CHARS).collect();
                writeln!(text, "You thought: {thought}")
            }
            Step::Unreadable => writeln!(text, "Your answer could not be used."),
        };
        text.push_str(result);
        text.push('\n');
        self.chars += text.chars().count();
        self.turns.push_back(text);
        while self.chars > MOST_CHARS && self.turns.len() > 1 {
            let gone = self.turns.pop_front().map_or(0, |text| text.chars().count());
            self.chars = self.chars.saturating_sub(gone);
            self.left_out += 1;
        }
    }

    fn told(&self) -> String {
        let mut told = String::new();
        if self.left_out > 0 {
            // Writing to a String cannot fail, here and above.
            let _ = writeln!(told, "[the first {} turns are left out]", self.left_out);
        }
        told.extend(self.turns.iter().map(String::as_str));
        told
    }
}
