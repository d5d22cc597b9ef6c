//! The deployer as a process of its own.

use std::process::ExitCode;

use millrace_events::Service;
use millrace_runtime::launch::{self, Entry};

fn main() -> ExitCode {
    launch::main(Entry {
        service: Service::Deployer,
        check: millrace_deployer::check,
        run: |context| Box::pin(millrace_deployer::run(context)),
    })
}
