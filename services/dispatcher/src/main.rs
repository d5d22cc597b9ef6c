//! The dispatcher as a process of its own.

use std::process::ExitCode;

use millrace_events::Service;
use millrace_runtime::launch::{self, Entry};

fn main() -> ExitCode {
    launch::main(Entry {
        service: Service::Dispatcher,
        check: millrace_dispatcher::check,
        run: |context| Box::pin(millrace_dispatcher::run(context)),
    })
}
