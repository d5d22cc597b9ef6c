//! A proved sandbox and a workspace with a `.git` in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use millrace_sandbox::{CommandSpec, Config, Finished, Sandbox};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

pub(crate) const HOOK: &str = "#!/bin/sh\nexit 0\n";

/// Below a directory that only its owner may enter, as a home folder is.
pub(crate) struct Workspace {
    outer: TempDir,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let workspace = Self { outer };
        fs::create_dir_all(workspace.path().join(".git/hooks")).unwrap();
        fs::write(workspace.path().join(".git/config"), "[core]\n").unwrap();
        fs::write(workspace.path().join(".git/hooks/pre-commit"), HOOK).unwrap();
        workspace
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.outer.path().join("checkout")
    }

    pub(crate) fn outer(&self) -> &Path {
        self.outer.path()
    }

    pub(crate) fn spec(&self, command: &str) -> CommandSpec {
        CommandSpec::new(command, self.path())
    }
}

/// The defaults, with the shim that was built beside the tests.
pub(crate) fn config() -> Config {
    Config { shim: Some(PathBuf::from(env!("CARGO_BIN_EXE_millrace-sandbox-shim"))), ..Config::default() }
}

/// The sandbox, proved once per test run.
pub(crate) async fn sandbox() -> &'static Sandbox {
    static PROVED: OnceCell<Sandbox> = OnceCell::const_new();
    PROVED.get_or_init(|| async { Sandbox::probe(config()).await.unwrap() }).await
}

/// A sandbox of the test's own.
pub(crate) async fn sandbox_with(config: Config) -> Sandbox {
    Sandbox::probe(config).await.unwrap()
}

pub(crate) async fn run(spec: &CommandSpec) -> Finished {
    sandbox().await.run(spec, &CancellationToken::new()).await.unwrap()
}

pub(crate) fn text(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.output).into_owned()
}

/// Whether any process on this machine has `mark` in its command line.
pub(crate) fn alive(mark: &str) -> bool {
    fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|entry| {
        let is_process = entry.file_name().to_string_lossy().parse::<u32>().is_ok();
        is_process
            && fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(mark))
    })
}
