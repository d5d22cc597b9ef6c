//! `spec register`, `spec show`, `spec lint`.

use std::path::{Path, PathBuf};

use millrace_rpc::v1;
use millrace_spec_registry::domain::format::{ParseSettings, Problem, Severity, parse, render_problems};
use serde_json::json;

use super::submit;
use crate::cli::{Global, SpecCommand};
use crate::connection::connect;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone, printable};
use crate::text;

/// `spec …`
pub(super) async fn run(global: &Global, command: &SpecCommand, output: &Output) -> Result<Exit, Failure> {
    match command {
        SpecCommand::Register(arguments) => {
            let mut server = connect(global).await?;
            let plan = arguments.plan.as_deref();
            let published =
                submit::hand_in(&mut server, &arguments.file, plan, &arguments.repository).await?;
            submit::answer(&mut server, published, arguments.wait, output).await?;
            Ok(Exit::Ok)
        }
        SpecCommand::Show { task, version } => {
            let request = v1::GetSpecRequest { task: task.clone(), version: *version, min_sequence: None };
            let answer = connect(global).await?.query.get_spec(request).await?.into_inner();
            output.message(&answer, |answer| show(&answer.spec.clone().unwrap_or_default(), output));
            Ok(Exit::Ok)
        }
        SpecCommand::Lint { files, prefix } => lint(files, prefix, output),
    }
}

fn show(spec: &v1::Spec, output: &Output) {
    output.line(output.paint(Tone::Strong, printable(&format!("{} version {}", spec.task, spec.version))));
    for (name, value) in [
        ("title", spec.title.clone()),
        ("summary", spec.summary.clone()),
        ("path", format!("{} in {}", spec.path, spec.repository)),
        ("commit", spec.commit.clone()),
        ("SHA-256", format!("{} ({} bytes)", spec.checksum, spec.size)),
        ("format", spec.format.clone()),
        ("readiness", spec.readiness.clone()),
        ("submitted", format!("by {} ({})", spec.submitted_by, spec.source)),
        ("registered", text::time(spec.registered_at.as_ref())),
    ] {
        if !value.is_empty() {
            output.line(format!("  {:<12}{}", format!("{name}:"), printable(&value)));
        }
    }
}

/// Checks files as the registry would.
fn lint(files: &[PathBuf], prefix: &str, output: &Output) -> Result<Exit, Failure> {
    let mut broken = 0;
    for file in files {
        let source = std::fs::read(file).map_err(|error| Failure::file(file, &error))?;
        let (task, problems) = check(file, &source, prefix);
        let has_errors = problems.iter().any(|problem| problem.severity == Severity::Error);
        broken += usize::from(has_errors);
        if output.is_json() {
            output.json(&json!({
                "file": file.to_string_lossy(),
                "task": task,
                "ok": !has_errors,
                "problems": problems.iter().map(problem_json).collect::<Vec<_>>(),
            }));
            continue;
        }
        if !problems.is_empty() {
            output.line(render_problems(&file.to_string_lossy(), &source, &problems).trim_end());
        }
        if !has_errors {
            let task = task.unwrap_or_else(|| "an id will be allocated".to_owned());
            output.line(format!("{}: {} ({task})", file.display(), output.paint(Tone::Good, "ok")));
        }
    }
    if broken > 0 {
        output.remark(format!("{broken} of {} specs would be rejected", files.len()));
        return Ok(Exit::Unsuccessful);
    }
    Ok(Exit::Ok)
}

/// The task that a spec belongs to, and what is wrong with it.
fn check(file: &Path, source: &[u8], prefix: &str) -> (Option<String>, Vec<Problem>) {
    let settings = ParseSettings { default_prefix: prefix.to_owned(), ..ParseSettings::default() };
    match parse(&file.to_string_lossy(), source, &settings) {
        Ok(spec) => (spec.task_id, spec.warnings),
        Err(problems) => (None, problems),
    }
}

fn problem_json(problem: &Problem) -> serde_json::Value {
    json!({
        "code": problem.error_code(),
        "severity": match problem.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "line": problem.line,
        "message": problem.message,
        "advice": problem.advice,
    })
}
