//! What reading a specification came to, as events.

use millrace_events::v1::{
    Blob, Failure, Priority as WirePriority, SpecProblem, SpecReadiness, SpecRegistered, SpecRejected,
    SpecSource,
};
use millrace_events::{Code, Key};

use super::format::{Priority, Problem, ProblemCode, Readiness, Severity, Spec};
use super::{Registered, Request};

/// Who says so, in failures.
pub(crate) const SOURCE: &str = "spec-registry";
/// The stage in which it happens.
pub(crate) const STAGE: &str = "registered";
/// Longest free text of a specification in an event, in characters. DESIGN section 2.
const MAX_TEXT_CHARS: usize = 200;
/// The codes of a refusal, the most telling first: a template has every other fault too, and an unclear id
/// matters more than a missing section.
const BY_IMPORTANCE: [Code; 4] =
    [Code::SpecTemplateUnfilled, Code::SpecIdConflict, Code::TaskIdInvalid, Code::SpecInvalid];

/// Everything about a specification that does not stand in its text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct About {
    /// Id of its repository.
    pub repository: String,
    /// The target that the repository releases to.
    pub target: String,
    /// Where it stands there, or the file's name.
    pub path: String,
    /// Head of the base branch when it was read.
    pub commit: String,
    /// Where it came from.
    pub source: SpecSource,
    /// Who handed it in.
    pub submitted_by: String,
    /// The key of the submission or request.
    pub submission: String,
    /// SHA-256 of its bytes; empty when they were not read.
    pub checksum: String,
}

/// A specification to be registered for `task`; the version is decided later.
pub fn registered(task: &str, spec: &Spec, about: About, blob: Blob, plan: Option<Blob>) -> SpecRegistered {
    SpecRegistered {
        task: task.to_owned(),
        repository: about.repository,
        version: 0,
        checksum: spec.checksum.clone(),
        spec: Some(blob),
        plan,
        title: brief(&spec.title),
        summary: brief(&spec.summary),
        acceptance_criteria: u32::try_from(spec.acceptance.len()).unwrap_or(u32::MAX),
        format: spec.format.clone(),
        path: about.path,
        commit: about.commit,
        source: about.source as i32,
        submitted_by: about.submitted_by,
        domain: spec.domain.as_deref().map(brief).unwrap_or_default(),
        target: about.target,
        warnings: spec.warnings.iter().map(wire_problem).collect(),
        readiness: match spec.readiness {
            Readiness::Ready => SpecReadiness::Ready,
            Readiness::Draft => SpecReadiness::Draft,
            Readiness::Done => SpecReadiness::Done,
        } as i32,
        submission: about.submission,
        priority: match spec.priority {
            Priority::Low => WirePriority::Low,
            Priority::Normal => WirePriority::Normal,
            Priority::High => WirePriority::High,
            Priority::Urgent => WirePriority::Urgent,
        } as i32,
    }
}

/// A refusal for the faults of the text; all errors are listed, with their lines. S1-Gap5.3.
pub fn invalid(task: Option<&str>, about: About, problems: &[Problem]) -> SpecRejected {
    let errors: Vec<&Problem> = problems
        .iter()
        .filter(|p| p.severity == Severity::Error || p.code == ProblemCode::TooManyProblems)
        .collect();
    let listed: Vec<SpecProblem> = errors.iter().map(|problem| wire_problem(problem)).collect();
    let code = BY_IMPORTANCE
        .into_iter()
        .find(|code| listed.iter().any(|problem| problem.code == code.to_wire() as i32))
        .unwrap_or(Code::SpecInvalid);
    let count = match errors.len() {
        1 => "1 fault".to_owned(),
        count => format!("{count} faults"),
    };
    let first = errors.first().map_or_else(String::new, |problem| match problem.line {
        Some(line) => format!(": line {line}: {}", problem.message),
        None => format!(": {}", problem.message),
    });
    let failure = Failure::new(code, format!("{count} in {}{first}", about.path));
    SpecRejected { problems: listed, ..refused(task, about, failure) }
}

/// A refusal for another reason.
pub fn refused(task: Option<&str>, about: About, failure: Failure) -> SpecRejected {
    SpecRejected {
        task: task.unwrap_or_default().to_owned(),
        repository: about.repository,
        path: about.path,
        commit: about.commit,
        checksum: about.checksum,
        failure: Some(failure.from_source(SOURCE).at_stage(STAGE)),
        problems: Vec::new(),
        submission: about.submission,
    }
}

/// A requested task without a specification.
pub fn not_found(request: &Request, failure: Failure) -> SpecRejected {
    let about = About {
        repository: request.event.repository.clone(),
        submission: request.key.to_string(),
        ..About::default()
    };
    refused(request.task().as_ref().map(|task| task.as_str()), about, failure)
}

/// A second claim to a task; the first keeps it.
pub(super) fn conflict(spec: &SpecRegistered, holder: &Registered) -> SpecRejected {
    let message = format!(
        "{} in repository {} claims {}, which belongs to {}",
        spec.path,
        spec.repository,
        spec.task,
        holder.place()
    );
    let problem = SpecProblem {
        code: Code::SpecIdConflict.to_wire() as i32,
        line: 0,
        message: message.clone(),
        advice: format!("give {} an id of its own", spec.path),
    };
    let about = About {
        repository: spec.repository.clone(),
        path: spec.path.clone(),
        commit: spec.commit.clone(),
        submission: spec.submission.clone(),
        checksum: spec.checksum.clone(),
        ..About::default()
    };
    let failure = Failure::new(Code::SpecIdConflict, message);
    SpecRejected { problems: vec![problem], ..refused(Some(&spec.task), about, failure) }
}

/// The key under which an outcome is decided: the task where there is one, else `or`.
pub fn key_of(task: Option<&str>, or: &Key) -> Key {
    task.and_then(|task| millrace_events::TaskId::parse(task).ok()).map_or_else(|| or.clone(), |t| t.key())
}

fn wire_problem(problem: &Problem) -> SpecProblem {
    let code = Code::from_name(problem.error_code()).unwrap_or(Code::SpecInvalid);
    SpecProblem {
        code: code.to_wire() as i32,
        line: problem.line.unwrap_or(0),
        message: problem.message.clone(),
        advice: problem.advice.clone(),
    }
}

/// One line of at most 200 characters.
fn brief(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    if line.chars().count() <= MAX_TEXT_CHARS {
        return line;
    }
    line.chars().take(MAX_TEXT_CHARS - 1).chain(['…']).collect()
}
