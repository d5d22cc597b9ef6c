//! What somebody asks for: a specification to be registered, or a task to be begun.

use millrace_events::v1::{Failure, SpecRejected};
use millrace_events::{Code, SpecRegistryEvent};

use super::{Effect, Record, Registry, Request, Submission, outcome};

/// A submission to a repository that is configured is read; its outcome is decided under its task.
pub(super) fn submitted(registry: &Registry, submission: &Submission) -> Option<SpecRegistryEvent> {
    let event = &submission.event;
    if registry.repositories.contains(&event.repository) {
        return None;
    }
    let rejection = SpecRejected {
        repository: event.repository.clone(),
        path: event.path.clone(),
        commit: event.commit.clone(),
        failure: Some(not_configured(registry, &event.repository)),
        submission: submission.key.to_string(),
        ..SpecRejected::default()
    };
    Some(rejection.into())
}

/// What must be read for a submission. Reading twice is harmless: the outcome is compared with the log.
pub(super) fn to_read(registry: &Registry, state: &Record, submission: &Submission) -> Option<Effect> {
    registry
        .repositories
        .contains(&submission.event.repository)
        .then(|| Effect::Read { submission: submission.clone(), allocated: state.allocated.clone() })
}

/// A request for a task. Where a specification is registered nothing follows: the dispatcher has scheduled
/// the task when it was, and begins another run only when an operator asks for a retry.
pub(super) fn requested(registry: &Registry, state: &Record, request: &Request) -> Option<SpecRegistryEvent> {
    let asked = &request.event;
    let failure = match request.task() {
        None => Failure::new(
            Code::TaskIdInvalid,
            millrace_events::TaskId::parse(&asked.task).err().map_or_else(String::new, |e| e.to_string()),
        )
        .from_source(outcome::SOURCE)
        .at_stage(outcome::STAGE),
        Some(_) if state.current.is_some() || registry.knows(&asked.repository) => return None,
        Some(_) => not_configured(registry, &asked.repository),
    };
    Some(outcome::not_found(request, failure).into())
}

/// Where the specification of a requested task is still to be looked for.
pub(super) fn to_find(registry: &Registry, state: &Record, request: &Request) -> Option<Effect> {
    let open = request.task().is_some()
        && state.current.is_none()
        && registry.knows(&request.event.repository)
        && !state.has_refused(request.key.as_str());
    open.then(|| Effect::Find(request.clone()))
}

impl Registry {
    /// Whether a request can mean this repository; none means all.
    fn knows(&self, repository: &str) -> bool {
        repository.is_empty() || self.repositories.contains(repository)
    }
}

fn not_configured(registry: &Registry, repository: &str) -> Failure {
    let known: Vec<&str> = registry.repositories.iter().map(String::as_str).collect();
    let shown: String = repository.chars().take(80).collect();
    let message = if known.is_empty() {
        format!("there is no repository `{shown}`: none is configured; add it to the configuration")
    } else {
        format!("there is no repository `{shown}`; the configured ones are: {}", known.join(", "))
    };
    Failure::new(Code::RepositoryUnavailable, message).from_source(outcome::SOURCE).at_stage(outcome::STAGE)
}
