//! The query service as a process of its own.

use std::process::ExitCode;

use millrace_events::Service;
use millrace_runtime::launch::{self, Entry};

fn main() -> ExitCode {
    launch::main(Entry {
        service: Service::Query,
        check: millrace_query::check,
        run: |context| Box::pin(millrace_query::run(context)),
    })
}
