//! The proof at start: tools present and new enough, and each denial shown by one short command.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::error::{SandboxError, SandboxUnavailable};
use crate::limits::Limits;
use crate::sandbox::{CommandSpec, Exit, Finished, Sandbox};

/// Proves that this sandbox denies what it promises to deny.
pub(crate) async fn prove(sandbox: &Sandbox) -> Result<(), SandboxUnavailable> {
    let config = sandbox.config();
    if config.run_as.uid == 0 || config.run_as.gid == 0 {
        return Err(unavailable(
            "commands are configured to run as root",
            "set the sandbox's user and group to an unused unprivileged id such as 61000",
        ));
    }
    check_bwrap(&config.bwrap).await?;
    for tool in ["/usr/bin/prlimit", "/usr/bin/setpriv", "/usr/bin/unshare"] {
        if !Path::new(tool).exists() {
            return Err(unavailable(format!("{tool} is missing"), "apt-get install util-linux"));
        }
    }
    let workspace = trial_workspace(&config.scratch).map_err(|error| {
        unavailable(format!("no trial workspace: {error}"), "make the scratch directory writable")
    })?;
    let mut spec = CommandSpec::new(TRIAL, workspace.path());
    spec.limits = Limits { wall_clock: TRIAL_WALL_CLOCK, processes: TRIAL_PROCESSES, ..Limits::default() };
    let finished = match sandbox.run(&spec, &CancellationToken::new()).await {
        Ok(finished) => finished,
        Err(error) => return Err(explain(&error)),
    };
    judge(&finished, &workspace)
}

const TRIAL_WALL_CLOCK: Duration = Duration::from_secs(20);
const TRIAL_PROCESSES: u64 = 16;
const OLDEST_BWRAP: (u64, u64) = (0, 8);

/// Each line says what the command found; `judge` compares. Mount flags are read as well as tried, because a
/// file's owner alone may deny a write today. Subshells keep a refused redirection or fork from ending the
/// script, and the kernel ends the sleepers with the sandbox.
const TRIAL: &str = r#"
for ns in net pid ipc uts user mnt; do echo "ns-$ns=$(readlink /proc/self/ns/$ns)"; done
awk '/^(CapEff|CapPrm|CapBnd|CapAmb|NoNewPrivs):/ { print $1 $2 }' /proc/self/status 2>/dev/null \
  || grep -E '^(CapEff|CapPrm|CapBnd|CapAmb|NoNewPrivs):' /proc/self/status | tr -d '\t'
for place in / /usr/ /etc/ /dev/ .git/ .git/hooks/; do
  ( : > "${place}millrace-trial" ) 2>/dev/null && echo "wrote=$place"
done
while read -r _ _ _ _ place options _; do
  case "$place" in /|/usr|/dev|/etc/passwd|/workspace/.git)
    case "$options" in ro,*) ;; *) echo "wrote=$place" ;; esac ;;
  esac
done < /proc/self/mountinfo
mv .git moved 2>/dev/null && echo "wrote=.git by renaming"
unshare --user true 2>/dev/null && echo "wrote=a new user namespace"
( : > in-workspace ) && echo "workspace=writable"
while read -r what of soft hard _; do
  [ "$what $of" = "Max processes" ] && echo "processes=$soft/$hard"
done < /proc/self/limits
echo "end=reached"
( n=0; while [ $n -lt 64 ]; do sleep 20 >/dev/null 2>&1 & n=$((n+1)); : > "started-$n"; done ) 2>/dev/null
"#;

fn judge(finished: &Finished, workspace: &TempDir) -> Result<(), SandboxUnavailable> {
    let text = String::from_utf8_lossy(&finished.output);
    let failed = |what: String| {
        Err(unavailable(
            format!("the self-test found that {what}"),
            "use an unmodified bubblewrap 0.8.0 or newer on Linux 5.14 or newer",
        ))
    };
    // The last thing it does is to start processes, and that must be seen.
    let ends = matches!(finished.exit, Exit::Code(_) | Exit::ProcessesExceeded);
    if !text.lines().any(|line| line == "end=reached") || !ends {
        let last = text.lines().last().unwrap_or("no output").trim();
        return failed(format!("a command does not run to its end ({:?}, {last})", finished.exit));
    }
    for (namespace, what) in NAMESPACES {
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
    for set in ["CapEff", "CapPrm", "CapBnd", "CapAmb"] {
        if !text.lines().any(|line| line == format!("{set}:0000000000000000")) {
            return failed(format!("a command keeps capabilities ({set})"));
        }
    }
    if !text.lines().any(|line| line == "NoNewPrivs:1") {
        return failed("a command can gain privileges".to_owned());
    }
    if let Some(place) = text.lines().find_map(|line| line.strip_prefix("wrote=")) {
        return failed(format!("a command can change {place}"));
    }
    if workspace.path().join(".git/hooks/millrace-trial").exists() {
        return failed("a command can change .git/hooks".to_owned());
    }
    if !text.lines().any(|line| line == "workspace=writable") {
        return failed("a command cannot write to its workspace".to_owned());
    }
    let one_too_many = workspace.path().join(format!("started-{TRIAL_PROCESSES}"));
    // Both the limit as the kernel has it and what came of it: the watch may end the trial before the limit is
    // reached, and then the second alone would prove nothing.
    let limited = format!("processes={TRIAL_PROCESSES}/{TRIAL_PROCESSES}");
    if one_too_many.exists() || !text.lines().any(|line| line == limited) {
        return failed(format!("a command can start more than {TRIAL_PROCESSES} processes"));
    }
    if finished.exit != Exit::ProcessesExceeded {
        return failed("a command that starts all the processes it can is not noticed".to_owned());
    }
    Ok(())
}

const NAMESPACES: [(&str, &str); 6] = [
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
const HINTS: [(&str, &str); 7] = [
    (
        "No permissions to create new namespace",
        "sysctl kernel.unprivileged_userns_clone=1 (in a container: allow user namespaces in its seccomp profile)",
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

fn unavailable(reason: impl Into<String>, fix: impl Into<String>) -> SandboxUnavailable {
    SandboxUnavailable { reason: reason.into(), fix: fix.into() }
}
