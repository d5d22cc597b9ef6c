//! The projector as a process of its own.

use std::process::ExitCode;

use millrace_events::Service;
use millrace_runtime::launch::{self, Entry};

fn main() -> ExitCode {
    launch::main(Entry {
        service: Service::Projector,
        check: millrace_projector::check,
        run: |context| Box::pin(millrace_projector::run(context)),
    })
}
