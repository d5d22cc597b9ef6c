//! `millrace`: see `millrace --help` and `docs/cli.md`.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace::main()
}
