//! The millrace command line and the all-in-one development server.

mod cli;
mod commands;
mod connection;
mod dev;
mod exit;
mod output;
mod program;
mod services;
mod story;
mod text;

use std::process::ExitCode;

use clap::Parser as _;

pub use cli::Cli;
pub use exit::Exit;

/// Reads the arguments, does what they say, and reports how it went.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unusable(&error),
    };
    let output = output::Output::new(&cli.global);
    // A service process has a runtime and a log of its own.
    if let cli::Command::Run { service, arguments } = &cli.command {
        let entry = service.entry();
        let settings = millrace_runtime::launch::load(arguments);
        if let Err(error) = settings.and_then(|settings| (entry.check)(&settings)) {
            let advice = "docs/configuration.md lists every key.";
            return output.failed(&exit::Failure::new(Exit::Configuration, error.to_string(), advice));
        }
        return millrace_runtime::launch::run_process(entry, arguments);
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

/// Shows what clap has to say: help, the version, or what is wrong with the arguments, as JSON where that was
/// asked for.
fn unusable(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && wants_json(std::env::args().skip(1)) {
        let rendered = error.render().to_string();
        let message = rendered.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default().trim();
        return output::Output::for_programs().failed(&exit::Failure::usage(message));
    }
    // Nothing is to be done where the terminal has gone.
    let _unshown = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8))
}

/// Whether arguments that cannot be parsed ask for JSON all the same.
fn wants_json(arguments: impl Iterator<Item = String>) -> bool {
    let mut wanted = false;
    let mut is_value = false;
    for argument in arguments {
        wanted |= matches!(argument.as_str(), "--output=json" | "-ojson" | "-o=json");
        wanted |= is_value && argument == "json";
        is_value = matches!(argument.as_str(), "--output" | "-o");
    }
    wanted
}
