//! The profile without namespaces (`mode = "shim"`), for a pod that may not make any: an attendant outside, and
//! inside Landlock and seccomp instead of mounts and namespaces. docs/sandbox.md says what this does not give.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::error::SandboxError;
use crate::limits::OPEN_FILES;
use crate::profile::{ENVIRONMENT, INIT, STARTED, check, pipes, search_path};
use crate::sandbox::{CommandSpec, Config, Mode};
use crate::scratch::Scratch;
use crate::shim::{ASKED, Landlock, Orders, Sockets};
use crate::usage;
use crate::workspace::{Lent, hand_over};

/// Readable by every command, where it is there.
const READ: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/filesystems",
    "/proc/sys/kernel/ngroups_max",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
];
const WRITE: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// The command to start, and the directory it needs until it has ended.
pub(crate) fn build(
    config: &Config,
    shim: &Path,
    spec: &CommandSpec,
    lent: &Lent,
) -> Result<(Command, Scratch), SandboxError> {
    check(config, spec)?;
    if !spec.mounts.is_empty() || spec.egress.is_some() {
        return Err(SandboxError::refused(
            "a setup step and its result need mounts, which `mode = \"shim\"` has not; use bubblewrap",
        ));
    }
    let scratch = Scratch::create(&config.scratch)
        .map_err(|source| SandboxError::io("making a folder below", &config.scratch, source))?;
    let temporary = temporary(&scratch);
    fs::create_dir(&temporary).map_err(|source| SandboxError::io("making", &temporary, source))?;
    if let Some(to) = lent.run_as() {
        hand_over(&temporary, to)?;
    }
    let mut read: Vec<PathBuf> = READ.iter().map(PathBuf::from).collect();
    read.extend(config.read_only.iter().chain(&spec.read_only).cloned());
    read.extend(lent.git_aside());
    read.push(shim.to_owned());
    let mut write: Vec<PathBuf> = WRITE.iter().map(PathBuf::from).collect();
    write.extend([lent.root().to_owned(), temporary.clone()]);
    // The kernel counts all of the user's processes; a command has its share beyond what is there already.
    let user = lent.run_as().map_or_else(|| rustix::process::geteuid().as_raw(), |to| to.uid);
    let orders = Orders {
        cpu_seconds: spec.limits.cpu_seconds,
        memory_bytes: spec.limits.memory_bytes,
        processes: spec.limits.processes.saturating_add(usage::threads_of(user)),
        file_size_bytes: spec.limits.file_size_bytes,
        open_files: OPEN_FILES,
        write,
        read,
        landlock: Landlock::Required,
        // A socket could reach what Landlock does not know: UDP, and sockets in the file system.
        sockets: Sockets::None,
        bridge: false,
    };
    let (uid, gid) = lent.run_as().map_or((0, 0), |to| (to.uid, to.gid));
    let mut command = Command::new(shim);
    command
        .args([ASKED, "attend", &uid.to_string(), &gid.to_string(), &orders.to_json()?])
        .args(["/bin/sh", "-c", INIT, STARTED, &spec.command])
        .env_clear()
        .envs(ENVIRONMENT)
        .env("HOME", &temporary)
        .env("TMPDIR", &temporary)
        .env("PATH", search_path(&config.path))
        .current_dir(lent.root().join(&spec.cwd));
    pipes(&mut command, Mode::Shim);
    if let Some(git) = lent.git_aside() {
        command.env("GIT_DIR", git).env("GIT_WORK_TREE", lent.root());
    }
    let given = config.env.iter().chain(&spec.env);
    command.envs(given.map(|(name, value)| (OsString::from(name), OsString::from(value))));
    Ok((command, scratch))
}

/// What a command has instead of a `/tmp` of its own.
pub(crate) fn temporary(scratch: &Scratch) -> PathBuf {
    scratch.path().join("tmp")
}
