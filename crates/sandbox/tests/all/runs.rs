//! What an honest command gets.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use millrace_sandbox::{Exit, SandboxError};
use tokio_util::sync::CancellationToken;

use crate::support::{Workspace, run, sandbox, text};

#[tokio::test]
async fn a_command_reads_writes_and_reports_both_streams_in_order() {
    let workspace = Workspace::new();
    fs::create_dir(workspace.path().join("src")).unwrap();
    fs::write(workspace.path().join("src/in"), "given").unwrap();
    let mut spec = workspace.spec("cat in; echo; echo second >&2; echo third; echo made > out");
    spec.cwd = PathBuf::from("src");
    let finished = run(&spec).await;
    assert_eq!(finished.exit, Exit::Code(0), "{}", text(&finished));
    assert_eq!(text(&finished), "given\nsecond\nthird\n");
    assert!(!finished.truncated);
    let out = workspace.path().join("src/out");
    assert_eq!(fs::read_to_string(&out).unwrap(), "made\n");
    let owner = fs::metadata(workspace.outer()).unwrap().uid();
    assert_eq!(fs::metadata(&out).unwrap().uid(), owner, "the workspace is given back");
    assert_eq!(fs::metadata(workspace.path()).unwrap().uid(), owner);
}

#[tokio::test]
async fn exit_codes_and_signals_are_reported() {
    let workspace = Workspace::new();
    assert_eq!(run(&workspace.spec("exit 7")).await.exit, Exit::Code(7));
    assert_eq!(run(&workspace.spec("no-such-program")).await.exit, Exit::Code(127));
    assert_eq!(run(&workspace.spec("kill -TERM $$")).await.exit, Exit::Signal(15));
}

#[tokio::test]
async fn the_environment_is_clean_but_for_what_was_asked() {
    let workspace = Workspace::new();
    let mut spec = workspace.spec("env | cut -d= -f1 | sort | tr '\\n' ' '");
    spec.env.insert("ASKED_FOR".to_owned(), "with spaces and 'quotes'".to_owned());
    let names = text(&run(&spec).await);
    assert_eq!(
        names.trim(),
        "ASKED_FOR GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_NOSYSTEM GIT_CONFIG_VALUE_0 \
         GIT_OPTIONAL_LOCKS HOME LANG PATH PWD"
    );
    spec.command = "printf %s \"$ASKED_FOR\"".to_owned();
    assert_eq!(text(&run(&spec).await), "with spaces and 'quotes'");
}

#[tokio::test]
async fn git_reads_the_repository_that_it_cannot_change() {
    let workspace = Workspace::new();
    fs::remove_dir_all(workspace.path().join(".git")).unwrap();
    let init =
        tokio::process::Command::new("git").args(["init", "-q", "-b", "main"]).arg(workspace.path()).status();
    assert!(init.await.unwrap().success());
    let finished = run(&workspace.spec("echo x > new; git status --short")).await;
    assert_eq!(text(&finished), "?? new\n");
}

#[tokio::test]
async fn a_toolchain_outside_usr_is_visible_and_read_only() {
    let workspace = Workspace::new();
    let tool = workspace.outer().join("toolchain");
    fs::create_dir(&tool).unwrap();
    fs::write(tool.join("version"), "1.95").unwrap();
    let mut spec = workspace.spec(&format!("cat {0}/version; echo x > {0}/version", tool.display()));
    spec.read_only.push(tool.clone());
    let finished = run(&spec).await;
    assert!(text(&finished).starts_with("1.95"), "{}", text(&finished));
    assert!(text(&finished).contains("Read-only file system"), "{}", text(&finished));
    assert_eq!(fs::read_to_string(tool.join("version")).unwrap(), "1.95");
}

#[tokio::test]
async fn a_missing_git_directory_cannot_be_planted() {
    let workspace = Workspace::new();
    fs::remove_dir_all(workspace.path().join(".git")).unwrap();
    let finished = run(&workspace.spec("mkdir -p .git/hooks || git init -q . || echo denied")).await;
    assert!(text(&finished).contains("denied"), "{}", text(&finished));
    assert!(!workspace.path().join(".git").exists());
}

#[tokio::test]
async fn impossible_requests_are_refused_before_anything_starts() {
    let workspace = Workspace::new();
    let refused = async |change: fn(&mut millrace_sandbox::CommandSpec)| {
        let mut spec = workspace.spec("touch ran");
        change(&mut spec);
        let error = sandbox().await.run(&spec, &CancellationToken::new()).await.unwrap_err();
        assert!(!workspace.path().join("ran").exists());
        assert!(matches!(error, SandboxError::Refused { .. }), "{error}");
        error.to_string()
    };
    let cwd = refused(|spec| spec.cwd = PathBuf::from("../..")).await;
    assert!(cwd.contains("../.."), "{cwd}");
    let mount = refused(|spec| spec.read_only.push(PathBuf::from("/"))).await;
    assert!(mount.contains("absolute path"), "{mount}");
    let missing = refused(|spec| spec.read_only.push(PathBuf::from("/no/such/place"))).await;
    assert!(missing.contains("does not exist"), "{missing}");
    let name = refused(|spec| drop(spec.env.insert("A=B".to_owned(), String::new()))).await;
    assert!(name.contains("A=B"), "{name}");
    refused(|spec| spec.command.push('\0')).await;
}

#[tokio::test]
async fn a_git_directory_that_is_a_link_is_refused() {
    let workspace = Workspace::new();
    let git = workspace.path().join(".git");
    fs::rename(&git, workspace.outer().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", &git).unwrap();
    let spec = workspace.spec("true");
    let error = sandbox().await.run(&spec, &CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert!(Path::new(&git).is_symlink());
}
