//! The self-test from inside: tries what must be denied and reports what it finds, line by line. It runs where
//! a command would, under the very same restrictions.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Resource, getrlimit, test_kill_process};
use serde::{Deserialize, Serialize};

/// What there is outside to be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Targets {
    /// A TCP server of the worker.
    pub(crate) tcp: SocketAddr,
    /// An abstract socket of the worker, without the leading NUL.
    pub(crate) abstract_socket: String,
    /// The worker's process id.
    pub(crate) process: i32,
    /// Which process table that id belongs to, as `/proc/self/ns/pid` says.
    pub(crate) process_table: String,
    /// Files that only the worker may read.
    pub(crate) secrets: Vec<PathBuf>,
    /// Whether sockets of the own loopback are allowed.
    pub(crate) loopback: bool,
}

/// Prints a line per finding: `got=` and what should have been denied, or a fact as `name=value`.
pub(crate) fn report(targets: &Targets) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for what in got(targets) {
        writeln!(out, "got={what}")?;
    }
    for (name, value) in facts() {
        writeln!(out, "{name}={value}")?;
    }
    for (name, _) in std::env::vars_os() {
        writeln!(out, "variable={}", name.display())?;
    }
    Ok(())
}

const CONNECT: Duration = Duration::from_secs(2);

fn got(targets: &Targets) -> Vec<String> {
    let mut got = Vec::new();
    let mut deny = |succeeded: bool, what: &str| {
        if succeeded {
            got.push(what.to_owned());
        }
    };
    deny(TcpStream::connect_timeout(&targets.tcp, CONNECT).is_ok(), "a TCP connection to the worker's host");
    deny(!targets.loopback && UdpSocket::bind("127.0.0.1:0").is_ok(), "a UDP socket");
    let name = std::os::unix::net::SocketAddr::from_abstract_name(targets.abstract_socket.as_bytes());
    let connected = name.and_then(|address| UnixStream::connect_addr(&address));
    deny(connected.is_ok(), "a connection to an abstract socket of the worker");
    // In a process table of its own the worker's number is nobody's, or one of its own.
    let table = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    if table.as_os_str() == targets.process_table.as_str() {
        let signalled = Pid::from_raw(targets.process).is_some_and(|pid| test_kill_process(pid).is_ok());
        deny(signalled, "a signal to the worker");
        for file in ["environ", "cmdline", "maps"] {
            let path = format!("/proc/{}/{file}", targets.process);
            deny(can_read(Path::new(&path)), &format!("the worker's {file}"));
        }
    }
    for secret in &targets.secrets {
        deny(can_read(secret), &format!("the worker's file {}", secret.display()));
    }
    for shadow in ["/etc/shadow", "/proc/kcore", "/dev/kmsg", "/dev/mem"] {
        deny(can_read(Path::new(shadow)), shadow);
    }
    got
}

fn can_read(path: &Path) -> bool {
    fs::File::open(path).is_ok_and(|mut file| std::io::Read::read(&mut file, &mut [0; 1]).is_ok())
}

fn facts() -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Ok(sets) = rustix::thread::capabilities(None) {
        let held = sets.effective | sets.permitted | sets.inheritable;
        facts.push(("capabilities", if held.is_empty() { "none".to_owned() } else { format!("{held:?}") }));
    }
    facts.push(("no_new_privs", rustix::thread::no_new_privs().is_ok_and(|set| set).to_string()));
    let filtered = rustix::thread::secure_computing_mode()
        .is_ok_and(|mode| mode == rustix::thread::SecureComputingMode::Filter);
    facts.push(("seccomp", filtered.to_string()));
    let processes = getrlimit(Resource::Nproc);
    let [soft, hard] = [processes.current, processes.maximum].map(Option::unwrap_or_default);
    facts.push(("processes", format!("{soft}/{hard}")));
    facts
}
