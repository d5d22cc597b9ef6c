//! Commands that do not stop by themselves, or take all they can get.

use std::fs;
use std::path::Path;
use std::time::Duration;

use millrace_sandbox::{Config, Exit, Limits};
use tokio_util::sync::CancellationToken;

use crate::support::{Workspace, alive, config, run, sandbox, sandbox_with, text};

const MIB: u64 = 1024 * 1024;

/// A length of sleep that no other process on the machine asks for.
fn mark(number: u32) -> String {
    format!("{}.{number:03}", 100_000 + std::process::id())
}

/// Starts processes in every way that could outlive their parent, then says so in the workspace.
fn brood(mark: &str) -> String {
    format!(
        "sleep {mark} & (sleep {mark} &) ; setsid sleep {mark} & \
         setsid sh -c 'exec >/dev/null 2>&1; trap \"\" TERM HUP; sleep {mark} & sleep {mark}' & \
         : > ready; exec sleep {mark}"
    )
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

async fn exists(path: &Path) {
    until(|| path.exists()).await;
}

#[tokio::test]
async fn a_time_out_kills_every_descendant() {
    let workspace = Workspace::new();
    let mark = mark(1);
    let mut spec = workspace.spec(&brood(&mark));
    spec.limits.wall_clock = Duration::from_secs(2);
    let finished = run(&spec).await;
    assert_eq!(finished.exit, Exit::TimedOut);
    assert!(workspace.path().join("ready").exists(), "they were all started");
    assert!(!alive(&mark), "and none is left when run returns");
}

#[tokio::test]
async fn cancelling_kills_every_descendant() {
    let workspace = Workspace::new();
    let mark = mark(2);
    let spec = workspace.spec(&brood(&mark));
    let cancel = CancellationToken::new();
    let ready = workspace.path().join("ready");
    let (finished, ()) = tokio::join!(sandbox().await.run(&spec, &cancel), async {
        exists(&ready).await;
        assert!(alive(&mark));
        cancel.cancel();
    });
    assert_eq!(finished.unwrap().exit, Exit::Cancelled);
    assert!(!alive(&mark));
}

#[tokio::test]
async fn dropping_the_run_kills_every_descendant_and_gives_the_workspace_back() {
    let workspace = Workspace::new();
    let mark = mark(3);
    let spec = workspace.spec(&brood(&mark));
    let ready = workspace.path().join("ready");
    let cancel = CancellationToken::new();
    tokio::select! {
        _ = sandbox().await.run(&spec, &cancel) => panic!("the command never ends by itself"),
        () = exists(&ready) => {}
    }
    until(|| !alive(&mark)).await;
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(workspace.outer()).unwrap().uid();
    assert_eq!(fs::metadata(workspace.path()).unwrap().uid(), owner);
}

#[tokio::test]
async fn a_daemon_does_not_outlive_its_command() {
    let workspace = Workspace::new();
    let mark = mark(4);
    let command = format!("setsid sleep {mark} >/dev/null 2>&1 & echo left behind");
    let finished = run(&workspace.spec(&command)).await;
    assert_eq!((finished.exit, text(&finished)), (Exit::Code(0), "left behind\n".to_owned()));
    assert!(!alive(&mark));
}

#[tokio::test]
async fn closing_the_output_does_not_end_the_watch() {
    let workspace = Workspace::new();
    let mut spec = workspace.spec(&format!("exec >/dev/null 2>&1; exec sleep {}", mark(5)));
    spec.limits.wall_clock = Duration::from_secs(1);
    assert_eq!(run(&spec).await.exit, Exit::TimedOut);
}

#[tokio::test]
async fn a_fork_bomb_stays_in_its_sandbox() {
    let (bombed, other) = (Workspace::new(), Workspace::new());
    let mut bomb = bombed.spec(
        ": > ready; bash -c 'bomb() { bomb | bomb & }; bomb; wait; while :; do bomb; done' 2>/dev/null",
    );
    bomb.limits = Limits { wall_clock: Duration::from_secs(60), processes: 64, ..Limits::default() };
    let cancel = CancellationToken::new();
    let ready = bombed.path().join("ready");
    let (finished, ()) = tokio::join!(sandbox().await.run(&bomb, &cancel), async {
        exists(&ready).await;
        // Another sandbox under the same identity still has its own full share of processes.
        let many = "for n in $(seq 40); do sleep 60 & done; echo forty";
        assert_eq!(text(&run(&other.spec(many)).await), "forty\n");
        assert!(std::process::Command::new("true").status().unwrap().success());
    });
    assert_eq!(finished.unwrap().exit, Exit::ProcessesExceeded);
}

/// However a command takes all the processes it may have, and however it ends after that.
#[tokio::test]
async fn a_command_that_takes_all_processes_is_told_so() {
    let commands = [
        "while :; do sleep 1000 & done",
        "i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done; exit 0",
        "f(){ f|f& };f; wait; sleep 5",
        "exec python3 -c '\
import os, time
while True:
    try:
        if os.fork() == 0: time.sleep(1000)
    except BlockingIOError: pass'",
        "exec python3 -c '\
import threading, time
while True:
    try: threading.Thread(target=time.sleep, args=(1000,)).start()
    except RuntimeError: time.sleep(1000)'",
    ];
    for command in commands {
        let workspace = Workspace::new();
        let mut spec = workspace.spec(command);
        spec.limits = Limits { wall_clock: Duration::from_secs(60), processes: 64, ..Limits::default() };
        assert_eq!(run(&spec).await.exit, Exit::ProcessesExceeded, "{command}");
    }
}

#[tokio::test]
async fn a_command_below_its_bounds_ends_by_itself() {
    let workspace = Workspace::new();
    let mut spec = workspace.spec("for n in $(seq 40); do sleep 60 & done; exit 3");
    spec.limits.processes = 64;
    assert_eq!(run(&spec).await.exit, Exit::Code(3));
    spec.command = "echo out of memory; seq 9; exit 3".to_owned();
    assert_eq!(run(&spec).await.exit, Exit::Code(3), "only the last words count");
}

#[tokio::test]
async fn the_process_limit_is_exact_about_whom_it_counts() {
    let workspace = Workspace::new();
    let mut spec = workspace.spec("for n in $(seq 40); do sleep 60 & done; echo forty");
    spec.limits.processes = 20;
    let finished = run(&spec).await;
    assert!(!text(&finished).contains("forty"), "{}", text(&finished));
    assert_eq!(finished.exit, Exit::ProcessesExceeded);
}

#[tokio::test]
async fn endless_output_is_cut_and_killed() {
    let workspace = Workspace::new();
    let mut spec = workspace.spec("yes");
    spec.limits.output_bytes = 10_000;
    let finished = run(&spec).await;
    assert_eq!(finished.exit, Exit::OutputExceeded);
    assert!(finished.truncated);
    assert_eq!(finished.output, b"y\n".repeat(5_000));
    spec.command = "head -c 10000 /dev/zero".to_owned();
    let fits = run(&spec).await;
    assert_eq!((fits.exit, fits.truncated, fits.output.len()), (Exit::Code(0), false, 10_000));
}

#[tokio::test]
async fn one_large_file_is_refused_by_the_kernel() {
    let workspace = Workspace::new();
    let mut spec = workspace.spec("head -c 20000000 /dev/zero > large");
    spec.limits.file_size_bytes = MIB;
    assert_ne!(run(&spec).await.exit, Exit::Code(0));
    assert_eq!(fs::metadata(workspace.path().join("large")).unwrap().len(), MIB);
}

#[tokio::test]
async fn a_command_that_fills_the_disk_is_killed() {
    let workspace = Workspace::new();
    let fills = [
        "n=0; while :; do head -c 1000000 /dev/zero > file$n; n=$((n+1)); done",
        "exec 3> gone; rm gone; n=0; while :; do head -c 1000000 /dev/zero >&3; done",
        "n=0; while :; do mkdir -p d$n/e/f; n=$((n+1)); done",
        "head -c 30000000 /dev/zero > hidden; mkdir -p d/e; mv hidden d/e; chmod 0 d/e d; while :; do sleep 1; done",
    ];
    for fill in fills {
        let mut spec = workspace.spec(fill);
        spec.limits.disk_bytes = 20 * MIB;
        assert_eq!(run(&spec).await.exit, Exit::DiskExceeded, "{fill}");
        for entry in fs::read_dir(workspace.path()).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.file_name().is_some_and(|name| name == ".git") {
                continue;
            }
            if path.is_dir() {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
                let _ = fs::set_permissions(path.join("e"), fs::Permissions::from_mode(0o700));
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn temporary_files_are_bounded_too() {
    let workspace = Workspace::new();
    let command = "for d in /tmp /dev/shm; do df -k --output=size $d | tail -1; done";
    let sizes = text(&run(&workspace.spec(command)).await);
    let sizes: Vec<u64> = sizes.lines().map(|line| line.trim().parse().unwrap()).collect();
    assert_eq!(sizes, [512 * 1024, 64 * 1024]);
}

#[tokio::test]
async fn ten_gigabytes_of_memory_are_not_to_be_had() {
    let workspace = Workspace::new();
    let command = "dd if=/dev/zero of=/dev/null bs=10G count=1";
    let finished = run(&workspace.spec(command)).await;
    assert_eq!(finished.exit, Exit::MemoryExceeded);
    assert!(text(&finished).contains("memory exhausted"), "{}", text(&finished));
    let at_once = "exec python3 -c 'x = b\"x\" * (64 << 30)'";
    let bit_by_bit = "exec python3 -c 'x = []\nwhile True: x.append(b\"x\" * 100000)'".replace("\\n", "\n");
    for command in [at_once, &bit_by_bit] {
        let mut spec = workspace.spec(command);
        spec.limits.memory_bytes = 300 * MIB;
        let finished = run(&spec).await;
        assert_eq!(finished.exit, Exit::MemoryExceeded, "{command}: {}", text(&finished));
    }
}

/// A program that says nothing when it is refused memory, but held nearly all of it.
#[tokio::test]
async fn a_failure_close_to_the_memory_bound_is_one_of_memory() {
    let workspace = Workspace::new();
    let command = "exec python3 -c '\
import time
held = b\"x\" * (280 << 20)
time.sleep(1)
raise SystemExit(3)'";
    let mut spec = workspace.spec(command);
    spec.limits.memory_bytes = 300 * MIB;
    let finished = run(&spec).await;
    assert_eq!(finished.exit, Exit::MemoryExceeded, "{}", text(&finished));
}

#[tokio::test]
async fn memory_is_bounded_over_all_processes_together() {
    let workspace = Workspace::new();
    let hold = "head -c 60000000 /dev/zero | tail -c 60000000 | { sleep 60; cat >/dev/null; }";
    let mut spec = workspace.spec(&format!("({hold}) & ({hold}) & ({hold}) & ({hold}) & wait"));
    spec.limits.memory_bytes = 150 * MIB;
    assert_eq!(run(&spec).await.exit, Exit::MemoryExceeded);
}

/// Files in a `/tmp` that lives in memory belong to no process: only a control group counts them.
#[tokio::test]
async fn f24_memory_that_no_process_holds_is_bounded_where_groups_can_be_made() {
    let workspace = Workspace::new();
    let mut spec =
        workspace.spec("cat /proc/self/cgroup; head -c 200000000 /dev/zero > /tmp/large && echo kept");
    spec.limits.memory_bytes = 100 * MIB;
    let finished = run(&spec).await;
    if sandbox().await.bounded_by_groups() == "nothing" {
        return;
    }
    assert_eq!(finished.exit, Exit::MemoryExceeded, "{}", text(&finished));
    assert!(!text(&finished).contains("kept"), "{}", text(&finished));
    // And without groups it is not noticed, which is why they are used.
    let without = Config { cgroups: false, ..config() };
    let finished = sandbox_with(without).await.run(&spec, &CancellationToken::new()).await.unwrap();
    assert_eq!(finished.exit, Exit::Code(0), "{}", text(&finished));
}

#[tokio::test]
async fn processor_time_is_bounded() {
    let workspace = Workspace::new();
    let mut spec = workspace.spec("while :; do :; done");
    spec.limits.cpu_seconds = 1;
    assert_eq!(run(&spec).await.exit, Exit::Signal(9));
}
