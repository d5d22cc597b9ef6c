//! What must work inside: where there is a C compiler or a Rust compiler, it builds a small program that runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::error::SandboxUnavailable;
use crate::limits::Limits;
use crate::probe::unavailable;
use crate::sandbox::{CommandSpec, Exit, Sandbox};

/// Builds and runs with every compiler that a command would find, unless the same compilers did so before with
/// the same configuration.
pub(crate) async fn prove(sandbox: &Sandbox, workspace: &TempDir) -> Result<(), SandboxUnavailable> {
    let remembered = remembered(sandbox);
    if remembered.as_ref().is_some_and(|path| path.exists()) {
        return Ok(());
    }
    let mut spec = CommandSpec::new(TRIAL, workspace.path());
    spec.limits = Limits { wall_clock: WALL_CLOCK, ..Limits::default() };
    let finished = sandbox.run(&spec, &CancellationToken::new()).await.map_err(|error| failed(&error))?;
    let text = String::from_utf8_lossy(&finished.output);
    if finished.exit != Exit::Code(0) {
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no output");
        return Err(failed(&format!("{:?}, {}", finished.exit, last.trim())));
    }
    if let Some(path) = remembered {
        // Without it the next start tries again.
        let _ = path.parent().map(fs::create_dir_all);
        let _ = fs::write(path, text.as_bytes());
    }
    Ok(())
}

const WALL_CLOCK: Duration = Duration::from_secs(60);

const TRIAL: &str = r#"
if command -v cc >/dev/null 2>&1; then
  printf '#include <stdio.h>\nint main(void) { puts("c works"); return 0; }\n' > trial.c
  cc -o trial-c trial.c || exit 1
  ./trial-c || exit 1
fi
if command -v rustc >/dev/null 2>&1; then
  printf 'fn main() { println!("rust works"); }\n' > trial.rs
  rustc -o trial-rust trial.rs || exit 1
  ./trial-rust || exit 1
fi
"#;

fn failed(how: &dyn std::fmt::Display) -> SandboxUnavailable {
    unavailable(
        format!("the self-test found that a toolchain does not work inside: {how}"),
        "name every folder of the toolchain in [worker.sandbox] read_only, and its variables in env",
    )
}

/// Named after everything that the outcome depends on.
fn remembered(sandbox: &Sandbox) -> Option<PathBuf> {
    let folder = sandbox.config().remember.as_ref()?;
    let mut hash = Sha256::new();
    hash.update(format!("{:?} {TRIAL} {}", sandbox.config(), stamp_of(sandbox)));
    hash.update(fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default());
    let name: String = hex::encode(hash.finalize()).chars().take(32).collect();
    Some(folder.join(format!("toolchains-{name}")))
}

/// Which toolchain commands have: where it lies, how large its programs are and when they were written.
pub(crate) fn stamp_of(sandbox: &Sandbox) -> String {
    let config = sandbox.config();
    let usual = ["/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    let programs = config
        .path
        .iter()
        .chain(&usual)
        .flat_map(|directory| PROGRAMS.iter().map(|program| directory.join(program)).collect::<Vec<_>>());
    let stamps: Vec<_> =
        programs.chain(config.read_only.iter().cloned()).filter_map(|path| stamp(&path)).collect();
    format!("{:?} {:?} {stamps:?}", config.path, config.env)
}

/// The programs that decide what a build comes to.
const PROGRAMS: [&str; 8] = ["cc", "c++", "rustc", "cargo", "python3", "node", "go", "java"];

fn stamp(path: &Path) -> Option<(PathBuf, u64, std::time::SystemTime)> {
    let real = path.canonicalize().ok()?;
    let found = fs::metadata(&real).ok()?;
    Some((real, found.len(), found.modified().ok()?))
}
