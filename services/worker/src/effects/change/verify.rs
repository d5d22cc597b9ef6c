//! Commands that were run and what came of them: the proof that a change works, or does not.

use millrace_sandbox::{Exit, Finished};
use serde_json::{Value, json};

use super::super::commands::{self, exit_code};
use super::super::evidence::millis;
use super::super::failures::{Step, Stop, brief, last_line, tail};
use super::super::job::Job;
use super::{BUILD_LOG_BYTES, Ground};
use crate::adapters::Checkout;

/// Characters of an output's end that the next round is told.
const TAIL_CHARS: usize = 4_000;

/// What was run in one iteration.
#[derive(Debug, Default)]
pub(super) struct Proof {
    log: Vec<u8>,
    tests: Vec<Value>,
    failed: u64,
    /// What the first failure says.
    objection: Option<String>,
}

/// What is to be run.
pub(super) struct Test<'a> {
    pub(super) name: &'a str,
    pub(super) command: &'a str,
}

impl Proof {
    /// Runs one command. Whether it went well.
    pub(super) async fn run(&mut self, job: &Job<'_>, checkout: &Checkout, test: Test<'_>) -> Step<bool> {
        let finished = commands::run(job, test.command, checkout.root()).await?;
        self.log.extend_from_slice(format!("$ {}\n", test.command).as_bytes());
        self.log.extend_from_slice(&finished.output);
        self.log.extend_from_slice(format!("\n[{:?}]\n", finished.exit).as_bytes());
        self.log.truncate(BUILD_LOG_BYTES);
        let passed = finished.exit == Exit::Code(0);
        let summary = if passed { String::new() } else { self.object(job, &test, &finished) };
        self.tests.push(json!({
            "name": test.name,
            "command": brief(test.command, 1_000),
            "passed": passed,
            "exit_code": exit_code(finished.exit),
            "duration_ms": millis(finished.duration),
            "summary": summary,
        }));
        self.failed += u64::from(!passed);
        Ok(passed)
    }

    fn object(&mut self, job: &Job<'_>, test: &Test<'_>, finished: &Finished) -> String {
        let bound = job.bench.commands.bound(finished);
        let says = bound.unwrap_or_else(|| last_line(&finished.output));
        let output = tail(&finished.output, TAIL_CHARS);
        let shown = brief(test.command, 1_000);
        self.objection.get_or_insert(format!(
            "`{}` failed: `{shown}` ended with {:?}\n{output}",
            test.name, finished.exit
        ));
        says
    }

    /// `test_results.json`.
    pub(super) fn results(&self) -> Value {
        let total = self.tests.len() as u64;
        json!({
            "total": total, "passed": total.saturating_sub(self.failed), "failed": self.failed, "tests": self.tests,
        })
    }

    /// `build_output.log`.
    pub(super) fn log(&self) -> Vec<u8> {
        if self.log.is_empty() { b"Nothing was run.\n".to_vec() } else { self.log.clone() }
    }

    /// How much of what was run passed, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a handful of commands")]
    pub(super) fn passed(&self) -> f64 {
        let total = self.tests.len() as f64;
        if self.tests.is_empty() { 1.0 } else { (total - self.failed as f64) / total }
    }

    /// What the first failure says.
    pub(super) fn objection(&self) -> Option<&str> {
        self.objection.as_deref()
    }

    /// What was run, for a review.
    pub(super) fn told(&self) -> String {
        format!("{:#}\n{}", self.results(), tail(&self.log, TAIL_CHARS))
    }
}

/// The change as it was committed, and nothing else, in a folder of its own: what commands have left beside it
/// proves nothing.
pub(super) async fn clean_copy(ground: &Ground<'_>, branch: &str, head: &str, round: u32) -> Step<Checkout> {
    let job = ground.job;
    let root = job.folder.join(format!("verify-{round}"));
    let location = ground.checkout.root().display().to_string();
    let failed = |error: &crate::adapters::CheckoutError| -> Stop { job.git(error, "the copy to verify in") };
    let copy = Checkout::create(root, &location, job.cancel.clone()).await.map_err(|error| failed(&error))?;
    copy.fetch(branch).await.map_err(|error| failed(&error))?;
    // Dependencies are those of the base: what a model has changed is never set up with a network.
    copy.switch_to(&job.task.base_commit).await.map_err(|error| failed(&error))?;
    commands::prepare(job, copy.root()).await?;
    copy.switch_to(head).await.map_err(|error| failed(&error))?;
    Ok(copy)
}
