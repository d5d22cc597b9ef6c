//! The proof at start: tools present and new enough, and each denial shown by one short command.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::error::{SandboxError, SandboxUnavailable};
use crate::limits::Limits;
use crate::sandbox::{CommandSpec, Config, Exit, Finished, Mode, Sandbox};
use crate::shim::Targets;
use crate::{profile, toolchain};

/// Proves that this sandbox denies what it promises to deny.
pub(crate) async fn prove(sandbox: &Sandbox) -> Result<(), SandboxUnavailable> {
    let config = sandbox.config();
    if config.run_as.uid == 0 || config.run_as.gid == 0 {
        return Err(unavailable(
            "commands are configured to run as root",
            "set the sandbox's user and group to an unused unprivileged id such as 61000",
        ));
    }
    if config.mode == Mode::Bubblewrap {
        check_bwrap(&config.bwrap).await?;
        for tool in ["/usr/bin/setpriv", "/usr/bin/unshare"] {
            if !Path::new(tool).exists() {
                return Err(unavailable(format!("{tool} is missing"), "apt-get install util-linux"));
            }
        }
    }
    let workspace = trial_workspace(&config.scratch).map_err(|error| {
        unavailable(format!("no trial workspace: {error}"), "make the scratch directory writable")
    })?;
    let bait = Bait::lay(config)
        .map_err(|error| unavailable(format!("no targets for the self-test: {error}"), "see the reason"))?;
    let mut spec = CommandSpec::new(TRIAL, workspace.path());
    spec.limits = Limits { wall_clock: TRIAL_WALL_CLOCK, processes: TRIAL_PROCESSES, ..Limits::default() };
    spec.env = bait.variables(sandbox)?;
    let finished = match sandbox.run(&spec, &CancellationToken::new()).await {
        Ok(finished) => finished,
        Err(error) => return Err(explain(&error)),
    };
    judge(sandbox, &spec, &finished, &workspace)?;
    if bait.was_taken() {
        return Err(not_denied("a command can connect to the worker's host"));
    }
    toolchain::prove(sandbox, &workspace).await
}

/// What is laid out beside the sandbox for the self-test to reach for.
struct Bait {
    tcp: TcpListener,
    unix: UnixListener,
    name: String,
    secrets: Vec<PathBuf>,
    _secret: tempfile::NamedTempFile,
    loopback: bool,
}

impl Bait {
    fn lay(config: &Config) -> std::io::Result<Self> {
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        tcp.set_nonblocking(true)?;
        let secret = tempfile::Builder::new().prefix("millrace-secret-").tempfile_in(&config.scratch)?;
        fs::write(secret.path(), "for the worker alone")?;
        let name = secret.path().display().to_string();
        let unix = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes())?)?;
        unix.set_nonblocking(true)?;
        let secrets = config.secrets.iter().cloned().chain([secret.path().to_owned()]).collect();
        Ok(Self { tcp, unix, name, secrets, _secret: secret, loopback: config.loopback })
    }

    /// Where the shim is, and what it is to try.
    fn variables(&self, sandbox: &Sandbox) -> Result<BTreeMap<String, String>, SandboxUnavailable> {
        let broken =
            |error: &dyn std::fmt::Display| unavailable(format!("no self-test: {error}"), "report it");
        let targets = Targets {
            tcp: self.tcp.local_addr().map_err(|error| broken(&error))?,
            abstract_socket: self.name.clone(),
            process: i32::try_from(std::process::id()).map_err(|error| broken(&error))?,
            process_table: fs::read_link("/proc/self/ns/pid").unwrap_or_default().display().to_string(),
            secrets: self.secrets.clone(),
            loopback: self.loopback,
        };
        let targets = serde_json::to_string(&targets).map_err(|error| broken(&error))?;
        Ok(BTreeMap::from([
            (TRIAL_SHIM.to_owned(), sandbox.shim_inside().display().to_string()),
            (TRIAL_TARGETS.to_owned(), targets),
        ]))
    }

    fn was_taken(&self) -> bool {
        self.tcp.accept().is_ok() || self.unix.accept().is_ok()
    }
}

const TRIAL_SHIM: &str = "TRIAL_SHIM";
const TRIAL_TARGETS: &str = "TRIAL_TARGETS";
const TRIAL_WALL_CLOCK: Duration = Duration::from_secs(20);
const TRIAL_PROCESSES: u64 = 16;
/// As the script says it.
const TRIAL_WANTS: u64 = 64;
const OLDEST_BWRAP: (u64, u64) = (0, 8);

/// Each line says what the command found; `judge` compares. Mount flags are read as well as tried, because a
/// file's owner alone may deny a write today. Subshells keep a refused redirection or fork from ending the
/// script, and the kernel ends the sleepers with the sandbox.
const TRIAL: &str = r#"
"$TRIAL_SHIM" millrace-sandbox-shim attempt "$TRIAL_TARGETS" || echo "got=no report of the attempts"
for ns in net pid ipc uts user mnt; do echo "ns-$ns=$(readlink /proc/self/ns/$ns)"; done
for place in / /usr/ /etc/ /dev/ .git/ .git/hooks/; do
  ( : > "${place}millrace-trial" ) 2>/dev/null && echo "got=write access to $place"
done
while read -r _ _ _ _ place options _; do
  case "$place" in /|/usr|/dev|/etc/passwd|/workspace/.git)
    case "$options" in ro,*) ;; *) echo "got=write access to $place" ;; esac ;;
  esac
done 2>/dev/null < /proc/self/mountinfo
mv .git moved 2>/dev/null && echo "got=write access to .git by renaming"
unshare --user true 2>/dev/null && echo "got=a new user namespace"
unshare --mount true 2>/dev/null && echo "got=a new mount namespace"
mount -t tmpfs none /tmp 2>/dev/null && echo "got=a mount"
( : > in-workspace ) && echo "workspace=writable"
( : > "${TMPDIR:-/tmp}/file" ) && echo "temporary=writable"
echo "end=reached"
( n=0; while [ $n -lt 64 ]; do sleep 20 >/dev/null 2>&1 & n=$((n+1)); : > "started-$n"; done ) 2>/dev/null
"#;

fn judge(
    sandbox: &Sandbox,
    spec: &CommandSpec,
    finished: &Finished,
    workspace: &TempDir,
) -> Result<(), SandboxUnavailable> {
    let text = String::from_utf8_lossy(&finished.output);
    let failed = |what: String| Err(not_denied(what));
    let says = |line: &str| text.lines().any(|said| said == line);
    // The last thing it does is to start processes, and that must be seen.
    let ends = matches!(finished.exit, Exit::Code(_) | Exit::ProcessesExceeded);
    if !says("end=reached") || !ends {
        let last = text.lines().last().unwrap_or("no output").trim();
        return failed(format!("a command does not run to its end ({:?}, {last})", finished.exit));
    }
    for (namespace, what) in sandbox.namespaces() {
        let prefix = format!("ns-{namespace}=");
        let inside = text.lines().find_map(|line| line.strip_prefix(&prefix));
        let outside = fs::read_link(format!("/proc/self/ns/{namespace}")).ok();
        let apart = inside.is_some_and(|inside| {
            !inside.is_empty() && outside.is_some_and(|outside| outside.as_os_str() != inside)
        });
        if !apart {
            return failed(format!("{what} is not separate from the host's"));
        }
    }
    if !says("capabilities=none") {
        return failed("a command keeps capabilities".to_owned());
    }
    if !says("no_new_privs=true") {
        return failed("a command can gain privileges".to_owned());
    }
    if !says("seccomp=true") {
        return failed("no system call is filtered".to_owned());
    }
    if let Some(got) = text.lines().find_map(|line| line.strip_prefix("got=")) {
        return failed(format!("a command gets {got}"));
    }
    let given = profile::variables(sandbox.config(), spec);
    let inherited = text.lines().filter_map(|line| line.strip_prefix("variable="));
    if let Some(name) = inherited.into_iter().find(|name| !given.iter().any(|given| given == name)) {
        return failed(format!("a command gets the worker's variable {name}"));
    }
    if workspace.path().join(".git/hooks/millrace-trial").exists() {
        return failed("a command gets write access to .git/hooks".to_owned());
    }
    if !says("workspace=writable") {
        return failed("a command cannot write to its workspace".to_owned());
    }
    if !says("temporary=writable") {
        return failed("a command cannot write to a temporary directory".to_owned());
    }
    judge_processes(sandbox.config().mode, &text, finished, workspace)
}

fn judge_processes(
    mode: Mode,
    text: &str,
    finished: &Finished,
    workspace: &TempDir,
) -> Result<(), SandboxUnavailable> {
    let was_noticed = finished.exit == Exit::ProcessesExceeded;
    if mode == Mode::Shim {
        // The kernel counts all of the user's processes here, which come and go: either it or the watch must stop
        // the command before it has all that it wants.
        let has_all = workspace.path().join(format!("started-{TRIAL_WANTS}")).exists();
        return if was_noticed || !has_all {
            Ok(())
        } else {
            Err(not_denied(format!(
                "a command can start {TRIAL_WANTS} processes instead of {TRIAL_PROCESSES}"
            )))
        };
    }
    let one_too_many = workspace.path().join(format!("started-{TRIAL_PROCESSES}"));
    // Both the limit as the kernel has it and what came of it: the watch may end the trial before the limit is
    // reached, and then the second alone would prove nothing.
    let limited = format!("processes={TRIAL_PROCESSES}/{TRIAL_PROCESSES}");
    if one_too_many.exists() || !text.lines().any(|line| line == limited) {
        return Err(not_denied(format!("a command can start more than {TRIAL_PROCESSES} processes")));
    }
    if !was_noticed {
        return Err(not_denied("a command that starts all the processes it can is not noticed"));
    }
    Ok(())
}

fn not_denied(what: impl std::fmt::Display) -> SandboxUnavailable {
    unavailable(
        format!("the self-test found that {what}"),
        "use an unmodified bubblewrap 0.8.0 or newer on Linux 5.14 or newer",
    )
}

pub(crate) const NAMESPACES: [(&str, &str); 6] = [
    ("net", "the network"),
    ("pid", "the process table"),
    ("ipc", "shared memory"),
    ("uts", "the host name"),
    ("user", "the user table"),
    ("mnt", "the file system"),
];

fn trial_workspace(scratch: &Path) -> std::io::Result<TempDir> {
    let workspace = tempfile::Builder::new().prefix("millrace-trial-").tempdir_in(scratch)?;
    fs::create_dir_all(workspace.path().join(".git/hooks"))?;
    Ok(workspace)
}

async fn check_bwrap(bwrap: &Path) -> Result<(), SandboxUnavailable> {
    let shown = bwrap.display();
    let mut command = Command::new(bwrap);
    command.arg("--version").kill_on_drop(true).stdin(std::process::Stdio::null());
    let output = match timeout(Duration::from_secs(10), command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(unavailable(format!("{shown} was not found"), INSTALL));
        }
        Ok(Err(error)) => {
            return Err(unavailable(format!("{shown} cannot be started: {error}"), INSTALL));
        }
        Err(_) => return Err(unavailable(format!("{shown} --version does not answer"), INSTALL)),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    match version(&text) {
        Some(found) if found >= OLDEST_BWRAP && output.status.success() => Ok(()),
        Some((major, minor)) if output.status.success() => Err(unavailable(
            format!("{shown} is version {major}.{minor}, and 0.8.0 is the oldest that will do"),
            "upgrade bubblewrap (Debian 12 and Ubuntu 24.04 have a suitable one)",
        )),
        _ => Err(unavailable(format!("{shown} --version failed ({})", output.status), INSTALL)),
    }
}

fn version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.trim().strip_prefix("bubblewrap ")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

const INSTALL: &str = "apt-get install bubblewrap";

/// The known ways in which a machine forbids sandboxes, by what bubblewrap and util-linux write.
const HINTS: [(&str, &str); 8] = [
    (
        "No permissions to create new namespace",
        "sysctl kernel.unprivileged_userns_clone=1 (in a container: allow user namespaces in its seccomp profile)",
    ),
    (
        "Landlock",
        "Linux 6.12 or newer with Landlock switched on (`lsm=landlock,...`) is needed for mode `shim`",
    ),
    (
        "setting up uid map",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give bwrap an AppArmor profile with `userns`",
    ),
    ("No space left on device", "raise sysctl user.max_user_namespaces"),
    (
        "mount proc",
        "the container masks /proc: run it with --security-opt systempaths=unconfined, or use the host",
    ),
    (
        "unshare: unshare failed",
        "run the worker as an unprivileged user; as root it needs CAP_SYS_ADMIN to prepare mounts",
    ),
    (
        "setpriv:",
        "the sandbox's user id must exist in this container's id map: choose another one, or run the worker unprivileged",
    ),
    ("mount: not found", "apt-get install mount"),
];

/// Nothing could restrict a command from inside.
pub(crate) fn no_shim() -> SandboxUnavailable {
    unavailable(
        "no program was found that can be the shim inside the sandbox",
        "set [worker.sandbox] shim to the path of the millrace program",
    )
}

fn explain(error: &SandboxError) -> SandboxUnavailable {
    let reason = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let fix = HINTS
        .iter()
        .find(|(sign, _)| reason.contains(sign))
        .map_or("run `bwrap --unshare-user --ro-bind / / true` by hand; it must succeed", |(_, fix)| *fix);
    unavailable(reason, fix)
}

pub(crate) fn unavailable(reason: impl Into<String>, fix: impl Into<String>) -> SandboxUnavailable {
    SandboxUnavailable { reason: reason.into(), fix: fix.into() }
}
