//! The bounds of a loop. Each ends it with its own code.

use std::time::Duration;

use millrace_events::Code;

use super::super::table::Limits;
use super::super::tools::ToolRefusal;
use super::stuck::Stuck;

/// A limit that was reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Too many turns.
    #[error("{turns} turns were used up without a result")]
    Turns {
        /// How many there were.
        turns: u32,
    },
    /// Too many answers in a row that cannot be read.
    #[error("{count} answers in a row were no tool call and no result that could be read; the last: {last}")]
    FormatErrors {
        /// How many.
        count: u32,
        /// What was wrong with the last one.
        last: String,
    },
    /// Too many refused calls.
    #[error("{count} tool calls were refused; the last: {last}")]
    Refusals {
        /// How many.
        count: u32,
        /// The last one.
        last: Box<ToolRefusal>,
    },
    /// Too long.
    #[error("the work with tools took longer than {} s", limit.as_secs())]
    Wall {
        /// How long it may take.
        limit: Duration,
    },
    /// A standstill.
    #[error(transparent)]
    Stuck(#[from] Stuck),
}

/// How far a loop has come.
pub struct Progress<'a> {
    limits: Limits,
    elapsed: &'a (dyn Fn() -> Duration + Send + Sync),
    turns: u32,
    unreadable: u32,
    refused: u32,
}

impl<'a> Progress<'a> {
    /// At the start; `elapsed` is the time since then.
    #[must_use]
    pub fn new(limits: Limits, elapsed: &'a (dyn Fn() -> Duration + Send + Sync)) -> Self {
        Self { limits, elapsed, turns: 0, unreadable: 0, refused: 0 }
    }

    /// The number of the turn that begins, from 1.
    ///
    /// # Errors
    /// There is none left, or no time.
    pub fn turn(&mut self) -> Result<u32, Limit> {
        let limit = Duration::from_secs(self.limits.wall_seconds);
        if (self.elapsed)() >= limit {
            return Err(Limit::Wall { limit });
        }
        if self.turns >= self.limits.turns {
            return Err(Limit::Turns { turns: self.turns });
        }
        self.turns += 1;
        Ok(self.turns)
    }

    /// Turns that were begun.
    #[must_use]
    pub fn turns(&self) -> u32 {
        self.turns
    }

    /// An answer could be read.
    pub fn readable(&mut self) {
        self.unreadable = 0;
    }

    /// An answer could not be read.
    ///
    /// # Errors
    /// As many in a row as there may be.
    pub fn unreadable(&mut self, why: &str) -> Result<(), Limit> {
        self.unreadable += 1;
        if self.unreadable < self.limits.format_errors {
            return Ok(());
        }
        Err(Limit::FormatErrors { count: self.unreadable, last: why.chars().take(500).collect() })
    }

    /// A call was refused.
    ///
    /// # Errors
    /// As many as there may be.
    pub fn refused(&mut self, refusal: ToolRefusal) -> Result<(), Limit> {
        self.readable();
        self.refused += 1;
        if self.refused < self.limits.refusals {
            return Ok(());
        }
        Err(Limit::Refusals { count: self.refused, last: Box::new(refusal) })
    }
}

impl Limit {
    /// The error code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Turns { .. } => Code::IterationsExceeded,
            Self::FormatErrors { .. } => Code::FormatErrorsExceeded,
            Self::Refusals { last, .. } => last.code,
            Self::Wall { .. } => Code::ExecutionTimeout,
            Self::Stuck(Stuck::Repeats { .. }) => Code::AgentRepeats,
            Self::Stuck(Stuck::Alternates { .. }) => Code::AgentAlternates,
            Self::Stuck(Stuck::Monologue { .. }) => Code::AgentMonologue,
        }
    }
}
