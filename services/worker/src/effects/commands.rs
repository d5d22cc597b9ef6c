//! One untrusted command, and what its end means.

use std::path::Path;

use millrace_events::Code;
use millrace_events::v1::WorkOrderKind;
use millrace_policy::exec::{Decision, Verdict};
use millrace_sandbox::{Exit, Finished, Prepared, SandboxError, SetupError};
use millrace_telemetry::context::set_error;
use millrace_telemetry::names::attribute;
use tracing::Instrument as _;

use super::failures::{Step, Stop, brief, last_line, scrub, tail};
use super::job::Job;

/// Characters of a command, and of its output's end, in a failure.
const COMMAND_CHARS: usize = 200;
const TAIL_CHARS: usize = 1_500;

/// Fetches what commands in a fresh checkout need, before anything in it is changed.
pub(super) async fn prepare(job: &Job<'_>, workspace: &Path) -> Step<()> {
    let repository = &job.repository.id;
    match job.bench.commands.prepare(repository, workspace, job.cancel).await {
        Ok(None) => Ok(()),
        Ok(Some(prepared)) => {
            let Prepared { key, content_sha256, .. } = prepared;
            tracing::info!(repository, key, content_sha256, "the dependencies are there");
            Ok(())
        }
        Err(SetupError::Cancelled) => Err(Stop::Cancelled),
        Err(SetupError::Sandbox(error)) => Err(Stop::caused(
            code_of(&error),
            format!("repository {repository}: no dependencies: {error}"),
            &error,
        )),
        Err(error) => {
            let stop = Stop::caused(Code::SetupFailed, format!("repository {repository}: {error}"), &error);
            let SetupError::Failed { output, .. } = &error else { return Err(stop) };
            Err(stop.with("output_tail", scrub(&tail(output, TAIL_CHARS))))
        }
    }
}

/// Runs a command in the sandbox, if the rules let it. Any way of ending but by our own order is a result.
pub(super) async fn run(job: &Job<'_>, command: &str, workspace: &Path) -> Step<Finished> {
    allowed(job, command)?;
    let span = tracing::info_span!(
        "execute_tool",
        otel.name = "execute_tool command",
        { attribute::GEN_AI_OPERATION_NAME } = "execute_tool",
        gen_ai.tool.name = "command",
        gen_ai.tool.type = "function",
        process.exit.code = tracing::field::Empty,
    );
    let commands = &job.bench.commands;
    let ended = commands.run(command, workspace, job.cancel).instrument(span.clone()).await;
    match ended {
        Ok(Finished { exit: Exit::Cancelled, .. }) => Err(Stop::Cancelled),
        Ok(finished) => {
            match finished.exit {
                Exit::Code(code) => {
                    span.record("process.exit.code", code);
                }
                other => set_error(&span, &format!("{other:?}")),
            }
            Ok(finished)
        }
        Err(error) => {
            set_error(&span, &error.to_string());
            let message = format!("`{}` was not run: {error}", brief(command, COMMAND_CHARS));
            Err(Stop::caused(code_of(&error), message, &error))
        }
    }
}

/// Whether a command of a change may run. Checks come from the base branch, which people decide about.
fn allowed(job: &Job<'_>, command: &str) -> Step<()> {
    if job.order().kind() == WorkOrderKind::Check {
        return Ok(());
    }
    let Some(Verdict { decision, part, reason }) = job.bench.commands.refusal(command) else { return Ok(()) };
    let how = match decision {
        Decision::Prompt => "would need a person's consent, which a worker cannot ask for",
        Decision::Allow | Decision::Forbid => "is forbidden",
    };
    let (command, part) = (brief(command, COMMAND_CHARS), brief(&part, COMMAND_CHARS));
    let message = format!("`{command}` was not run: `{part}` {how} by the exec policy: {reason}");
    Err(Stop::failed(Code::PolicyDenied, message).with("command", command).with("part", part))
}

fn code_of(error: &SandboxError) -> Code {
    match error {
        SandboxError::Refused { .. } => Code::SandboxViolation,
        SandboxError::Setup { .. } | SandboxError::Io { .. } | SandboxError::Unkillable { .. } => {
            Code::SandboxUnavailable
        }
    }
}

/// Why a command of a change did not do; `None`: it did.
pub(super) fn objection(job: &Job<'_>, command: &str, finished: &Finished) -> Option<Stop> {
    let shown = brief(command, COMMAND_CHARS);
    let stop = match (finished.exit, job.bench.commands.bound(finished)) {
        (Exit::Code(0), _) => return None,
        (_, Some(bound)) => {
            Stop::failed(Code::SandboxViolation, format!("`{shown}` went beyond its limits: {bound}"))
        }
        (exit, None) => {
            let how = match exit {
                Exit::Code(code) => format!("ended with exit code {code}"),
                Exit::Signal(signal) => format!("was ended by signal {signal}"),
                other => format!("was ended ({other:?})"),
            };
            let says = last_line(&finished.output);
            let says = if says.is_empty() { "it wrote nothing".to_owned() } else { says };
            Stop::failed(Code::CommandFailed, format!("`{shown}` {how}: {says}"))
        }
    };
    let exit_code = exit_code(finished.exit).to_string();
    Some(stop.with("exit_code", exit_code).with("output_tail", tail(&finished.output, TAIL_CHARS)))
}

/// The exit code; -1 when it was killed.
pub(super) fn exit_code(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        _ => -1,
    }
}
