//! The self-test at start: it refuses when a tool is missing, and when any denial is not in force.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use millrace_sandbox::{Config, RunAs, Sandbox, SandboxUnavailable};
use tempfile::TempDir;

use crate::support::config;

/// A program that stands in for bubblewrap, where every user can reach it.
fn stand_in(script: &str) -> (TempDir, Config) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("bwrap");
    fs::write(&program, format!("#!/bin/bash\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let config = Config { bwrap: program, ..config() };
    (directory, config)
}

async fn refusal(config: Config) -> SandboxUnavailable {
    let refusal = Sandbox::probe(config).await.unwrap_err();
    assert!(!refusal.fix.is_empty() && !refusal.to_string().contains('\n'), "{refusal}");
    refusal
}

#[tokio::test]
async fn this_machine_proves_every_denial() {
    Sandbox::probe(config()).await.unwrap();
}

#[tokio::test]
async fn a_missing_bubblewrap_is_refused_with_the_package_to_install() {
    let refusal = refusal(Config { bwrap: PathBuf::from("/nonexistent/bwrap"), ..config() }).await;
    assert!(refusal.reason.contains("/nonexistent/bwrap was not found"), "{refusal}");
    assert_eq!(refusal.fix, "apt-get install bubblewrap");
}

#[tokio::test]
async fn a_bubblewrap_that_always_fails_is_refused() {
    let (_directory, config) = stand_in("exit 1");
    assert!(refusal(config).await.reason.contains("--version failed"));
}

#[tokio::test]
async fn a_bubblewrap_that_is_too_old_is_refused() {
    let (_directory, config) = stand_in("echo bubblewrap 0.4.1");
    assert!(refusal(config).await.reason.contains("version 0.4"));
}

#[tokio::test]
async fn a_machine_without_user_namespaces_is_named_with_its_fix() {
    for (message, fix) in [
        (
            "bwrap: No permissions to create new namespace, likely because the kernel does not allow it",
            "unprivileged_userns_clone",
        ),
        ("bwrap: setting up uid map: Permission denied", "AppArmor"),
        ("bwrap: Creating new namespace failed: No space left on device", "max_user_namespaces"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "masks /proc"),
    ] {
        let script =
            format!("[ \"$1\" = --version ] && exec bwrap --version\necho \"{message}\" >&2; exit 1");
        let (_directory, config) = stand_in(&script);
        let refusal = refusal(config).await;
        assert!(refusal.reason.contains(message), "{refusal}");
        assert!(refusal.fix.contains(fix), "{refusal}");
    }
}

#[tokio::test]
async fn a_bubblewrap_that_runs_commands_bare_is_refused() {
    let bare = "[ \"$1\" = --version ] && exec bwrap --version\n\
        while [ \"$1\" != -- ]; do shift; done; shift 5; exec \"$@\"";
    let (_directory, config) = stand_in(bare);
    let refusal = refusal(config).await;
    assert!(refusal.reason.contains("self-test"), "{refusal}");
}

#[tokio::test]
async fn each_denial_that_is_switched_off_is_found() {
    // (how the arguments are spoiled, what the refusal must name)
    let spoiled = [
        ("s/^--unshare-all$/--unshare-pid\\n--unshare-ipc\\n--unshare-uts/", "the network is not separate"),
        ("s/^--unshare-all$/--unshare-pid\\n--unshare-net\\n--unshare-uts/", "shared memory is not separate"),
        ("s/\"sockets\":\"unix\"/\"sockets\":\"loopback\"/", "a UDP socket"),
        // Everything between bubblewrap and the command's shell.
        ("/^--$/,$ { /^--$/!d }", "no system call is filtered"),
        ("s/^--ro-bind$/--bind/", "write access to"),
        ("/^\\/workspace\\/.git$/s/.*/\\/workspace\\/git/", "write access to .git"),
        ("s/^--remount-ro$/--dir/", "write access to /"),
        ("s/^--cap-drop$/--cap-add/", "keeps capabilities"),
        ("s/\"processes\":16,/\"processes\":1000,/", "more than 16 processes"),
        ("s/^--bind$/--ro-bind/", "cannot write to its workspace"),
    ];
    for (edit, named) in spoiled {
        let script = format!(
            "[ \"$1\" = --version ] && exec bwrap --version\n\
             before=(); while [ $# -gt 0 ] && [[ \"$1\" != /bin/sh ]]; do before+=(\"$1\"); shift; done\n\
             mapfile -t before < <(printf '%s\\n' \"${{before[@]}}\" | sed -e '{edit}' -e '/^$/d')\n\
             exec bwrap \"${{before[@]}}\" \"$@\""
        );
        let (_directory, config) = stand_in(&script);
        let refusal = Sandbox::probe(config).await.expect_err(edit);
        assert!(refusal.reason.contains(named), "{edit}: {refusal}");
    }
}

#[tokio::test]
async fn commands_as_root_are_refused() {
    let config = Config { run_as: RunAs { uid: 0, gid: 0 }, ..config() };
    assert!(refusal(config).await.reason.contains("run as root"));
}

#[tokio::test]
async fn what_a_killed_process_left_is_swept_away_at_start() {
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let left = scratch.path().join("millrace-sandbox-left");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("lock"), "").unwrap();
    Sandbox::probe(Config { scratch: scratch.path().to_owned(), ..config() }).await.unwrap();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}
