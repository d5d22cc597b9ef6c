//! Calling git: deadlines, bounds, and an environment of our own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use millrace_forge::{Git, GitError, LOCAL_UPLOAD_PACK};
use tempfile::TempDir;
use tokio::time::Instant;

/// An executable shell script. Another process writes it: a copy of an open descriptor in a child that some
/// other test is just starting would make it "text file busy".
pub(crate) fn script(directory: &Path, name: &str, body: &str) -> PathBuf {
    let file = directory.join(name);
    let mut install = Command::new("install")
        .args(["-m", "755", "/dev/stdin"])
        .arg(&file)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = install.stdin.take().unwrap();
    stdin.write_all(format!("#!/bin/sh\n{body}\n").as_bytes()).unwrap();
    drop(stdin);
    assert!(install.wait().unwrap().success());
    file
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Gone, or only waiting to be reaped.
fn is_dead(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

fn pids(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

const FOREVER: &str = "sleep 1000 & echo $$ $! >pids.tmp; mv pids.tmp pids; wait";

#[tokio::test]
async fn a_deadline_ends_git_and_its_helpers() {
    let directory = TempDir::new().unwrap();
    let git = Git::new()
        .with_binary(script(
            directory.path(),
            "git",
            &format!("cd {}; {FOREVER}", directory.path().display()),
        ))
        .with_deadline(Duration::from_secs(3));
    let error = git.run(["fetch", "origin"]).await.unwrap_err();
    assert!(matches!(&error, GitError::TimedOut { command, .. } if command == "fetch"));
    assert!(error.is_transient());
    let started = pids(&directory.path().join("pids"));
    assert_eq!(started.len(), 2);
    for pid in started {
        until("the process ends", || is_dead(&pid)).await;
    }
}

#[tokio::test]
async fn a_dropped_call_ends_git_and_its_helpers() {
    let directory = TempDir::new().unwrap();
    let git = Git::new().with_binary(script(
        directory.path(),
        "git",
        &format!("cd {}; {FOREVER}", directory.path().display()),
    ));
    let file = directory.path().join("pids");
    tokio::select! {
        _ = git.run(["fetch"]) => panic!("it never ends by itself"),
        () = until("git runs", || file.exists()) => {}
    }
    assert_eq!(pids(&file).len(), 2);
    for pid in pids(&file) {
        until("the process ends", || is_dead(&pid)).await;
    }
}

#[tokio::test]
async fn a_failure_carries_the_end_of_what_git_said() {
    let directory = TempDir::new().unwrap();
    let git = Git::new().with_binary(script(
        directory.path(),
        "git",
        "i=0; while [ $i -lt 2000 ]; do echo noise noise noise >&2; i=$((i+1)); done; echo last >&2; exit 7",
    ));
    let error = git.run(["status"]).await.unwrap_err();
    let GitError::Failed { status, stderr, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(status, 7);
    assert!(stderr.ends_with("last") && stderr.len() <= 8 * 1024);
}

#[tokio::test]
async fn a_missing_git_says_what_to_install() {
    let error = Git::new().with_binary("/nonexistent/git").run(["status"]).await.unwrap_err();
    assert!(matches!(error, GitError::NotFound { .. }));
}

#[tokio::test]
async fn the_environment_is_ours() {
    let directory = TempDir::new().unwrap();
    let git = Git::new().with_binary(script(directory.path(), "git", "env"));
    let seen = git.run(["status"]).await.unwrap().text();
    let names: Vec<&str> =
        seen.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    assert!(seen.contains("GIT_CONFIG_NOSYSTEM=1") && seen.contains("HOME=/nonexistent"));
    assert!(!names.iter().any(|name| name.starts_with("CARGO")), "{names:?}");
}

/// Needs root to give a repository away; anyone else owns all that they can create.
#[tokio::test]
async fn a_repository_of_another_user_can_be_cloned() {
    let directory = TempDir::new().unwrap();
    let git = Git::new().in_directory(directory.path());
    git.run(["init", "-q", "--bare", "other.git"]).await.unwrap();
    let other = directory.path().join("other.git");
    if std::os::unix::fs::chown(&other, Some(12345), Some(12345)).is_err() {
        return;
    }
    git.clone().in_directory(&other).run(["for-each-ref"]).await.unwrap();
    git.run(["clone", "-q", "--upload-pack", LOCAL_UPLOAD_PACK, "other.git", "copy"]).await.unwrap();
}
