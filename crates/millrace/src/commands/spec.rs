//! `spec register`, `spec show`, `spec rejected`, `spec lint`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use millrace_rpc::v1;
use millrace_spec_registry::domain::format::{
    ParseSettings, Problem, ProblemCode, Severity, render_problems,
};
use millrace_spec_registry::ports::{Blob, SpecFile};
use serde_json::json;

use super::submit;
use crate::cli::{Global, Paging, SpecCommand};
use crate::connection::{Connection, connect};
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone, printable, printable_lines};
use crate::text;

/// The largest page that the server gives.
const LARGEST_PAGE: u32 = 500;

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
            output.message(&answer, |answer| show(answer, output));
            Ok(Exit::Ok)
        }
        SpecCommand::Rejected(paging) => rejected(&mut connect(global).await?, paging, output).await,
        SpecCommand::Lint { files, prefix } => lint(files, prefix, output),
    }
}

fn show(answer: &v1::GetSpecResponse, output: &Output) {
    let spec = answer.spec.clone().unwrap_or_default();
    output.line(output.paint(Tone::Strong, printable(&format!("{} version {}", spec.task, spec.version))));
    for (name, value) in [
        ("title", spec.title.clone()),
        ("summary", spec.summary.clone()),
        ("path", format!("{} in {}", spec.path, spec.repository)),
        ("commit", spec.commit.clone()),
        ("SHA-256", format!("{} ({} bytes)", spec.checksum, spec.size)),
        ("plan", spec.plan_checksum.clone()),
        ("format", spec.format.clone()),
        ("readiness", spec.readiness.clone()),
        ("submitted", format!("by {} ({})", spec.submitted_by, spec.source)),
        ("registered", text::time(spec.registered_at.as_ref())),
    ] {
        if !value.is_empty() {
            output.line(format!("  {:<12}{}", format!("{name}:"), printable(&value)));
        }
    }
    text_below("Text", spec.size > 0, &answer.content, output);
    text_below("Plan", !spec.plan_checksum.is_empty(), &answer.plan, output);
}

/// The registry's refusals among all failures.
async fn rejected(server: &mut Connection, paging: &Paging, output: &Output) -> Result<Exit, Failure> {
    let wanted = if paging.all { usize::MAX } else { paging.limit as usize };
    let mut all = v1::ListFailuresResponse::default();
    loop {
        let page_token = std::mem::take(&mut all.next_page_token);
        let request = v1::ListFailuresRequest { page_size: LARGEST_PAGE, page_token, ..Default::default() };
        let page = server.query.list_failures(request).await?.into_inner();
        let of_registry = |failure: &v1::TaskFailure| {
            failure.failure.as_ref().is_some_and(|failure| failure.source == "spec-registry")
        };
        all.failures.extend(page.failures.into_iter().filter(of_registry));
        all.reflects = page.reflects;
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() || all.failures.len() >= wanted {
            break;
        }
    }
    if all.failures.len() > wanted {
        all.failures.truncate(wanted);
        // The page's token lies behind what was cut off; it would leave those out.
        all.next_page_token.clear();
    }
    output.message(&all, |all| {
        if all.failures.is_empty() {
            output.remark("No spec was rejected.");
        }
        for rejection in &all.failures {
            let failure = rejection.failure.clone().unwrap_or_default();
            let task = if rejection.task.is_empty() { "no task" } else { &rejection.task };
            let head = format!("{} {task} {}", text::time(rejection.time.as_ref()), failure.code);
            output.line(output.paint(Tone::Strong, printable(&head)));
            output.line(printable(&format!("  {}", failure.message)));
        }
    });
    Ok(Exit::Ok)
}

/// A text under its title, if there ever was one.
fn text_below(title: &str, existed: bool, bytes: &[u8], output: &Output) {
    if !existed {
        return;
    }
    output.line("");
    output.line(output.paint(Tone::Strong, title));
    if bytes.is_empty() {
        output.line("  It was erased from the store; the SHA-256 still says which text it was.");
    }
    printable_lines(&String::from_utf8_lossy(bytes)).for_each(|line| output.line(format!("  {line}")));
}

/// Checks files as the registry would.
fn lint(files: &[PathBuf], prefix: &str, output: &Output) -> Result<Exit, Failure> {
    let mut broken = 0;
    let mut claimed: BTreeMap<String, &Path> = BTreeMap::new();
    for file in files {
        let Checked { source, task, mut problems } = check(file, prefix)?;
        if let Some(task) = &task {
            match claimed.get(task) {
                Some(other) => problems.push(conflict(task, other)),
                None => drop(claimed.insert(task.clone(), file)),
            }
        }
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

/// The task that a spec belongs to, and what is wrong with it, together with the plan beside it.
fn check(file: &Path, prefix: &str) -> Result<Checked, Failure> {
    let settings = ParseSettings { default_prefix: prefix.to_owned(), ..ParseSettings::default() };
    let source = std::fs::read(file).map_err(|error| Failure::file(file, &error))?;
    let beside = file.with_extension("plan.yaml");
    let plan = match std::fs::read(&beside) {
        Ok(bytes) => Some(blob(&beside, bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Failure::file(&beside, &error)),
    };
    let pair = SpecFile { spec: blob(file, source.clone()), plan };
    let (task, problems) = match pair.parse(&settings) {
        Ok(spec) => (spec.task_id, spec.warnings),
        Err(problems) => (None, problems),
    };
    Ok(Checked { source, task, problems })
}

fn blob(path: &Path, bytes: Vec<u8>) -> Blob {
    Blob { path: path.to_string_lossy().into_owned(), sha: String::new(), bytes, oversize: None }
}

/// A spec that was checked.
struct Checked {
    source: Vec<u8>,
    task: Option<String>,
    problems: Vec<Problem>,
}

/// Two files that claim one task: the registry takes the first that it sees and refuses the other.
fn conflict(task: &str, other: &Path) -> Problem {
    Problem {
        code: ProblemCode::TaskIdConflict,
        severity: Severity::Error,
        line: None,
        message: format!("{task} is the task of {} already", other.display()),
        advice: "give one of them another id".to_owned(),
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
