//! The worker as a process of its own.

use std::process::ExitCode;

use millrace_events::Service;
use millrace_runtime::launch::{self, Entry};

fn main() -> ExitCode {
    // Inside a sandbox this very program restricts itself and becomes the command.
    if let Some(code) = millrace_sandbox::shim::run_if_asked() {
        return code;
    }
    launch::main(Entry {
        service: Service::Worker,
        check: millrace_worker::check,
        run: |context| Box::pin(millrace_worker::run(context)),
    })
}
