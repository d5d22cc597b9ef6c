//! `mode = "shim"`: the same promises without namespaces, as far as they can be kept. The tests run as whom they
//! are run; as root, commands become an unprivileged user, and so does the bystander that they try to reach.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use millrace_sandbox::{CommandSpec, Config, Exit, Finished, Mode, RunAs, Sandbox};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::support::{HOOK, alive, config, text};

/// Not whom other tests run as: without a user namespace the kernel counts all of a user's processes together.
const RUN_AS: RunAs = RunAs { uid: 61_007, gid: 61_007 };

fn shim_alone() -> Config {
    Config { mode: Mode::Shim, run_as: RUN_AS, ..config() }
}

async fn sandbox() -> &'static Sandbox {
    static PROVED: OnceCell<Sandbox> = OnceCell::const_new();
    PROVED.get_or_init(|| async { Sandbox::probe(shim_alone()).await.unwrap() }).await
}

/// A workspace that the other user can reach, as a pod's volume is.
struct Workspace {
    outer: TempDir,
}

impl Workspace {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let workspace = Self { outer };
        fs::create_dir_all(workspace.path().join(".git/hooks")).unwrap();
        fs::write(workspace.path().join(".git/hooks/pre-commit"), HOOK).unwrap();
        workspace
    }

    fn path(&self) -> PathBuf {
        self.outer.path().join("checkout")
    }

    async fn run(&self, command: &str) -> Finished {
        let spec = CommandSpec::new(command, self.path());
        sandbox().await.run(&spec, &CancellationToken::new()).await.unwrap()
    }
}

/// A process of the same user as the commands', with a secret in its environment.
struct Bystander(Child);

impl Bystander {
    fn start(mark: &str) -> Self {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("/bin/sleep");
        command.arg("1000").env("SECRET", mark).current_dir("/");
        if rustix_is_root() {
            command.uid(RUN_AS.uid).gid(RUN_AS.gid);
        }
        Self(command.spawn().unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn rustix_is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[tokio::test]
async fn s4_imp_29_the_shim_alone_proves_its_denials() {
    let finished = Workspace::new().run("echo out; echo err >&2; echo x > file; pwd; exit 3").await;
    assert_eq!(finished.exit, Exit::Code(3));
    assert!(text(&finished).starts_with("out\nerr\n"), "{}", text(&finished));
}

#[tokio::test]
async fn s4_imp_29_without_namespaces_other_processes_of_the_user_are_out_of_reach() {
    let bystander = Bystander::start("the-secret");
    let pid = bystander.0.id();
    let environ = format!("/proc/{pid}/environ");
    // There is something to take.
    until(|| fs::read_to_string(&environ).is_ok_and(|text| text.contains("the-secret"))).await;
    let command = format!(
        "kill -0 {pid} && echo signalled; kill -9 {pid} && echo killed; cat {environ} /proc/{pid}/cmdline; \
         ls /proc/{pid}/; perl -e 'syscall(101, 16, {pid}, 0, 0) == 0 and print \"traced\"'; cat /proc/self/environ; \
         echo end"
    );
    let finished = Workspace::new().run(&command).await;
    let seen = text(&finished);
    assert!(seen.ends_with("end\n"), "{seen}");
    for taken in ["signalled", "killed", "the-secret", "traced", "1000\0"] {
        assert!(!seen.contains(taken), "{taken}: {seen}");
    }
}

#[tokio::test]
async fn s4_imp_29_without_namespaces_nothing_outside_is_written_or_read() {
    let workspace = Workspace::new();
    let secret = workspace.outer.path().join("secret");
    fs::write(&secret, "credential").unwrap();
    // Even what the user owns: this is what the worker's own files look like in a pod.
    if rustix_is_root() {
        chown(&secret, Some(RUN_AS.uid), Some(RUN_AS.gid)).unwrap();
    }
    let command = format!(
        "cat {0}; (echo x > {0}); ln -s {0} link; cat link; (: > /tmp/escaped-{1}) && echo wrote; \
         (: > /dev/shm/escaped-{1}) && echo wrote; cat /etc/shadow; ls /home /root /run /var; \
         : > $TMPDIR/mine && echo temporary; echo end",
        secret.display(),
        std::process::id()
    );
    let finished = workspace.run(&command).await;
    let seen = text(&finished);
    assert!(seen.contains("temporary\nend\n"), "{seen}");
    assert!(!seen.contains("wrote") && !seen.contains("credential"), "{seen}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "credential");
}

#[tokio::test]
async fn s4_imp_29_without_namespaces_there_is_no_socket() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let command = format!(
        "bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}' && echo connected; \
         perl -e 'use Socket; for my $f (1, 2, 10, 16, 17) {{ socket(my $s, $f, 2, 0) and print \"socket $f\" }}'; \
         unshare --user true && echo namespace; mount -t tmpfs none $TMPDIR && echo mounted; echo end"
    );
    let finished = Workspace::new().run(&command).await;
    let seen = text(&finished);
    assert!(seen.ends_with("end\n"), "{seen}");
    for got in ["connected", "socket 1", "socket 2", "namespace", "mounted"] {
        assert!(!seen.lines().any(|line| line.starts_with(got)), "{got}: {seen}");
    }
    assert!(listener.accept().is_err(), "nobody came");
}

#[tokio::test]
async fn s4_imp_29_without_mounts_git_is_out_of_the_workspace_for_the_time() {
    let workspace = Workspace::new();
    let command = "mkdir -p .git/hooks && echo evil > .git/hooks/pre-commit; \
        echo evil > \"$GIT_DIR/hooks/pre-commit\"; mv \"$GIT_DIR\" taken; cat \"$GIT_DIR/hooks/pre-commit\"";
    let finished = workspace.run(command).await;
    assert!(text(&finished).contains("exit 0"), "it can be read: {}", text(&finished));
    let hooks = workspace.path().join(".git/hooks");
    assert_eq!(fs::read_to_string(hooks.join("pre-commit")).unwrap(), HOOK);
    assert_eq!(fs::read_dir(&hooks).unwrap().count(), 1);
    assert!(!workspace.path().join("taken").exists());
}

#[tokio::test]
async fn f24_without_a_process_table_of_its_own_nothing_is_left_behind_either() {
    let mark = format!("{}.777", 200_000 + std::process::id());
    let brood = format!(
        "sleep {mark} & (sleep {mark} &) ; setsid sleep {mark} & setsid sh -c 'trap \"\" TERM HUP; sleep {mark}' & "
    );
    // It ends by itself.
    let finished = Workspace::new().run(&format!("{brood} exit 0")).await;
    assert_eq!(finished.exit, Exit::Code(0));
    assert!(!alive(&mark));
    // It is killed at its limit.
    let workspace = Workspace::new();
    let mut spec = CommandSpec::new(format!("{brood} : > ready; exec sleep {mark}"), workspace.path());
    spec.limits.wall_clock = Duration::from_secs(2);
    let finished = sandbox().await.run(&spec, &CancellationToken::new()).await.unwrap();
    assert_eq!(finished.exit, Exit::TimedOut);
    assert!(workspace.path().join("ready").exists() && !alive(&mark));
    // Its run is dropped, as when the worker dies: then the kernel closes the same pipe.
    fs::remove_file(workspace.path().join("ready")).unwrap();
    spec.limits.wall_clock = Duration::from_secs(600);
    let cancel = CancellationToken::new();
    let ready = workspace.path().join("ready");
    tokio::select! {
        _ = sandbox().await.run(&spec, &cancel) => panic!("it never ends by itself"),
        () = until(|| ready.exists()) => {}
    }
    until(|| !alive(&mark)).await;
}

async fn until(what: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(30), async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("within its bound");
}

#[tokio::test]
async fn f24_a_fork_bomb_without_a_process_table_of_its_own_is_ended() {
    let workspace = Workspace::new();
    let mut spec = CommandSpec::new(
        "bash -c 'bomb() { bomb | bomb & }; bomb; wait' 2>/dev/null; sleep 60",
        workspace.path(),
    );
    spec.limits.processes = 64;
    let finished = sandbox().await.run(&spec, &CancellationToken::new()).await.unwrap();
    assert_eq!(finished.exit, Exit::ProcessesExceeded);
}

/// The attendant shares the command's memory group, so the kernel may choose it; then the group is what ends the rest.
#[tokio::test]
async fn f24_a_command_that_lost_its_attendant_is_ended_with_its_group() {
    if sandbox().await.bounded_by_groups() == "nothing" {
        return;
    }
    let mark = format!("{}.778", 200_000 + std::process::id());
    let workspace = Workspace::new();
    let spec = CommandSpec::new(format!("sleep {mark} & : > ready; exec sleep {mark}"), workspace.path());
    let ready = workspace.path().join("ready");
    let cancel = CancellationToken::new();
    let (ended, ()) = tokio::join!(sandbox().await.run(&spec, &cancel), async {
        until(|| ready.exists()).await;
        let attendants = || {
            fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter_map(|entry| {
                let line = fs::read(entry.path().join("cmdline")).ok()?;
                let line = String::from_utf8_lossy(&line).into_owned();
                let pid = entry.file_name().to_str()?.parse::<u32>().ok()?;
                (line.contains("attend") && line.contains(&mark)).then_some(pid)
            })
        };
        for pid in attendants() {
            assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
        }
    });
    drop(ended);
    until(|| !alive(&mark)).await;
}
