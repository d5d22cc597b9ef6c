//! S4-D8: no credential inside. Everything that a command can read is read, and none of the worker's secrets is in
//! it; what could be pushed anywhere cannot be pushed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use millrace_sandbox::{Config, Exit};
use tokio_util::sync::CancellationToken;

use crate::support::{Workspace, config, run, sandbox_with, text};

/// Looks for a mark in every file that can be read, in every environment, and in every command line.
const SCAN: &str = r#"
import os, sys
mark = os.environ["MA"].encode() + os.environ["RK"].encode()
found = []
for top in ["/"]:
    for folder, folders, files in os.walk(top):
        if folder.startswith(("/usr", "/sys", "/workspace")): folders[:] = []; continue
        for name in files:
            path = os.path.join(folder, name)
            try:
                if os.path.isfile(path) or path.startswith("/proc/"):
                    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                    try:
                        if mark in os.read(fd, 1 << 20): found.append(path)
                    finally: os.close(fd)
            except OSError: pass
print("found:", found)
"#;

#[tokio::test]
async fn s4_d8_no_secret_of_the_worker_is_anywhere_in_its_reach() {
    let workspace = Workspace::new();
    let mark = format!("S3cretOfTheWorker{}", std::process::id());
    // A key file like the worker's: world-readable even, at a place that is not mounted.
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let key = home.path().join("worker.nk");
    fs::write(&key, &mark).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    // A process beside the sandbox that has it in its environment and in its command line.
    let mut holder =
        Command::new("sh").args(["-c", "sleep 100 & wait", &mark]).env("MODEL_KEY", &mark).spawn().unwrap();
    let sandbox = sandbox_with(Config { secrets: vec![key.clone()], ..config() }).await;
    fs::write(workspace.path().join("scan.py"), SCAN).unwrap();
    let mut spec = workspace.spec("python3 scan.py");
    // In two parts, or the scan would find itself.
    let (one, two) = mark.split_at(8);
    spec.env = [("MA", one), ("RK", two)].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let finished = sandbox.run(&spec, &CancellationToken::new()).await.unwrap();
    // The scan finds what is there: a control.
    spec.command = "cat scan.py > /tmp/copy; printf %s \"$MA$RK\" > /tmp/control; python3 scan.py".to_owned();
    let control = sandbox.run(&spec, &CancellationToken::new()).await.unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!((finished.exit, text(&finished)), (Exit::Code(0), "found: []\n".to_owned()));
    assert_eq!(text(&control), "found: ['/tmp/control']\n");
}

#[tokio::test]
async fn s4_d8_a_sandbox_that_shows_a_secret_refuses_to_work() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let key = folder.path().join("worker.nk");
    fs::write(&key, "seed").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let careless =
        Config { read_only: vec![folder.path().to_owned()], secrets: vec![key.clone()], ..config() };
    let refusal = millrace_sandbox::Sandbox::probe(careless).await.unwrap_err();
    assert!(refusal.reason.contains(&format!("the worker's file {}", key.display())), "{refusal}");
}

#[tokio::test]
async fn s4_d8_nothing_can_be_pushed() {
    let workspace = Workspace::new();
    fs::remove_dir_all(workspace.path().join(".git")).unwrap();
    let origin = workspace.outer().join("origin.git");
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "safe.directory=*"]);
        let status = command.args(arguments).current_dir(workspace.path()).status().unwrap();
        assert!(status.success(), "{arguments:?}");
    };
    fs::create_dir_all(workspace.path()).unwrap();
    git(&["init", "-q", "--bare", origin.to_str().unwrap()]);
    git(&["init", "-q", "-b", "main"]);
    git(&["remote", "add", "origin", origin.to_str().unwrap()]);
    fs::write(workspace.path().join("file"), "x").unwrap();
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first"]);
    let attempts = format!(
        "git push origin main; git push file://{0} main; git push https://user:token@192.0.2.1/x.git main; \
         GIT_SSH_COMMAND='ssh -o BatchMode=yes' git push git@192.0.2.1:x.git main; \
         git credential fill </dev/null; git commit --allow-empty -m second; cat ~/.ssh/* ~/.git-credentials",
        origin.display()
    );
    let finished = run(&workspace.spec(&attempts)).await;
    assert_ne!(finished.exit, Exit::Code(0), "{}", text(&finished));
    let refs = Command::new("git").args(["for-each-ref"]).current_dir(&origin).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&refs.stdout), "", "{}", text(&finished));
    git(&["push", "-q", "origin", "main"]);
}

#[tokio::test]
async fn s4_imp_29_links_do_not_lead_out_of_the_workspace() {
    let workspace = Workspace::new();
    let outside = workspace.outer().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    let out = outside.display();
    let command = format!(
        "ln -s {out} link; echo x > link/file; cat link/file; ln -s ../outside near; echo x > near/file; \
         ln -s /proc/1/root/{out} far; cat far/file; ln {out}/file hard; echo end"
    );
    let finished = run(&workspace.spec(&command)).await;
    assert!(
        text(&finished).ends_with("end\n") && !text(&finished).contains("untouched"),
        "{}",
        text(&finished)
    );
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
}
