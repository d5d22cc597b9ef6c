//! Ends a child process even when the test process itself is killed, where `Drop` never runs.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A shell that waits on a pipe held by this process. A line through the pipe means that the child was
/// ended properly; the pipe's end means that this process is gone: the shell then ends the child and
/// removes its folder.
#[derive(Debug)]
pub(crate) struct Reaper(Child);

const SCRIPT: &str = r#"
trap '' INT TERM HUP
if read -r _; then exit 0; fi
kill -s "$2" "$1" 2>/dev/null
tries=0
while kill -0 "$1" 2>/dev/null && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.05; done
rm -rf -- "$3"
"#;

impl Reaper {
    /// Watches over process `pid`; `signal` (a name as for kill) ends it, `folder` is its own.
    pub(crate) fn watch(pid: u32, signal: &str, folder: &Path) -> Self {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "reaper", &pid.to_string(), signal])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start a shell");
        Self(shell)
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            let _ = pipe.write_all(b"ended\n");
        }
        let _ = self.0.wait();
    }
}
