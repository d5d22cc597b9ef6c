//! The failure analyzer as a process of its own.

use std::process::ExitCode;

use millrace_events::Service;
use millrace_runtime::launch::{self, Entry};

fn main() -> ExitCode {
    launch::main(Entry {
        service: Service::FailureAnalyzer,
        check: millrace_failure_analyzer::check,
        run: |context| Box::pin(millrace_failure_analyzer::run(context)),
    })
}
