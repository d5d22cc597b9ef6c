//! The `process` target with real releases in real sandboxes.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use millrace_deployer::adapters::process_target::{KEPT_RELEASES, ProcessTarget};
use millrace_deployer::ports::{Target, TargetError};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::app::{Bench, config, is_verified, roll_out, target};

#[tokio::test]
async fn s2_a9_s2_a10_a_release_serves_and_reports_its_commit() {
    let bench = Bench::new().await;
    let target = bench.target().await;
    let observed = target.observe().await.unwrap();
    assert!(!observed.running && observed.detail.contains("nothing was rolled out"));
    assert_eq!(target.current().await.unwrap(), None);
    let first = bench.release("ok", "ok").await;
    let rolled_out = roll_out(&target, &first).await.unwrap();
    assert_eq!((rolled_out.previous, rolled_out.started), (None, true));
    let observed = target.observe().await.unwrap();
    assert!(is_verified(&observed, &first), "{}", observed.detail);
    let current = target.current().await.unwrap().unwrap();
    assert_eq!(current.commit, first);
    assert_eq!(current.pid, Some(rolled_out.pid));
    let link = std::fs::read_link(bench.root().join("current")).unwrap();
    assert_eq!(link, std::path::Path::new("releases").join(&first));
}

#[tokio::test]
async fn s2_g6b_the_previous_release_comes_back() {
    let bench = Bench::new().await;
    let target = bench.target().await;
    let first = bench.release("ok", "ok").await;
    let second = bench.release("ok", "fine").await;
    let one = roll_out(&target, &first).await.unwrap();
    let two = roll_out(&target, &second).await.unwrap();
    assert_eq!(two.previous.as_ref(), Some(&first));
    assert_ne!(two.pid, one.pid);
    assert_eq!(two.address, one.address, "the port is chosen once");
    assert!(is_verified(&target.observe().await.unwrap(), &second));
    let back = roll_out(&target, &first).await.unwrap();
    assert_eq!(back.previous, Some(second));
    assert!(is_verified(&target.observe().await.unwrap(), &first));
    let link = std::fs::read_link(bench.root().join("current")).unwrap();
    assert!(link.ends_with(&first));
}

#[tokio::test]
async fn rolling_out_what_runs_restarts_nothing() {
    let bench = Bench::new().await;
    let first = bench.release("ok", "ok").await;
    let one = bench.roll_out(&first).await.unwrap();
    let again = bench.roll_out(&first).await.unwrap();
    assert_eq!((again.pid, again.started), (one.pid, false));
}

#[tokio::test]
async fn two_roll_outs_at_once_are_one_start() {
    let bench = Bench::new().await;
    let first = bench.release("ok", "ok").await;
    let (one, two) = tokio::join!(bench.roll_out(&first), bench.roll_out(&first));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.pid, two.pid);
    assert!(one.started != two.started);
}

#[tokio::test]
async fn a_release_outlives_its_target_until_it_is_stopped() {
    let bench = Bench::new().await;
    let first = bench.release("ok", "ok").await;
    let pid = bench.roll_out(&first).await.unwrap().pid;
    let later = bench.target().await;
    assert!(is_verified(&later.observe().await.unwrap(), &first));
    for _ in 0..2 {
        later.stop().await.unwrap();
        assert!(has_ended(pid));
    }
    let observed = later.observe().await.unwrap();
    assert!(!observed.running && !observed.healthy && observed.reported_sha.is_none());
    assert_eq!(later.current().await.unwrap().unwrap().pid, None);
    let again = bench.roll_out(&first).await.unwrap();
    assert!(again.started);
}

/// Not a test by itself: the next one runs it in a process of its own and kills that.
#[tokio::test]
#[ignore = "the deployer that a_killed_deployer_leaves_the_release_running kills"]
async fn a_deployer_to_be_killed() {
    let variable = |name| std::env::var_os(name).unwrap().into_string().unwrap();
    let root = variable("DEPLOYER_ROOT");
    let repository = variable("DEPLOYER_REPOSITORY");
    let target = target(config(root.as_ref()), repository.as_ref()).await;
    let rolled_out = roll_out(&target, &variable("DEPLOYER_COMMIT")).await.unwrap();
    println!("\nrolled out {}", rolled_out.pid);
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_deployer_leaves_the_release_running() {
    let bench = Bench::new().await;
    let first = bench.release("ok", "ok").await;
    let mut deployer = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "--exact"])
        .arg("all::process_target::a_deployer_to_be_killed")
        .env("DEPLOYER_ROOT", bench.root())
        .env("DEPLOYER_REPOSITORY", bench.repository())
        .env("DEPLOYER_COMMIT", &first)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(deployer.stdout.take().unwrap()).lines();
    let pid: i32 =
        lines.map(Result::unwrap).find_map(|line| line.strip_prefix("rolled out ")?.parse().ok()).unwrap();
    let sessions = (stat(stat(pid, 4), 6), stat(i32::try_from(deployer.id()).unwrap(), 6));
    deployer.kill().unwrap();
    deployer.wait().unwrap();
    assert_ne!(sessions.0, sessions.1, "the release has its own session");
    let restarted = bench.target().await;
    assert!(is_verified(&restarted.observe().await.unwrap(), &first));
    let adopted = roll_out(&restarted, &first).await.unwrap();
    assert_eq!((adopted.pid, adopted.started), (pid, false));
    restarted.stop().await.unwrap();
    assert!(has_ended(pid));
}

#[tokio::test]
async fn a_start_command_that_exits_is_told_with_its_status_and_log() {
    let bench = Bench::new().await;
    let good = bench.release("ok", "ok").await;
    let bad = bench.release_of("import sys\nprint('no such table: users', flush=True)\nsys.exit(3)\n").await;
    bench.roll_out(&good).await.unwrap();
    let error = bench.roll_out(&bad).await.unwrap_err();
    let TargetError::StartExited { commit, status, log_tail } = &error else {
        panic!("{error:?}");
    };
    assert_eq!((commit, *status), (&bad, 3));
    assert!(log_tail.contains("no such table: users"), "{log_tail}");
    assert!(!error.is_transient());
    let observed = bench.target().await.observe().await.unwrap();
    assert!(!observed.running);
    assert!(observed.detail.contains("status 3"), "{}", observed.detail);
    let current = bench.target().await.current().await.unwrap().unwrap();
    assert_eq!(current.previous.as_ref(), Some(&good));
    bench.roll_out(&good).await.unwrap();
    let observed = bench.target().await.observe().await.unwrap();
    assert!(is_verified(&observed, &good));
}

#[tokio::test]
async fn s2_b5_another_commit_is_reported_as_it_is() {
    let bench = Bench::new().await;
    let other = "0123456789abcdef0123456789abcdef01234567";
    let lying = bench.release(r#"os.environ["MILLRACE_COMMIT"]"#, &format!("'{other}'")).await;
    bench.roll_out(&lying).await.unwrap();
    let observed = bench.target().await.observe().await.unwrap();
    assert!(observed.running && observed.healthy);
    assert_eq!(observed.reported_sha.as_deref(), Some(other));
    assert!(!is_verified(&observed, &lying));
}

#[tokio::test]
async fn s2_a10_failing_health_is_seen() {
    let bench = Bench::new().await;
    let sick = bench.release(r#"(200, b"ok")"#, r#"(500, b"sick")"#).await;
    bench.roll_out(&sick).await.unwrap();
    let observed = bench.target().await.observe().await.unwrap();
    assert!(observed.running && !observed.healthy);
    assert!(observed.detail.contains("answered 500"), "{}", observed.detail);
}

#[tokio::test]
async fn a_release_is_alone_and_unprivileged() {
    let bench = Bench::new().await;
    let first = bench.release("ok", "ok").await;
    let mut config = bench.config();
    config.env.insert("COLOUR".to_owned(), "red".to_owned());
    let target = target(config, &bench.repository()).await;
    let rolled_out = roll_out(&target, &first).await.unwrap();
    let seen = get(&rolled_out.address, "/seen").await;
    let mut variables: Vec<&str> = seen["env"].as_object().unwrap().keys().map(String::as_str).collect();
    // Set by the shell and by Python themselves.
    variables.retain(|name| !["PWD", "LC_CTYPE"].contains(name));
    assert_eq!(variables, ["COLOUR", "HOST", "MILLRACE_COMMIT", "MILLRACE_RELEASE_DIR", "PATH", "PORT"]);
    assert_eq!(seen["env"]["MILLRACE_COMMIT"], first);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(seen["status"][set], "0000000000000000", "{set}");
    }
    assert_eq!(seen["status"]["NoNewPrivs"], "1");
    assert_eq!(seen["uid"], 65_534);
    assert!(seen["processes"].as_u64().unwrap() <= 4, "own process space");
    assert_eq!(seen["cwd"], serde_json::json!(["app.py"]));
    // Python's name for a read-only file system; a refused permission would be a PermissionError.
    assert_eq!(seen["write_release"], "OSError");
    assert_eq!(seen["write_usr"], "OSError");
    assert_eq!(seen["write_state"], "allowed");
    assert_eq!(seen["write_tmp"], "allowed");
    assert_eq!(seen["read_root"], "FileNotFoundError");
    if rustix::process::geteuid().is_root() {
        let file = std::fs::metadata(bench.root().join("data/x")).unwrap();
        assert_eq!(file.uid(), 65_534, "another user on the machine too");
    }
}

#[tokio::test]
async fn the_last_three_releases_are_kept() {
    let bench = Bench::new().await;
    let mut commits = Vec::new();
    for number in 0..KEPT_RELEASES + 1 {
        let commit = bench.release("ok", &format!("ok{number}")).await;
        bench.roll_out(&commit).await.unwrap();
        commits.push(commit);
    }
    let mut kept: Vec<String> = std::fs::read_dir(bench.root().join("releases"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    commits.remove(0);
    commits.sort();
    assert_eq!(kept, commits);
}

#[tokio::test]
async fn a_log_cannot_grow_for_ever() {
    let bench = Bench::new().await;
    let noisy = bench.release_of("for _ in range(20000):\n    print('x' * 1000)\nprint('the end')\n").await;
    let error = bench.roll_out(&noisy).await.unwrap_err();
    assert!(error.to_string().ends_with("the end"), "{error}");
    let size: u64 = std::fs::read_dir(bench.root().join("logs"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size > 0 && size <= 2 * 8192 * 512 + 16, "{size} of 20 MB");
}

#[tokio::test]
async fn a_number_used_again_is_left_alone() {
    let bench = Bench::new().await;
    let first = bench.release("ok", "ok").await;
    bench.roll_out(&first).await.unwrap();
    bench.target().await.stop().await.unwrap();
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    change_record(&bench, |release| {
        release["process"] = serde_json::json!({
            "pid": stranger.id(), "start_ticks": 1, "boot_id": "another boot"
        });
    });
    let target = bench.target().await;
    assert!(!target.observe().await.unwrap().running);
    target.stop().await.unwrap();
    assert!(roll_out(&target, &first).await.unwrap().started);
    assert!(stranger.try_wait().unwrap().is_none(), "it was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// The record of a deployer that was killed after it noted the new release and before it stopped the old.
#[tokio::test]
async fn a_roll_out_cut_short_is_finished() {
    let bench = Bench::new().await;
    let first = bench.release("ok", "ok").await;
    let second = bench.release("ok", "fine").await;
    let old = bench.roll_out(&first).await.unwrap().pid;
    change_record(&bench, |release| {
        release["replaces"] = release["process"].take();
        release["previous"] = release["commit"].take();
        release["commit"] = second.as_str().into();
        release["generation"] = 2.into();
    });
    assert!(!bench.target().await.observe().await.unwrap().running);
    let new = bench.roll_out(&second).await.unwrap();
    assert_eq!(new.previous, Some(first));
    assert!(has_ended(old));
    let observed = bench.target().await.observe().await.unwrap();
    assert!(is_verified(&observed, &second));
}

#[tokio::test]
async fn a_release_that_dies_later_is_seen_and_started_again() {
    let bench = Bench::new().await;
    let first = bench.release("ok", "ok").await;
    let target = bench.target().await;
    let pid = roll_out(&target, &first).await.unwrap().pid;
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    while target.observe().await.unwrap().running {
        tokio::task::yield_now().await;
    }
    let again = roll_out(&target, &first).await.unwrap();
    assert!(again.started && again.pid != pid);
}

#[tokio::test]
async fn an_address_in_use_is_named_before_anything_starts() {
    let bench = Bench::new().await;
    let first = bench.release("ok", "ok").await;
    let stranger = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = bench.config();
    config.port = stranger.local_addr().unwrap().port();
    let target = target(config, &bench.repository()).await;
    let error = roll_out(&target, &first).await.unwrap_err();
    assert!(matches!(error, TargetError::AddressTaken { .. }), "{error:?}");
    assert!(!target.observe().await.unwrap().running, "the stranger is not asked");
}

#[tokio::test]
async fn a_sandbox_that_cannot_start_runs_nothing() {
    let bench = Bench::new().await;
    let first = bench.release("ok", "ok").await;
    let mut config = bench.config();
    config.read_only_paths.push("/nonexistent/toolchain".into());
    let target = target(config, &bench.repository()).await;
    let error = roll_out(&target, &first).await.unwrap_err();
    assert!(
        matches!(&error, TargetError::SandboxUnavailable { detail } if detail.contains("/nonexistent")),
        "{error:?}"
    );
}

#[tokio::test]
async fn only_a_commit_of_the_forge_is_rolled_out() {
    let bench = Bench::new().await;
    bench.release("ok", "ok").await;
    let target: ProcessTarget = bench.target().await;
    for commit in ["..", "main", &"0".repeat(40)] {
        let error = roll_out(&target, commit).await.unwrap_err();
        assert!(matches!(error, TargetError::Forge(_)), "{commit}: {error:?}");
    }
}

/// A field of `/proc/<pid>/stat`, counted from 1; the program's name must hold no spaces.
fn stat(pid: i32, field: usize) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let value = stat.split(' ').nth(field - 1).unwrap();
    value.parse().unwrap()
}

/// Gone, or only waiting to be reaped.
fn has_ended(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

fn change_record(bench: &Bench, change: impl FnOnce(&mut serde_json::Value)) {
    let path = bench.root().join("target.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut record["release"]);
    std::fs::write(&path, record.to_string()).unwrap();
}

async fn get(address: &str, path: &str) -> serde_json::Value {
    let host = address.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}
