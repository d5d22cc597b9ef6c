//! `doctor`: everything that Millrace needs on this machine, really tried, with the fix for what is missing.

use std::path::Path;

use millrace_rpc::client;
use millrace_runtime::launch;
use millrace_sandbox::{Config, Mode, Sandbox};
use millrace_worker::WorkerConfig;
use serde_json::json;

use crate::cli::{Doctor, Global};
use crate::connection::address;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone, printable};
use crate::program::version;

/// `git merge-tree --write-tree` came with it.
const GIT_FLOOR: (u32, u32) = (2, 38);
/// The example's application uses nothing newer.
const PYTHON_FLOOR: (u32, u32) = (3, 8);
/// Streams, ledger and releases of a day of development fit in.
const MIN_FREE_BYTES: u64 = 1 << 30;

/// What was found.
struct Finding {
    name: &'static str,
    /// What is there, or what is wrong.
    found: Result<String, String>,
    /// What to do when it is wrong.
    fix: String,
}

impl Finding {
    fn new(name: &'static str, found: Result<String, String>, fix: impl Into<String>) -> Self {
        Self { name, found, fix: fix.into() }
    }
}

/// Tries everything. Exit code 1 when something is missing.
pub(super) async fn run(global: &Global, arguments: &Doctor, output: &Output) -> Result<Exit, Failure> {
    let findings = [
        nats_server().await,
        sandbox(arguments).await,
        program("git", GIT_FLOOR, "Install git 2.38 or newer from your distribution.").await,
        program("python3", PYTHON_FLOOR, "Install python3; only the example's application needs it.").await,
        configuration(arguments),
        server(global).await?,
        disk(),
    ];
    let healthy = findings.iter().all(|finding| finding.found.is_ok());
    if output.is_json() {
        let checks: Vec<_> = findings.iter().map(as_json).collect();
        output.json(&json!({ "ok": healthy, "checks": checks }));
    } else {
        findings.iter().for_each(|finding| draw(finding, output));
    }
    Ok(if healthy { Exit::Ok } else { Exit::Unsuccessful })
}

fn as_json(finding: &Finding) -> serde_json::Value {
    match &finding.found {
        Ok(found) => json!({ "name": finding.name, "ok": true, "found": found }),
        Err(problem) => json!({ "name": finding.name, "ok": false, "problem": problem, "fix": finding.fix }),
    }
}

fn draw(finding: &Finding, output: &Output) {
    match &finding.found {
        Ok(found) => {
            output.line(format!(
                "{}    {:<14}{}",
                output.paint(Tone::Good, "ok"),
                finding.name,
                printable(found)
            ));
        }
        Err(problem) => {
            let mark = output.paint(Tone::Bad, "wrong");
            output.line(format!("{mark} {:<14}{}", finding.name, printable(problem)));
            output.line(format!("      {:<14}fix: {}", "", printable(&finding.fix)));
        }
    }
}

/// The server that `millrace dev` would start.
async fn nats_server() -> Finding {
    match crate::dev::find_nats_server().await {
        Ok((path, version)) => Finding::new("nats-server", Ok(format!("{version} ({})", path.display())), ""),
        Err(failure) => Finding::new("nats-server", Err(failure.message), failure.advice),
    }
}

/// Builds a real sandbox as the worker here would, and proves each of its denials.
async fn sandbox(arguments: &Doctor) -> Finding {
    let source = launch::Arguments { config: arguments.config.clone(), print_config: false };
    // A configuration that cannot be used has a finding of its own.
    let configured = launch::load(&source).ok().and_then(|settings| {
        WorkerConfig::read(&settings).ok().map(|config| config.sandbox_config(&settings))
    });
    let config = Config { remember: None, ..configured.unwrap_or_default() };
    let what = match config.mode {
        Mode::Bubblewrap => "bubblewrap works",
        Mode::Shim => "the shim alone works",
    };
    match Sandbox::probe(config).await {
        Ok(sandbox) => {
            let groups = sandbox.bounded_by_groups();
            Finding::new(
                "sandbox",
                Ok(format!("{what}, every denial proved; control groups bound {groups}")),
                "",
            )
        }
        Err(unavailable) => Finding::new("sandbox", Err(unavailable.reason), unavailable.fix),
    }
}

async fn program(name: &'static str, floor: (u32, u32), fix: &str) -> Finding {
    let found = match version(Path::new(name)).await {
        Ok((found, text)) if found >= floor => Ok(text),
        Ok((_, text)) => Err(format!("{text} is too old: {}.{} or newer is needed", floor.0, floor.1)),
        Err(problem) => Err(problem),
    };
    Finding::new(name, found, fix)
}

fn configuration(arguments: &Doctor) -> Finding {
    let fix = "Correct the file or the variable that is named; docs/configuration.md lists every key.";
    let source = launch::Arguments { config: arguments.config.clone(), print_config: false };
    let from = match &arguments.config {
        Some(file) => format!("{} and the environment", file.display()),
        None => "defaults and the environment".to_owned(),
    };
    let found =
        launch::load(&source).map(|_| format!("{from} can be used")).map_err(|error| error.to_string());
    Finding::new("configuration", found, fix)
}

/// The port of the query service: free, or held by a Millrace that answers.
async fn server(global: &Global) -> Result<Finding, Failure> {
    let address = address(global)?;
    if client::connect(&address).await.is_ok() {
        return Ok(Finding::new("query port", Ok(format!("{address} answers")), ""));
    }
    let authority = address.rsplit("://").next().unwrap_or(&address).trim_end_matches('/').to_owned();
    let found = match tokio::net::TcpListener::bind(&authority).await {
        Ok(_) => Ok(format!("{authority} is free")),
        Err(error) => Err(format!("{authority} can be neither reached nor used: {error}")),
    };
    let fix =
        "End what holds the port, or choose another with `millrace dev --listen` or MILLRACE_QUERY_LISTEN.";
    Ok(Finding::new("query port", found, fix))
}

fn disk() -> Finding {
    let found = rustix::fs::statvfs(".")
        .map_err(|error| format!("the free space here cannot be read: {error}"))
        .and_then(|stat| {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let text = format!("{:.1} GiB free here", free as f64 / f64::from(1_u32 << 30));
            if free >= MIN_FREE_BYTES { Ok(text) } else { Err(format!("{text}, at least 1 GiB is needed")) }
        });
    Finding::new("disk", found, "Free some space, or work in another folder.")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_missing_or_too_old_is_a_problem_with_a_fix() {
        let missing = program("no-such-program-of-millrace", (1, 0), "Install it.").await;
        assert!(missing.found.unwrap_err().contains("cannot be run"));
        let old = program("git", (99, 0), "Install it.").await;
        assert!(old.found.unwrap_err().contains("too old"));
        assert_eq!(old.fix, "Install it.");
    }
}
