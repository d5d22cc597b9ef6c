//! Errors on the wire: a gRPC code for programs, and for people a sentence that says what happened to what
//! and one that says what to do. The details carry a `google.rpc.ErrorInfo` whose reason is the code of
//! `docs/errors/`, or the gRPC code's name where none of those applies.

use std::collections::HashMap;
use std::error::Error;

use millrace_events::Code;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::StatusCode;

/// `domain` of every `ErrorInfo`.
const DOMAIN: &str = "millrace";
/// Where `ErrorInfo` carries the advice.
const ADVICE: &str = "advice";

/// The answer to a call that fails with a code of the closed list: `CODE: what`, with its advice.
pub fn refused(code: Code, what: impl AsRef<str>) -> Status {
    build(status_of(code), code.name(), what.as_ref(), code.advice())
}

/// There is no such thing.
pub fn not_found(what: impl AsRef<str>, advice: impl AsRef<str>) -> Status {
    build(StatusCode::NotFound, "NOT_FOUND", what.as_ref(), advice.as_ref())
}

/// A field of the request cannot be used.
pub fn invalid(field: &str, problem: impl AsRef<str>) -> Status {
    let what = format!("{field}: {}", problem.as_ref());
    build(StatusCode::InvalidArgument, "INVALID_ARGUMENT", &what, "Correct the request and send it again.")
}

/// Something that the answer depends on is down; nothing was done.
pub fn unavailable(what: impl AsRef<str>, advice: impl AsRef<str>) -> Status {
    build(StatusCode::Unavailable, "UNAVAILABLE", what.as_ref(), advice.as_ref())
}

/// It was not known in time.
pub fn late(what: impl AsRef<str>, advice: impl AsRef<str>) -> Status {
    build(StatusCode::DeadlineExceeded, "DEADLINE_EXCEEDED", what.as_ref(), advice.as_ref())
}

/// More of it than the server takes at once.
pub fn exhausted(what: impl AsRef<str>, advice: impl AsRef<str>) -> Status {
    build(StatusCode::ResourceExhausted, "RESOURCE_EXHAUSTED", what.as_ref(), advice.as_ref())
}

/// The texts of an error and its sources, outermost first, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let source_text = source.to_string();
        if !text.contains(&source_text) {
            text.push_str(": ");
            text.push_str(&source_text);
        }
        next = source.source();
    }
    text
}

/// What a client can read out of a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The gRPC code.
    pub status: StatusCode,
    /// The code of the closed list, when the server named one.
    pub code: Option<Code>,
    /// What happened to what, without code and advice.
    pub message: String,
    /// What to do; empty when the server did not say.
    pub advice: String,
}

impl From<&Status> for Problem {
    fn from(status: &Status) -> Self {
        let info = status.get_details_error_info();
        let code = info.as_ref().and_then(|info| Code::from_name(&info.reason));
        let advice = info.and_then(|mut info| info.metadata.remove(ADVICE)).unwrap_or_default();
        let mut message = status.message();
        if let Some(code) = code {
            message = message.strip_prefix(code.name()).and_then(|m| m.strip_prefix(": ")).unwrap_or(message);
        }
        if !advice.is_empty() {
            message = message.strip_suffix(advice.as_str()).map_or(message, str::trim_end);
        }
        Self { status: status.code(), code, message: message.to_owned(), advice }
    }
}

/// Which gRPC code stands for a code of the closed list.
pub const fn status_of(code: Code) -> StatusCode {
    match code {
        Code::SpecNotFound | Code::PrNotFound | Code::ImageNotFound => StatusCode::NotFound,
        Code::SpecInvalid
        | Code::SpecTemplateUnfilled
        | Code::TaskIdInvalid
        | Code::SecretDetected
        | Code::EventInvalid => StatusCode::InvalidArgument,
        Code::SpecIdConflict => StatusCode::AlreadyExists,
        Code::PolicyDenied
        | Code::ApprovalDenied
        | Code::ToolOutOfPhase
        | Code::ToolNotAllowed
        | Code::SandboxViolation
        | Code::ModelKeyRejected
        | Code::ModelRefused => StatusCode::PermissionDenied,
        Code::BudgetExceeded
        | Code::ModelContextExceeded
        | Code::ModelQuotaExhausted
        | Code::ModelRateLimited
        | Code::IterationsExceeded
        | Code::FormatErrorsExceeded => StatusCode::ResourceExhausted,
        Code::ApprovalExpired
        | Code::ExecutionTimeout
        | Code::ChecksTimeout
        | Code::ValidationTimeout
        | Code::DeploymentTimeout => StatusCode::DeadlineExceeded,
        Code::DispatchExhausted
        | Code::LeaseLost
        | Code::ModelUnavailable
        | Code::SandboxUnavailable
        | Code::RepositoryUnavailable
        | Code::ForgeUnavailable => StatusCode::Unavailable,
        Code::MergeConflict | Code::PrHeadMoved | Code::PrBaseMoved | Code::SpecLocked => StatusCode::Aborted,
        Code::LedgerRegressed | Code::SpecChecksumMismatch => StatusCode::DataLoss,
        Code::Cancelled => StatusCode::Cancelled,
        Code::Internal | Code::ModelRequestInvalid => StatusCode::Internal,
        Code::ContractViolation
        | Code::CommandFailed
        | Code::PromptDrift
        | Code::EvidenceMissing
        | Code::EvidenceEmpty
        | Code::EvidenceInvalid
        | Code::EvidenceStale
        | Code::PrNotCreated
        | Code::PrClosed
        | Code::ChecksFailed
        | Code::DeploymentFailed
        | Code::ReleaseShaMismatch
        | Code::HealthCheckFailed
        | Code::RollbackFailed
        | Code::LogDiffers
        | Code::ModelsSwitchedOff
        | Code::AgentRepeats
        | Code::AgentAlternates
        | Code::AgentMonologue
        | Code::PlanUngrounded
        | Code::ProfileMissing
        | Code::SetupFailed
        | Code::ReviewRejected
        | Code::StateMismatch => StatusCode::FailedPrecondition,
    }
}

fn build(status: StatusCode, reason: &str, what: &str, advice: &str) -> Status {
    let what = what.trim_end().trim_end_matches('.');
    let message = match Code::from_name(reason) {
        Some(code) => format!("{}: {what}. {advice}", code.name()),
        None => format!("{what}. {advice}"),
    };
    let facts = HashMap::from([(ADVICE.to_owned(), advice.to_owned())]);
    Status::with_error_details(status, message, ErrorDetails::with_error_info(reason, DOMAIN, facts))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn s2_a12_code_sentence_and_advice_survive_the_wire() {
        for code in Code::ALL {
            let status = refused(*code, "something about VTID-00001");
            let problem = Problem::from(&status);
            assert_eq!(problem.code, Some(*code));
            assert_eq!(problem.message, "something about VTID-00001.");
            assert_eq!(problem.advice, code.advice());
            assert_ne!(status.code(), StatusCode::Ok);
            assert_ne!(status.code(), StatusCode::Unknown);
            assert!(status.message().starts_with(code.name()), "{}", status.message());
        }
    }

    #[test]
    fn what_has_no_code_still_has_a_sentence_and_advice() {
        let problem = Problem::from(&not_found("no task VTID-00001", "List them with `millrace task list`."));
        assert_eq!(problem.code, None);
        assert_eq!(problem.status, StatusCode::NotFound);
        assert_eq!(problem.message, "no task VTID-00001.");
        assert_eq!(problem.advice, "List them with `millrace task list`.");
    }

    #[test]
    fn a_foreign_status_is_taken_as_it_is() {
        let problem = Problem::from(&Status::unavailable("tcp connect error"));
        assert_eq!((problem.message.as_str(), problem.advice.as_str()), ("tcp connect error", ""));
    }
}
