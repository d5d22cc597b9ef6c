//! Failures: always a code, always a sentence.

use crate::error_code::Code;
use crate::generated::v1;
use crate::scrub::scrub;

/// Longest sentence of a failure, in characters.
const MAX_MESSAGE_CHARS: usize = 2_000;
/// Longest chain of causes that is recorded.
const MAX_CAUSES: usize = 16;

impl v1::Failure {
    /// A failure. There is no way to make one without a [`Code`] from the closed list:
    ///
    /// ```compile_fail
    /// // S1-Gap6.1: a failure cannot be built from a message alone.
    /// let failure = millrace_events::v1::Failure::new("it broke");
    /// ```
    /// ```compile_fail
    /// // S1-Gap6.2: nor with the wire's absence of a code.
    /// use millrace_events::v1::{ErrorCode, Failure};
    /// let failure = Failure::new(ErrorCode::Unspecified, "it broke");
    /// ```
    /// ```
    /// use millrace_events::{Code, v1::Failure};
    /// let failure = Failure::new(Code::SpecNotFound, "no spec for VTID-01213 in storefront");
    /// assert_eq!(failure.known_code(), Some(Code::SpecNotFound));
    /// ```
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self {
            code: code.to_wire() as i32,
            message: scrub(&message).chars().take(MAX_MESSAGE_CHARS).collect(),
            ..Self::default()
        }
    }

    /// Adds the stage in which it happened.
    pub fn at_stage(mut self, stage: impl Into<String>) -> Self {
        self.stage = stage.into();
        self
    }

    /// Adds who says so.
    pub fn from_source(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    /// Adds the chain of an error's causes.
    pub fn caused_by(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if self.causes.len() == MAX_CAUSES {
                break;
            }
            self.causes.push(scrub(&error.to_string()).chars().take(MAX_MESSAGE_CHARS).collect());
            next = error.source();
        }
        self
    }

    /// Adds a fact, such as an exit code.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.context.insert(name.into(), scrub(&value.into()));
        self
    }

    /// The code; `None` when another version wrote one that this one does not know.
    pub fn known_code(&self) -> Option<Code> {
        Code::from_wire(self.code)
    }

    /// The code's name, such as `CHECKS_FAILED`; for a code that this version does not know, its number.
    pub fn code_name(&self) -> String {
        self.known_code().map_or_else(|| format!("CODE_{}", self.code), |code| code.name().to_owned())
    }
}
