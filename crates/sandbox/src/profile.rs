//! What a command can see: the one place that turns a request into the bubblewrap call.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::egress::SOCKET;
use crate::error::SandboxError;
use crate::limits::OPEN_FILES;
use crate::sandbox::{CommandSpec, Config, Mode, Mount, RunAs};
use crate::scratch::Scratch;
use crate::shim::{ASKED, Landlock, Orders, Sockets};
use crate::workspace::Lent;

/// Where the workspace is mounted.
const WORKSPACE: &str = "/workspace";

/// Written by the sandbox's first process once everything is in place. Until then whatever comes out of
/// standard error belongs to bubblewrap, afterwards to process 1. A command that finds a way to write there
/// can only accuse itself.
pub(crate) const STARTED: &str = "millrace-sandbox-started";

/// Written by process 1 when the command has ended, with the number of processes and threads that are left.
pub(crate) const LEFT: &str = "millrace-sandbox-left ";

/// Process 1 of the sandbox: announces the start, runs the command, counts what is left (the glob needs no
/// process), and takes everything with it at its end. The command does not get descriptor 9. `exit` keeps the shell from replacing itself by the command, which would make that process 1.
pub(crate) const INIT: &str = r#"exec 9>&2; echo "$0" >&9; exec 2>&1; /bin/sh -c "$1" </dev/null 9>&-; code=$?
set -- /proc/[0-9]*/task/[0-9]*; echo "millrace-sandbox-left $#" >&9; exit $code"#;

/// As root: binds everything to where an unprivileged user can reach it, in a mount namespace of its own (a
/// workspace below a private home folder would be out of reach), then gives up root for good.
const STAGE: &str = r#"
umask 022
staging=$1 uid=$2 gid=$3
shift 3
mount -t tmpfs -o mode=0755,size=1m millrace "$staging"
while [ "$1" != "--" ]; do
  if [ -d "$1" ]; then mkdir "$staging/$2"; else : > "$staging/$2"; fi
  mount --rbind "$1" "$staging/$2"
  shift 2
done
shift
exec setpriv --reuid "$uid" --regid "$gid" --clear-groups --no-new-privs -- "$@"
"#;

/// Where the shim is mounted.
pub(crate) const SHIM: &str = "/.millrace-shim";

/// The command to start, and the directory it needs until it has ended.
pub(crate) fn build(
    config: &Config,
    shim: &Path,
    spec: &CommandSpec,
    lent: &Lent,
) -> Result<(Command, Scratch), SandboxError> {
    check(config, spec)?;
    let support = support_files(&config.scratch)?;
    let mut sources = Sources::new(support.path(), lent.run_as());
    let bwrap = bwrap_arguments(config, shim, spec, lent, support.path(), &mut sources)?;
    let mut command = match lent.run_as() {
        None => Command::new(&config.bwrap),
        Some(RunAs { uid, gid }) => {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private", "--", "/bin/sh", "-eu", "-c"]);
            command.args([STAGE, "stage"]).arg(support.path().join("mounts"));
            command.args([uid.to_string(), gid.to_string()]);
            for (number, source) in sources.staged.iter().enumerate() {
                command.arg(source).arg(number.to_string());
            }
            command.arg("--").arg(&config.bwrap);
            command
        }
    };
    command.args(bwrap).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    pipes(&mut command, Mode::Bubblewrap);
    Ok((command, support))
}

/// What a command is connected to. Without bubblewrap its standard input is what ends it when we are gone, and
/// killing its attendant would leave it behind.
pub(crate) fn pipes(command: &mut Command, mode: Mode) {
    let (input, kill) = match mode {
        Mode::Bubblewrap => (Stdio::null(), true),
        Mode::Shim => (Stdio::piped(), false),
    };
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(kill);
}

fn bwrap_arguments(
    config: &Config,
    shim: &Path,
    spec: &CommandSpec,
    lent: &Lent,
    support: &Path,
    sources: &mut Sources,
) -> Result<Vec<OsString>, SandboxError> {
    let mut line = Line::default();
    // --disable-userns needs the explicit --unshare-user; without --cap-drop a root caller keeps every capability.
    line.add(["--unshare-user", "--unshare-all", "--disable-userns"]);
    line.add(["--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]);
    line.add(["--die-with-parent", "--new-session", "--as-pid-1"]);
    line.add(["--hostname", "sandbox", "--clearenv"]);
    line.add(["--ro-bind", "/usr", "/usr"]);
    for name in ["/bin", "/sbin", "/lib", "/lib32", "/lib64"] {
        match fs::read_link(name) {
            Ok(target) => line.add([OsString::from("--symlink"), target.into(), name.into()]),
            Err(_) => line.add(["--ro-bind-try", name, name]),
        }
    }
    line.add(["--proc", "/proc", "--dev", "/dev"]);
    line.add(["--size", SHARED_MEMORY_BYTES, "--tmpfs", "/dev/shm"]);
    line.add(["--remount-ro", "/dev"]);
    line.add(["--size", &config.tmp_bytes.to_string(), "--tmpfs", "/tmp"]);
    for (name, _) in ETC {
        line.bind("--ro-bind", support.join(name), Path::new("/etc").join(name));
    }
    for path in ["/etc/alternatives", "/etc/ld.so.cache"] {
        line.add(["--ro-bind-try", path, path]);
    }
    for path in config.read_only.iter().chain(&spec.read_only) {
        check_mount(path)?;
        line.bind("--ro-bind", sources.reach(path), path.clone());
    }
    for Mount { from, to, writable } in &spec.mounts {
        check_mount(from)?;
        check_mount_point(to)?;
        line.bind(if *writable { "--bind" } else { "--ro-bind" }, sources.reach(from), to.clone());
    }
    if let Some(socket) = &spec.egress {
        line.bind("--bind", sources.reach(socket), PathBuf::from(SOCKET));
    }
    line.bind("--ro-bind", sources.reach(shim), PathBuf::from(SHIM));
    let workspace = sources.reach(lent.root());
    line.bind("--bind", workspace.clone(), PathBuf::from(WORKSPACE));
    let git = Path::new(WORKSPACE).join(".git");
    line.bind("--ro-bind", workspace.join(".git"), git);
    line.add(["--remount-ro", "/"]);
    line.add([OsString::from("--chdir"), Path::new(WORKSPACE).join(&spec.cwd).into()]);
    for (name, value) in ENVIRONMENT {
        line.add(["--setenv", name, value]);
    }
    line.add([OsString::from("--setenv"), "PATH".into(), search_path(&config.path)]);
    for (name, value) in config.env.iter().chain(&spec.env) {
        line.add(["--setenv", name, value]);
    }
    line.add(["--", SHIM, ASKED, "confine", &orders(config, spec).to_json()?]);
    line.add(["/bin/sh", "-c", INIT, STARTED, &spec.command]);
    Ok(line.arguments)
}

/// What the shim does once everything is mounted: the mounts say what can be seen, Landlock once more what can
/// be written.
fn orders(config: &Config, spec: &CommandSpec) -> Orders {
    let mut write: Vec<PathBuf> = [WORKSPACE, "/tmp", "/dev"].map(PathBuf::from).into();
    write.extend(spec.mounts.iter().filter(|mount| mount.writable).map(|mount| mount.to.clone()));
    Orders {
        cpu_seconds: spec.limits.cpu_seconds,
        memory_bytes: spec.limits.memory_bytes,
        processes: spec.limits.processes,
        file_size_bytes: spec.limits.file_size_bytes,
        open_files: OPEN_FILES,
        write,
        read: vec![PathBuf::from("/")],
        landlock: Landlock::AsFarAsPossible,
        sockets: if config.loopback || spec.egress.is_some() { Sockets::Loopback } else { Sockets::Unix },
        bridge: spec.egress.is_some(),
    }
}

/// The names of all variables that a command has, as far as we give them; its shells add a few.
pub(crate) fn variables(config: &Config, spec: &CommandSpec) -> Vec<String> {
    let ours = ENVIRONMENT.iter().map(|(name, _)| *name).chain([
        "PATH",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "TMPDIR",
        "GIT_DIR",
        "GIT_WORK_TREE",
    ]);
    let given = config.env.keys().chain(spec.env.keys()).cloned();
    ours.map(str::to_owned).chain(given).collect()
}

pub(crate) fn search_path(first: &[PathBuf]) -> OsString {
    let mut path = OsString::new();
    for directory in first {
        path.push(directory);
        path.push(":");
    }
    path.push(PATH);
    path
}

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

const SHARED_MEMORY_BYTES: &str = "67108864";

pub(crate) const ENVIRONMENT: [(&str, &str); 7] = [
    ("HOME", "/tmp"),
    ("LANG", "C.UTF-8"),
    // `.git` is read-only and may belong to somebody else; reading it must work all the same.
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_COUNT", "1"),
    ("GIT_CONFIG_KEY_0", "safe.directory"),
    ("GIT_CONFIG_VALUE_0", "*"),
];

const ETC: [(&str, &str); 4] = [
    (
        "passwd",
        "root:x:0:0::/:/usr/sbin/nologin\nsandbox:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n",
    ),
    ("group", "root:x:0:\nsandbox:x:1000:\nnogroup:x:65534:\n"),
    ("hosts", "127.0.0.1 localhost sandbox\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
];

/// The few files of the sandbox's `/etc`, and the mount point of the staging area.
fn support_files(scratch: &Path) -> Result<Scratch, SandboxError> {
    let create = || {
        let directory = Scratch::create(scratch)?;
        fs::create_dir(directory.path().join("mounts"))?;
        // A mode given at creation passes through the umask; this one does not.
        fs::set_permissions(directory.path().join("mounts"), fs::Permissions::from_mode(0o755))?;
        for (name, text) in ETC {
            let file = directory.path().join(name);
            fs::write(&file, text)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
        }
        Ok(directory)
    };
    create().map_err(|source| SandboxError::io("preparing the sandbox's /etc below", scratch, source))
}

pub(crate) fn check(config: &Config, spec: &CommandSpec) -> Result<(), SandboxError> {
    if !spec.cwd.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        let shown = spec.cwd.display();
        return Err(SandboxError::refused(format!(
            "working directory `{shown}` is not a plain path inside the workspace"
        )));
    }
    for (name, value) in config.env.iter().chain(&spec.env) {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(SandboxError::refused(format!(
                "environment variable `{}` has an impossible name or value",
                name.escape_debug()
            )));
        }
    }
    if spec.command.contains('\0') {
        return Err(SandboxError::refused("the command contains a NUL byte"));
    }
    Ok(())
}

fn check_mount(path: &Path) -> Result<(), SandboxError> {
    let plain = path.is_absolute()
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let own = ["/proc", "/sys", "/dev", WORKSPACE];
    if !plain || path == Path::new("/") || own.iter().any(|prefix| path.starts_with(prefix)) {
        let shown = path.display();
        return Err(SandboxError::refused(format!(
            "read-only mount `{shown}` must be an absolute path outside {}",
            own.join(", ")
        )));
    }
    if !path.exists() {
        let shown = path.display();
        return Err(SandboxError::refused(format!("read-only mount `{shown}` does not exist")));
    }
    Ok(())
}

fn check_mount_point(path: &Path) -> Result<(), SandboxError> {
    let plain = path.is_absolute() && path.parent().is_some();
    let own = ["/proc", "/sys", "/dev", "/usr", "/etc", "/tmp", WORKSPACE, SHIM];
    if plain && !own.iter().any(|prefix| path.starts_with(prefix)) {
        return Ok(());
    }
    let shown = path.display();
    Err(SandboxError::refused(format!(
        "mount point `{shown}` must be absolute and outside {}",
        own.join(", ")
    )))
}

/// Where bubblewrap finds what it mounts: the path itself, or its place in the staging area.
struct Sources {
    staging: Option<PathBuf>,
    staged: Vec<PathBuf>,
}

impl Sources {
    fn new(support: &Path, run_as: Option<RunAs>) -> Self {
        Self { staging: run_as.map(|_| support.join("mounts")), staged: Vec::new() }
    }

    fn reach(&mut self, path: &Path) -> PathBuf {
        let Some(staging) = &self.staging else {
            return path.to_owned();
        };
        let place = staging.join(self.staged.len().to_string());
        self.staged.push(path.to_owned());
        place
    }
}

#[derive(Default)]
struct Line {
    arguments: Vec<OsString>,
}

impl Line {
    fn add(&mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) {
        self.arguments.extend(arguments.into_iter().map(Into::into));
    }

    fn bind(&mut self, how: &str, from: PathBuf, to: PathBuf) {
        self.add([OsString::from(how), from.into(), to.into()]);
    }
}
