//! The validator as a process of its own.

use std::process::ExitCode;

use millrace_events::Service;
use millrace_runtime::launch::{self, Entry};

fn main() -> ExitCode {
    launch::main(Entry {
        service: Service::Validator,
        check: millrace_validator::check,
        run: |context| Box::pin(millrace_validator::run(context)),
    })
}
