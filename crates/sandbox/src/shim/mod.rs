//! The part of this program that runs inside a sandbox, between bubblewrap and the command: the running
//! executable is mounted into the sandbox and started there again with [`ASKED`] as its first argument.
//!
//! Setting limits and filters between fork and exec needs `unsafe`; a program that restricts itself and then
//! becomes the command does not.

mod attempts;
mod attend;
mod bridge;
mod confine;
mod orders;
mod syscalls;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use attempts::Targets;
pub(crate) use orders::{Landlock, Orders, Sockets};

/// The first argument that asks a program to be the shim.
pub(crate) const ASKED: &str = "millrace-sandbox-shim";

/// Becomes the shim when the arguments ask for it, and then returns only when that failed; otherwise `None`,
/// at once. Every program that runs sandboxes calls it first in `main`, before it has threads: what it says
/// about itself this way lets [`crate::Config::shim`] stay unset.
#[must_use]
pub fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != ASKED) {
        CARRIED.store(true, Ordering::Relaxed);
        return None;
    }
    let role = arguments.next().unwrap_or_default();
    let ended = match role.to_str() {
        Some("confine") => confine(arguments),
        Some("attend") => attend::run(arguments),
        Some("attempt") => attempt(arguments),
        Some("bridge") => bridge::serve().map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string()),
        Some("enter") => enter(arguments),
        _ => Err(format!("there is no part `{}` to play", role.display())),
    };
    Some(ended.unwrap_or_else(|failure| {
        // Standard error still belongs to the sandbox here; its first line becomes the reason of the failure.
        eprintln!("shim: {failure}");
        ExitCode::FAILURE
    }))
}

/// Whether the running program called [`run_if_asked`], so that its executable can be the shim.
static CARRIED: AtomicBool = AtomicBool::new(false);

/// The running executable, where it can be the shim.
pub(crate) fn running_program() -> Option<PathBuf> {
    CARRIED.load(Ordering::Relaxed).then(std::env::current_exe)?.ok()
}

/// `ORDERS COMMAND...`: restricts itself and becomes the command.
fn confine(mut arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, String> {
    let orders: Orders = read(&mut arguments)?;
    if orders.bridge {
        bridge::start().map_err(|error| format!("the bridge to the proxy: {error}"))?;
    }
    confine::apply(&orders)?;
    become_command(arguments)
}

/// `GROUP... -- COMMAND...`: enters control groups, then becomes the command.
fn enter(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, String> {
    let mut arguments = arguments;
    for group in arguments.by_ref().take_while(|argument| argument != "--") {
        std::fs::write(&group, "0")
            .map_err(|error| format!("the control group {} cannot be entered: {error}", group.display()))?;
    }
    become_command(arguments)
}

fn become_command(mut arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, String> {
    let program = arguments.next().ok_or("there is no command to run")?;
    let error = Command::new(&program).args(arguments).exec();
    Err(format!("{} cannot be started: {error}", program.display()))
}

/// `TARGETS`: the self-test.
fn attempt(mut arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, String> {
    let targets = read(&mut arguments)?;
    let reported = attempts::report(&targets);
    reported.map(|()| ExitCode::SUCCESS).map_err(|error| format!("the findings cannot be written: {error}"))
}

/// The next argument, which is JSON.
fn read<T: serde::de::DeserializeOwned>(arguments: &mut impl Iterator<Item = OsString>) -> Result<T, String> {
    let text = arguments.next().unwrap_or_default();
    serde_json::from_str(&text.to_string_lossy())
        .map_err(|error| format!("orders that cannot be read: {error}"))
}
