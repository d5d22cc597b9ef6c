//! `task submit` and `spec register`: hand in, then wait for the spec-registry's answer.

use std::path::Path;
use std::time::Duration;

use millrace_events::Code;
use millrace_rpc::v1;
use tokio::time::Instant;

use super::watch;
use crate::cli::Submit;
use crate::connection::Connection;
use crate::exit::{Exit, Failure};
use crate::output::{Output, printable};

/// How often the answer is asked for.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Larger files are refused by the server; there is no use in reading them.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// `task submit`
pub(super) async fn run(
    server: &mut Connection,
    arguments: &Submit,
    output: &Output,
) -> Result<Exit, Failure> {
    let repository = arguments.repository.clone().unwrap_or_default();
    let published = match (&arguments.spec, &arguments.task) {
        (Some(spec), _) => hand_in(server, spec, arguments.plan.as_deref(), &repository).await?,
        (None, Some(task)) => {
            let request = v1::RequestTaskRequest {
                task: task.clone(),
                repository,
                reason: arguments.reason.clone(),
                request_id: String::new(),
            };
            server.operator.request_task(request).await?.into_inner()
        }
        (None, None) => return Err(Failure::usage("name a task, or a spec with --spec")),
    };
    let task = answer(server, published.clone(), arguments.wait, output).await?;
    if arguments.watch { watch::run(server, &task, None, output).await } else { Ok(Exit::Ok) }
}

/// Publishes a spec.
pub(super) async fn hand_in(
    server: &mut Connection,
    file: &Path,
    plan: Option<&Path>,
    repository: &str,
) -> Result<v1::Published, Failure> {
    let request = v1::SubmitSpecRequest {
        repository: repository.to_owned(),
        path: path_in_repository(file),
        content: read(file)?,
        plan: plan.map(read).transpose()?.unwrap_or_default(),
    };
    Ok(server.operator.submit_spec(request).await?.into_inner())
}

/// Waits until the submission is registered or rejected, and prints which. The task that it became.
pub(super) async fn answer(
    server: &mut Connection,
    published: v1::Published,
    wait: Duration,
    output: &Output,
) -> Result<String, Failure> {
    let deadline = Instant::now() + wait;
    loop {
        let request = v1::GetSubmissionRequest { key: published.key.clone(), min_sequence: None };
        let state = server.query.get_submission(request).await?.into_inner();
        match state.state() {
            v1::SubmissionState::Registered => {
                let checksum = checksum(server, &state).await?;
                output.message(&state, |state| {
                    let known = state.answered_before || published.duplicate;
                    let already = if known { "already " } else { "" };
                    let version = state.spec_version;
                    output.line(format!("{} is {already}registered, spec version {version}", state.task));
                    output.line(printable(&format!("SHA-256 {checksum}")));
                    if known {
                        output.remark(format!(
                            "Nothing new was begun. See where it stands with: millrace task why {}",
                            state.task
                        ));
                    }
                });
                return Ok(state.task);
            }
            v1::SubmissionState::Rejected => {
                let failure = state.failure.clone().unwrap_or_default();
                if output.is_json() {
                    output.message(&state, |_| ());
                }
                for problem in &state.problems {
                    let place =
                        if problem.line == 0 { String::new() } else { format!("line {}: ", problem.line) };
                    output.remark(printable(&format!("  {place}{} ({})", problem.message, problem.advice)));
                }
                // Faults of the text have the exit code that `spec lint` gives them.
                let faulty = !state.problems.is_empty();
                return Err(Failure {
                    exit: if faulty { Exit::Unsuccessful } else { Exit::Refused },
                    code: Code::from_name(&failure.code),
                    message: failure.message,
                    advice: failure.advice,
                });
            }
            v1::SubmissionState::Waiting | v1::SubmissionState::Unspecified => {}
        }
        if Instant::now() >= deadline {
            let message =
                format!("{} was handed in and has no answer after {} s", published.key, wait.as_secs());
            let advice = "It is in the log and will be answered. `millrace health` says whether the \
                          spec-registry and the projector run.";
            return Err(Failure::new(Exit::TimedOut, message, advice));
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// SHA-256 of the version that was registered.
async fn checksum(server: &mut Connection, state: &v1::GetSubmissionResponse) -> Result<String, Failure> {
    let request =
        v1::GetSpecRequest { task: state.task.clone(), version: state.spec_version, min_sequence: None };
    Ok(server.query.get_spec(request).await?.into_inner().spec.unwrap_or_default().checksum)
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let size = std::fs::metadata(file).map_err(|error| Failure::file(file, &error))?.len();
    if size > MAX_FILE_BYTES {
        let message = format!("{} has {size} bytes; a spec has at most 524288", file.display());
        return Err(Failure {
            code: Some(Code::SpecInvalid),
            ..Failure::new(Exit::Refused, message, "Split it.")
        });
    }
    std::fs::read(file).map_err(|error| Failure::file(file, &error))
}

/// The path inside the git repository that the file lies in, so that the same spec is the same submission
/// whether it is handed in or found by the scan; outside any repository its name.
fn path_in_repository(file: &Path) -> String {
    let inside = std::fs::canonicalize(file).ok().and_then(|full| {
        let root = full.ancestors().skip(1).find(|folder| folder.join(".git").exists())?;
        full.strip_prefix(root).ok().map(Path::to_path_buf)
    });
    let name = || file.file_name().map(std::path::PathBuf::from).unwrap_or_default();
    inside.unwrap_or_else(name).to_string_lossy().replace('\\', "/")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_a_repository_has_its_path_there_and_any_other_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let specs = folder.path().join("docs/specs");
        std::fs::create_dir_all(&specs).unwrap();
        let file = specs.join("a.md");
        std::fs::write(&file, "# A").unwrap();
        assert_eq!(path_in_repository(&file), "a.md");
        std::fs::create_dir(folder.path().join(".git")).unwrap();
        assert_eq!(path_in_repository(&file), "docs/specs/a.md");
    }
}
