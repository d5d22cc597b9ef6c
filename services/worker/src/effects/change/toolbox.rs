//! The tools at work: files of the checkout, commands in the sandbox, git outside of it.

use std::path::PathBuf;

use async_trait::async_trait;
use millrace_events::Code;
use millrace_policy::exec::Verdict;
use serde_json::Value;

use super::super::commands::{self, exit_code};
use super::super::failures::{Step, Stop};
use super::super::job::Job;
use super::documents::string;
use crate::adapters::{Checkout, EditError};
use crate::process::agent::Toolbox;
use crate::process::tools::{Files, Tool, marked};

const LOG_COUNT: u64 = 20;

/// The tools of one loop.
pub(super) struct Bench<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) checkout: &'a Checkout,
    /// What the model says the change is to be called.
    pub(super) declared: Option<Declared>,
}

/// A title and a text for a commit or a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) title: String,
    pub(super) text: String,
}

#[async_trait]
impl Toolbox for Bench<'_> {
    type Error = Stop;

    async fn call(&mut self, tool: &Tool, arguments: &Value) -> Step<String> {
        let name = tool.name.as_str();
        let told = match name {
            "run" => self.run(string(arguments, "command")).await?,
            "git_status" | "git_diff" | "git_log" => self.git(name, arguments).await?,
            "git_commit" | "open_pull_request" => {
                let (title, text) = (string(arguments, "title"), string(arguments, "text"));
                self.declared = Some(Declared { title: title.to_owned(), text: text.to_owned() });
                "noted".to_owned()
            }
            _ => files(self.checkout.root().to_owned(), name.to_owned(), arguments.clone()).await?,
        };
        Ok(marked(name, &told))
    }
}

impl Bench<'_> {
    async fn run(&self, command: &str) -> Step<String> {
        // What the rules forbid is told, for another command may do.
        if let Some(Verdict { part, reason, .. }) = self.job.bench.commands.refusal(command) {
            let refusal =
                serde_json::json!({"error": Code::PolicyDenied.name(), "part": part, "reason": reason});
            return Ok(refusal.to_string());
        }
        let finished = commands::run(self.job, command, self.checkout.root()).await?;
        let bound = self.job.bench.commands.bound(&finished);
        let end = bound.unwrap_or_else(|| format!("exit code {}", exit_code(finished.exit)));
        Ok(format!("{end}\n{}", String::from_utf8_lossy(&finished.output)))
    }

    async fn git(&self, tool: &str, arguments: &Value) -> Step<String> {
        let base = &self.job.task.base_commit;
        let path = arguments.get("path").and_then(Value::as_str);
        let told = match tool {
            "git_log" => {
                let count = arguments.get("count").and_then(Value::as_u64).unwrap_or(LOG_COUNT);
                self.checkout.history(base, count).await
            }
            "git_status" => self.checkout.difference(base, None, true).await,
            _ => self.checkout.difference(base, path, false).await,
        };
        let told = told.map_err(|error| self.job.git(&error, "a tool of git"))?;
        Ok(if told.is_empty() { "nothing".to_owned() } else { String::from_utf8_lossy(&told).into_owned() })
    }
}

/// What does not fit is the model's to mend; a disk that fails is not.
async fn files(root: PathBuf, tool: String, arguments: Value) -> Step<String> {
    let called = tokio::task::spawn_blocking(move || Files::new(root).call(&tool, &arguments)).await;
    match called {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(error @ (EditError::Escapes { .. } | EditError::DoesNotFit { .. }))) => {
            Ok(format!("{}", serde_json::json!({"error": "REFUSED", "reason": error.to_string()})))
        }
        Ok(Err(error @ EditError::Io { .. })) => Err(Stop::caused(Code::Internal, error.to_string(), &error)),
        Err(error) => Err(Stop::caused(Code::Internal, "a tool could not be carried out", &error)),
    }
}
