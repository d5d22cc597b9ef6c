//! Bad input: each kind has its own code and sentence, and nothing is lost.

use std::sync::Arc;

use millrace_events::Code;
use millrace_events::v1::TaskRef;
use millrace_worker::{SandboxConfig, WorkerConfig};

use crate::support::{Counting, Scripted, World, git, greeting, plan, sandbox};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sandbox_every_order_is_refused_and_nothing_runs() {
    let mut world = World::new();
    let mark = world.folder.path().join("ran-bare");
    let command = format!("['touch {}']", mark.display());
    world.schedule(&world.change_order(&greeting(&command)).await).await;
    let sandbox = SandboxConfig { bwrap: "/nonexistent/bwrap".into(), ..sandbox() };
    world.start_as(WorkerConfig { sandbox, ..world.config("w1") });
    let (_, failure) = world.failed(Code::SandboxUnavailable).await;
    assert!(failure.message.contains("to fix it"), "{}", failure.message);
    assert!(!failure.context["fix"].is_empty());
    assert!(!mark.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_command_shows_the_end_of_its_output() {
    let mut world = World::new();
    let command = "['echo first; echo the reason >&2; exit 3', 'touch never']";
    world.schedule(&world.change_order(&greeting(command)).await).await;
    world.start("w1");
    let (event, failure) = world.failed(Code::CommandFailed).await;
    assert!(failure.message.ends_with("ended with exit code 3: the reason"), "{}", failure.message);
    assert_eq!(failure.context["exit_code"], "3");
    assert_eq!((failure.source.as_str(), failure.stage.as_str()), ("worker", "executing"));
    let log = event.evidence.iter().find(|blob| blob.name == "build_output.log").unwrap();
    let log = world.text(log).await;
    assert!(log.contains("first\nthe reason\n") && !log.contains("never"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reach_neither_network_nor_hooks_nor_environment() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}), 2)'");
    for (command, says) in [
        ("mkdir -p .git/hooks && echo x > .git/hooks/pre-commit", "Read-only file system"),
        ("echo x >> .git/config", "cannot create .git/config"),
        (connect.as_str(), "Address family not supported"),
        ("test -n \"$CARGO_MANIFEST_DIR\"", ""),
    ] {
        let mut world = World::new();
        let command = serde_json::json!([command]).to_string();
        world.schedule(&world.change_order(&greeting(&command)).await).await;
        world.start("w1");
        let (_, failure) = world.failed(Code::CommandFailed).await;
        assert!(failure.context["output_tail"].contains(says), "{failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_beyond_its_limits_is_named_with_the_limit() {
    let limits = SandboxConfig {
        output_bytes: 64 * 1024,
        disk_bytes: 8 * 1024 * 1024,
        command_limit: "2s".to_owned(),
        ..sandbox()
    };
    for (command, says) in [
        ("yes", "its output passed 65536 bytes"),
        ("i=0; while :; do head -c 1000000 /dev/zero > f$i; i=$((i+1)); done", "to the disk"),
        ("sleep 60", "it was killed after 2 s"),
    ] {
        let mut world = World::new();
        world.schedule(&world.change_order(&greeting(&format!("['{command}']"))).await).await;
        world.start_as(WorkerConfig { sandbox: limits.clone(), ..world.config("w1") });
        let (_, failure) = world.failed(Code::SandboxViolation).await;
        assert!(failure.message.contains(says), "{}", failure.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_inside_the_change_is_refused() {
    let mut world = World::new();
    // Without `git commit`, which the rules for commands refuse before this is looked at.
    let command = "['mkdir inner && cd inner && git init -q . && tree=$(git mktree </dev/null) && \
        made=$(git -c user.name=a -c user.email=a@b commit-tree $tree -m x) && \
        echo $made > .git/$(cut -c6- .git/HEAD)']";
    world.schedule(&world.change_order(&greeting(command)).await).await;
    world.start("w1");
    let (_, failure) = world.failed(Code::SandboxViolation).await;
    assert!(failure.message.contains("`inner`"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_that_do_not_fit_or_escape_are_refused_before_any_command() {
    for (edit, says) in [
        ("{path: greeting.txt, action: replace, find: nowhere, replace: x}", "occurs 0 times"),
        ("{path: docs, action: delete}", "there is no such file"),
        ("{path: link/x, action: write, content: x}", "symbolic link"),
    ] {
        let mut world = World::new();
        let copy = tempfile::tempdir().unwrap();
        git(copy.path(), &["clone", "--quiet", &world.repository().display().to_string(), "."]);
        std::os::unix::fs::symlink("/tmp", copy.path().join("link")).unwrap();
        git(copy.path(), &["add", "link"]);
        git(copy.path(), &["commit", "--quiet", "-m", "link"]);
        git(copy.path(), &["push", "--quiet", "origin", "HEAD:main"]);
        world.base = git(copy.path(), &["rev-parse", "HEAD"]);
        let change = format!(
            "edits: [{edit}]\ncommands: ['true']\ndry_run: false\npr_required: true\nrollback_commands: []"
        );
        world.schedule(&world.change_order(&plan(&change)).await).await;
        let commands = Arc::new(Counting::default());
        let models = millrace_worker::adapters::Models::configured(None, true, 3).unwrap();
        world.start_with("w1", commands.clone(), models);
        let (_, failure) = world.failed(Code::ContractViolation).await;
        assert!(failure.message.contains(says), "{}", failure.message);
        assert_eq!(commands.commands.load(std::sync::atomic::Ordering::SeqCst), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_is_not_the_locked_one_is_not_worked_on() {
    let mut world = World::new();
    let mut order = world.change_order(&greeting("[]")).await;
    order.task.as_mut().unwrap().spec_checksum = "0".repeat(64);
    world.schedule(&order).await;
    let model = Scripted::new(&["never asked"]);
    world.start_with("w1", Arc::new(Counting::default()), model.models());
    world.failed(Code::SpecChecksumMismatch).await;
    assert!(model.asked.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switched_off_recipe_is_no_model() {
    let mut world = World::new();
    world.schedule(&world.change_order(&greeting("[]")).await).await;
    world.start_as(WorkerConfig { recipe: false, ..world.config("w1") });
    let (_, failure) = world.failed(Code::ModelUnavailable).await;
    assert!(failure.message.contains("[worker] recipe"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_cannot_be_read_is_named() {
    let mut world = World::new();
    let mut order = world.change_order(&greeting("[]")).await;
    order.task = Some(TaskRef { base_commit: "a".repeat(40), ..order.task.unwrap() });
    world.schedule(&order).await;
    world.start("w1");
    let (_, failure) = world.failed(Code::RepositoryUnavailable).await;
    assert!(failure.message.contains("is not on branch `main` of repository demo"), "{}", failure.message);

    let mut world = World::new();
    world.schedule(&world.change_order(&greeting("[]")).await).await;
    std::fs::remove_dir_all(world.repository()).unwrap();
    world.start("w1");
    world.failed(Code::RepositoryUnavailable).await;
}
