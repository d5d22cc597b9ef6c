//! The built binary as a child process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// The `millrace` binary beside the test binary.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let folder = test.ancestors().nth(2).expect("target/<profile>");
    let binary = folder.join("millrace");
    assert!(binary.is_file(), "{} is missing: cargo build -p millrace", binary.display());
    binary
}

/// Runs `millrace` with `arguments` in `folder` until it ends.
pub fn millrace(folder: &Path, arguments: &[&str]) -> Output {
    clean(Command::new(binary())).args(arguments).current_dir(folder).output().expect("millrace runs")
}

/// Whether a process with exactly these arguments runs on this machine.
pub fn is_running(arguments: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    processes.into_iter().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ") == arguments
    })
}

/// A command without this process's MILLRACE_* variables.
fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MILLRACE_") {
            command.env_remove(name);
        }
    }
    command
}

/// A service's process. Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `millrace run <service>` with a configuration file and variables; its log goes to `log`.
    pub(crate) fn start(service: &str, config: &Path, variables: &[(String, String)], log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("a log file");
        let child = clean(Command::new(binary()))
            .args(["run", service, "--config"])
            .arg(config)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log again"))
            .stderr(log)
            .spawn()
            .expect("millrace starts");
        Self { child }
    }

    /// SIGKILL: no chance to say goodbye.
    pub(crate) fn kill(mut self) {
        let _ended_by_itself = self.child.kill();
        self.child.wait().expect("it ended");
    }

    /// SIGTERM, and the exit code it ends with.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.child.wait().expect("it ended").code()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().expect("its status")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a pid");
        kill_process(pid, signal).expect("it was running");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}
