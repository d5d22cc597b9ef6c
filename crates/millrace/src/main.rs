//! `millrace`: see `millrace --help` and `docs/cli.md`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Inside a sandbox this very program restricts itself and becomes the command.
    if let Some(code) = millrace_sandbox::shim::run_if_asked() {
        return code;
    }
    millrace::main()
}
