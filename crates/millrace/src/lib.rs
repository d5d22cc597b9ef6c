//! The millrace command line and the all-in-one development server.

mod cli;
mod commands;
mod connection;
mod dev;
mod exit;
mod output;
mod services;
mod story;
mod text;

use std::process::ExitCode;

use clap::Parser as _;

pub use cli::Cli;
pub use exit::Exit;

/// Reads the arguments, does what they say, and reports how it went. Usage errors end the process inside
/// clap, with exit code 2.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = output::Output::new(&cli.global);
    // A service process has a runtime and a log of its own.
    if let cli::Command::Run { service, arguments } = &cli.command {
        return millrace_runtime::launch::run_process(service.entry(), arguments);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output.failed(&exit::Failure::internal(format!("no runtime: {error}"))),
    };
    match runtime.block_on(commands::run(&cli, &output)) {
        Ok(exit) => exit.into(),
        Err(failure) => output.failed(&failure),
    }
}
