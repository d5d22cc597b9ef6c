//! The shim as a program of its own, for tests: `millrace` and `millrace-worker` carry it themselves.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_sandbox::shim::run_if_asked().unwrap_or(ExitCode::FAILURE)
}
