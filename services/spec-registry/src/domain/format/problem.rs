//! What can be wrong with a specification.

use super::MAX_SPEC_BYTES;

/// One fault, with the place and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which rule is broken.
    pub code: ProblemCode,
    /// Whether the specification is refused for it.
    pub severity: Severity,
    /// The line, counted from 1; `None` when the fault has no place inside the file.
    pub line: Option<u32>,
    /// What is wrong, as a sentence about this file.
    pub message: String,
    /// What the author can do about it.
    pub advice: String,
}

/// Whether a fault refuses the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

/// The rules a specification can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemCode {
    /// Larger than 512 KiB, or a plan larger than 128 KiB.
    TooLarge,
    /// Not UTF-8.
    NotUtf8,
    /// Contains a NUL byte.
    NulByte,
    /// Nothing but white space.
    Empty,
    /// The front matter is not YAML.
    FrontMatterInvalid,
    /// Something that should be a task id is none.
    TaskIdInvalid,
    /// Two different task ids for one specification.
    TaskIdConflict,
    /// No task id anywhere.
    TaskIdMissing,
    /// An id of another tracker.
    TaskIdForeign,
    /// No summary.
    SummaryMissing,
    /// A summary of fewer than 10 characters.
    SummaryTooShort,
    /// No problem statement.
    ProblemStatementMissing,
    /// No acceptance criterion.
    AcceptanceMissing,
    /// A placeholder of a template was left in.
    TemplateUnfilled,
    /// More than one embedded plan.
    PlanAmbiguous,
    /// A priority that means nothing.
    PriorityUnknown,
    /// A section with a heading and nothing below it.
    SectionEmpty,
    /// An HTML comment that never ends and hides the rest of the file.
    CommentUnclosed,
    /// More faults than are worth listing.
    TooManyProblems,
}

impl Problem {
    /// A fault that refuses the specification.
    pub(crate) fn error(
        code: ProblemCode,
        line: Option<u32>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { code, severity: Severity::Error, line, message: message.into(), advice: advice.into() }
    }

    /// A fault that does not.
    pub(crate) fn warning(
        code: ProblemCode,
        line: Option<u32>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, line, message, advice) }
    }

    /// `what` is larger than a specification may be.
    pub(crate) fn too_large(what: &str) -> Self {
        Self::error(
            ProblemCode::TooLarge,
            None,
            format!("{what} is larger than {} KiB", MAX_SPEC_BYTES / 1024),
            "split the change into several specifications, and keep data and pictures in files of their own",
        )
    }

    /// A plan has more bytes than one may have. `line`: where it stands in the specification, if there.
    pub(crate) fn plan_too_large(line: Option<u32>, max_bytes: usize) -> Self {
        Self::error(
            ProblemCode::TooLarge,
            line,
            format!("the plan is larger than {} KiB", max_bytes / 1024),
            "make the change smaller, or split it into several specifications",
        )
    }

    /// There is a plan in the specification and another one beside it.
    pub(crate) fn second_plan(line: u32, beside: &str) -> Self {
        Self::error(
            ProblemCode::PlanAmbiguous,
            Some(line),
            format!("there is a plan here and another one in {beside}: which one holds is unclear"),
            "keep one of them",
        )
    }

    /// The system's error code for this fault, as it appears in events and on the command line.
    #[must_use]
    pub fn error_code(&self) -> &'static str {
        match self.code {
            ProblemCode::TaskIdInvalid | ProblemCode::TaskIdMissing | ProblemCode::TaskIdForeign => {
                "TASK_ID_INVALID"
            }
            ProblemCode::TaskIdConflict => "SPEC_ID_CONFLICT",
            ProblemCode::TemplateUnfilled => "SPEC_TEMPLATE_UNFILLED",
            ProblemCode::TooLarge
            | ProblemCode::NotUtf8
            | ProblemCode::NulByte
            | ProblemCode::Empty
            | ProblemCode::FrontMatterInvalid
            | ProblemCode::SummaryMissing
            | ProblemCode::SummaryTooShort
            | ProblemCode::ProblemStatementMissing
            | ProblemCode::AcceptanceMissing
            | ProblemCode::PlanAmbiguous
            | ProblemCode::PriorityUnknown
            | ProblemCode::SectionEmpty
            | ProblemCode::CommentUnclosed
            | ProblemCode::TooManyProblems => "SPEC_INVALID",
        }
    }
}
