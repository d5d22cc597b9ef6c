//! What must work inside: compilers, where the machine has them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millrace_sandbox::{Config, Exit};
use tokio_util::sync::CancellationToken;

use crate::support::{Workspace, config, run, sandbox_with, text};

#[tokio::test]
async fn a_c_program_is_built_and_runs() {
    if !Path::new("/usr/bin/cc").exists() {
        return;
    }
    let workspace = Workspace::new();
    let command = "printf '#include <stdio.h>\\nint main(void){puts(\"built\");return 0;}' > a.c && cc a.c && ./a.out; \
        echo a b | awk '{print $2}'; id -un; getent passwd 1000 | cut -d: -f1";
    let finished = run(&workspace.spec(command)).await;
    assert_eq!(text(&finished), "built\nb\nsandbox\nsandbox\n");
}

/// The toolchain of these very tests, wherever it lies.
fn rust() -> Option<Config> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let sysroot = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let is_outside = !sysroot.starts_with("/usr");
    sysroot.join("bin/rustc").exists().then(|| Config {
        path: vec![sysroot.join("bin")],
        read_only: if is_outside { vec![sysroot] } else { Vec::new() },
        env: BTreeMap::from([("CARGO_HOME".to_owned(), "/tmp/cargo".to_owned())]),
        ..config()
    })
}

#[tokio::test]
async fn a_rust_toolchain_outside_usr_builds_and_is_remembered() {
    let Some(config) = rust() else { return };
    let memory = tempfile::tempdir().unwrap();
    let config = Config { remember: Some(memory.path().join("toolchains")), ..config };
    let remembered = || fs::read_dir(memory.path().join("toolchains")).map_or(0, |entries| entries.count());
    let sandbox = sandbox_with(config.clone()).await;
    assert_eq!(remembered(), 1);
    let written = fs::read_dir(memory.path().join("toolchains")).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read_to_string(&written).unwrap().contains("rust works"));
    let first = fs::metadata(&written).unwrap().modified().unwrap();
    sandbox_with(config.clone()).await;
    assert_eq!(fs::metadata(&written).unwrap().modified().unwrap(), first, "not built again");
    sandbox_with(Config { env: BTreeMap::from([("A".to_owned(), "b".to_owned())]), ..config }).await;
    assert_eq!(remembered(), 2, "another configuration is tried by itself");
    let workspace = Workspace::new();
    fs::create_dir(workspace.path().join("src")).unwrap();
    fs::write(workspace.path().join("Cargo.toml"), "[package]\nname = \"a\"\nedition = \"2024\"\n").unwrap();
    fs::write(workspace.path().join("src/main.rs"), "fn main() { println!(\"built by cargo\"); }").unwrap();
    let spec = workspace.spec("cargo run --offline --quiet");
    let finished = sandbox.run(&spec, &CancellationToken::new()).await.unwrap();
    assert_eq!((finished.exit, text(&finished)), (Exit::Code(0), "built by cargo\n".to_owned()));
}

#[tokio::test]
async fn a_toolchain_that_does_not_work_inside_is_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("cc");
    fs::write(&broken, "#!/bin/sh\necho cc: cannot find crt1.o\nexit 1\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().to_owned();
    let config = Config { path: vec![path.clone()], read_only: vec![path], ..config() };
    let refusal = millrace_sandbox::Sandbox::probe(config).await.unwrap_err();
    assert!(refusal.reason.contains("cannot find crt1.o") && refusal.fix.contains("read_only"), "{refusal}");
}
