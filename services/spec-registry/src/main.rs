//! The spec-registry as a process of its own.

use std::process::ExitCode;

use millrace_events::Service;
use millrace_runtime::launch::{self, Entry};

fn main() -> ExitCode {
    launch::main(Entry {
        service: Service::SpecRegistry,
        check: millrace_spec_registry::check,
        run: |context| Box::pin(millrace_spec_registry::run(context)),
    })
}
