//! Which version another program has.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// How long any program may take to say its version.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How much of an answer that makes no sense is shown, in characters.
const MAX_SHOWN: usize = 80;

/// Runs `<program> --version`: the first two numbers of what it prints, and the text around them.
pub(crate) async fn version(program: &Path) -> Result<((u32, u32), String), String> {
    let name = program.display();
    let run = Command::new(program).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match timeout(ANSWER_WITHIN, run).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("{name} cannot be run: {error}")),
        Err(_) => return Err(format!("{name} does not answer within {} s", ANSWER_WITHIN.as_secs())),
    };
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match numbers(&text) {
        Some(found) => Ok((found, text)),
        None => {
            let shown: String = text.lines().next().unwrap_or_default().chars().take(MAX_SHOWN).collect();
            Err(format!("{name} does not say its version but `{shown}`"))
        }
    }
}

/// The first `<number>.<number>` in a text.
fn numbers(text: &str) -> Option<(u32, u32)> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
        let mut parts = word.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for (text, found) in [
            ("nats-server: v2.15.1", (2, 15)),
            ("git version 2.39.5 (Apple Git-154)", (2, 39)),
            ("Python 3.11.2", (3, 11)),
        ] {
            assert_eq!(numbers(text), Some(found), "{text}");
        }
        assert_eq!(numbers("no version here"), None);
    }

    #[tokio::test]
    async fn a_program_that_prints_nonsense_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("nats-server");
        // Written by another process: a file that this one has open for writing cannot be run.
        let write = "printf '#!/bin/sh\necho hello\n' >\"$0\" && chmod 755 \"$0\"";
        let written = std::process::Command::new("sh").arg("-c").arg(write).arg(&program).status().unwrap();
        assert!(written.success());
        let problem = version(&program).await.unwrap_err();
        assert!(problem.contains("does not say its version but `hello`"), "{problem}");
    }
}
