//! The worker as a process of its own.

use std::process::ExitCode;

use millrace_events::Service;
use millrace_runtime::launch::{self, Entry};

fn main() -> ExitCode {
    launch::main(Entry {
        service: Service::Worker,
        check: millrace_worker::check,
        run: |context| Box::pin(millrace_worker::run(context)),
    })
}
