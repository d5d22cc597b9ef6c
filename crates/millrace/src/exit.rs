//! How a command ends: its exit code, and the message of one that failed. `docs/cli.md` lists the codes.

use std::process::ExitCode;

use millrace_events::Code;
use millrace_rpc::client::ConnectError;
use millrace_rpc::status::{Problem, chain};
use millrace_rpc::{Status, StatusCode};

/// Exit codes. Stable: scripts depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It worked.
    Ok = 0,
    /// It ran, and what it looked at is not good: a task that failed, a spec with errors, a broken ledger.
    Unsuccessful = 1,
    /// The command line cannot be used.
    Usage = 2,
    /// The configuration cannot be used, or a file cannot be read.
    Configuration = 3,
    /// The server, NATS or the ledger does not answer.
    Unreachable = 4,
    /// There is no such thing.
    NotFound = 5,
    /// It was refused, by a rule or because the state does not allow it.
    Refused = 6,
    /// What was waited for did not come in time.
    TimedOut = 7,
    /// A fault of Millrace.
    Internal = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// The code of `docs/errors/`, where there is one.
    pub(crate) code: Option<Code>,
    /// What happened to what.
    pub(crate) message: String,
    /// What to do; may be empty.
    pub(crate) advice: String,
}

impl Failure {
    /// A failure without a code.
    pub(crate) fn new(exit: Exit, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { exit, code: None, message: message.into(), advice: advice.into() }
    }

    /// The arguments make no sense together.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message, "See `millrace --help`.")
    }

    /// Something that the person who started it can put right: a setting, a file, a port, a program.
    pub(crate) fn configuration(message: impl ToString, advice: impl Into<String>) -> Self {
        Self::new(Exit::Configuration, message.to_string(), advice)
    }

    /// A file cannot be read or written.
    pub(crate) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        let advice = match error.kind() {
            std::io::ErrorKind::NotFound => "Check the path.",
            std::io::ErrorKind::PermissionDenied => "Check the permissions.",
            _ => "",
        };
        Self::new(Exit::Configuration, format!("{}: {error}", path.display()), advice)
    }

    /// A fault of this program.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Exit::Internal, message, "This is a fault of Millrace; please report it.")
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Address { .. } => {
                Self::new(Exit::Usage, error.to_string(), "Give --server, or set MILLRACE_SERVER.")
            }
            ConnectError::Unreachable { .. } => Self::new(
                Exit::Unreachable,
                chain(&error),
                "Start it with `millrace dev`, or name another with --server or MILLRACE_SERVER.",
            ),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let problem = Problem::from(&status);
        let exit = match problem.status {
            StatusCode::NotFound => Exit::NotFound,
            StatusCode::Unavailable | StatusCode::Cancelled => Exit::Unreachable,
            StatusCode::DeadlineExceeded => Exit::TimedOut,
            StatusCode::Internal | StatusCode::Unknown | StatusCode::DataLoss | StatusCode::Unimplemented => {
                Exit::Internal
            }
            _ => Exit::Refused,
        };
        Self { exit, code: problem.code, message: problem.message, advice: problem.advice }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_rpc::status;

    use super::*;

    #[test]
    fn each_kind_of_refusal_has_its_exit_code() {
        for (status, exit) in [
            (status::not_found("no task", "list"), Exit::NotFound),
            (status::unavailable("ledger", "wait"), Exit::Unreachable),
            (status::late("ledger", "wait"), Exit::TimedOut),
            (status::invalid("run", "is 7"), Exit::Refused),
            (status::refused(Code::StateMismatch, "it is complete"), Exit::Refused),
            (status::refused(Code::SpecNotFound, "no spec"), Exit::NotFound),
            (Status::unknown("?"), Exit::Internal),
        ] {
            assert_eq!(Failure::from(status.clone()).exit, exit, "{status}");
        }
        assert_eq!(Failure::from(status::refused(Code::Internal, "x")).code, Some(Code::Internal));
    }
}
