//! Without namespaces of its own a command is attended: a process that adopts whatever the command leaves behind
//! and ends all of it when the command ends, when it is told to, and when the worker is gone.
//!
//! It is told by its standard input: the worker holds the other end, and the kernel closes it with the worker.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};

use super::ASKED;
use crate::profile::LEFT;
use crate::usage;

/// `UID GID ORDERS COMMAND...`; ids of 0 leave them as they are. Returns the exit code of the command.
pub(super) fn run(mut arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, String> {
    let mut id = || arguments.next().and_then(|id| id.to_str()?.parse::<u32>().ok());
    let (Some(uid), Some(gid)) = (id(), id()) else { return Err("no ids to run as".to_owned()) };
    set_child_subreaper(Some(getpid())).map_err(|error| format!("nothing can be adopted: {error}"))?;
    let mut command = Command::new("/proc/self/exe");
    command.args([ASKED, "confine"]).args(arguments).stdin(Stdio::null());
    if uid != 0 {
        command.uid(uid).gid(gid);
    }
    // A signal to its group stays there.
    let mut child = command.process_group(0).spawn().map_err(|error| format!("the shim: {error}"))?;
    thread::spawn(|| {
        let mut stdin = io::stdin().lock();
        // Nobody writes there: this returns when the other end is closed.
        let _closed = stdin.read(&mut [0; 1]);
        end_all();
        std::process::exit(i32::from(KILLED));
    });
    // Fails when the other thread saw the end of it first.
    let status = child.wait();
    let left = usage::processes_below(std::process::id());
    let _unread = writeln!(io::stderr(), "{LEFT}{left}");
    end_all();
    Ok(ExitCode::from(status.map_or(KILLED, code)))
}

/// 128 and SIGKILL, as a shell says it.
const KILLED: u8 = 137;
const STEP: Duration = Duration::from_millis(5);

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| signal + 128));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(KILLED)
}

/// Stops everything below, so that nothing starts anything meanwhile, then kills it, until nothing is left.
fn end_all() {
    loop {
        let below = usage::below(std::process::id());
        if below.is_empty() {
            return;
        }
        for signal in [Signal::STOP, Signal::KILL] {
            for process in usage::below(std::process::id()).into_iter().filter_map(Pid::from_raw) {
                // It may have ended by itself.
                let _gone = kill_process(process, signal);
            }
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        thread::sleep(STEP);
    }
}
