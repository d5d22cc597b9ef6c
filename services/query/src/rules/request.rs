//! Which event a request becomes, and under which id: the same request has the same id.

use millrace_decider::Timestamp;
use millrace_events::{
    Code, Envelope, Event, Key, MAX_PLAN_BYTES, MAX_SPEC_BYTES, Service, TaskId, submission_id, v1 as events,
};
use millrace_rpc::v1;
use uuid::Uuid;

/// Longest reason, in characters.
const MAX_REASON_CHARS: usize = 2_000;
/// Longest path, in bytes.
const MAX_PATH_BYTES: usize = 1_024;

/// What a person can do to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Let it go on.
    Approve,
    /// End it instead.
    Deny,
    /// Send it back.
    RequestChanges,
    /// End the run.
    Cancel,
    /// Open the next run.
    Retry,
    /// Hold it before its next stage.
    Pause,
    /// Let it go on after a pause.
    Resume,
}

/// A request that becomes no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestError {
    /// A field cannot be used.
    Field(&'static str, String),
    /// A rule with a code of its own says no.
    Refused(Code, String),
}

impl Action {
    /// The name, as in ids.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::RequestChanges => "request-changes",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    /// Whether it must say why.
    const fn needs_reason(self) -> bool {
        matches!(self, Self::Deny | Self::RequestChanges)
    }

    /// Whether one run can meet it more than once with a different meaning: a second approval answers a
    /// second question, a second pause follows a resume.
    const fn can_recur(self) -> bool {
        matches!(self, Self::Approve | Self::RequestChanges | Self::Pause | Self::Resume)
    }

    fn event(self, task: String, run: u32, actor: String, reason: String) -> Event {
        match self {
            Self::Approve => events::ApprovalGranted { task, run, actor, reason }.into(),
            Self::Deny => events::ApprovalDenied { task, run, actor, reason }.into(),
            Self::RequestChanges => events::ChangesRequested { task, run, actor, reason }.into(),
            Self::Cancel => events::CancelRequested { task, run, actor, reason }.into(),
            Self::Retry => events::RetryRequested { task, run, actor, reason }.into(),
            Self::Pause => events::PauseRequested { task, run, actor, reason }.into(),
            Self::Resume => events::ResumeRequested { task, run, actor, reason }.into(),
        }
    }
}

/// The event of an operator's request about run `run`. Its id is made of task, run and action, and, for
/// what can recur inside a run, of `answers`: the last decision of the dispatcher about the task that the
/// ledger knows, to which this is the answer. So a resend is the same event, and a second approval is not.
pub(crate) fn operator_event(
    action: Action,
    request: &v1::OperatorRequest,
    run: u32,
    answers: Option<&v1::Position>,
    actor: &str,
    now: Timestamp,
) -> Result<Envelope, RequestError> {
    let task = task_id(&request.task)?;
    let reason = reason(&request.reason)?;
    if action.needs_reason() && reason.is_empty() {
        return Err(RequestError::Field("reason", format!("{} needs one", action.name())));
    }
    let mut name = format!("{task}\n{run}\n{}", action.name());
    if let Some(position) = answers.filter(|_| action.can_recur()) {
        name.push_str(&format!("\n{}:{}", position.stream, position.sequence));
    }
    let event = action.event(task.as_str().to_owned(), run, actor.to_owned(), reason);
    let id = submission_id("operator", &name);
    Ok(Envelope { run, ..envelope(id, task.key(), now, &event) })
}

/// The event of a spec that is handed in. The same bytes for the same place are the same submission.
pub(crate) fn submit_spec(
    request: v1::SubmitSpecRequest,
    actor: &str,
    now: Timestamp,
) -> Result<Envelope, RequestError> {
    let repository = repository(&request.repository)?;
    let path = request.path;
    if path.is_empty() || path.len() > MAX_PATH_BYTES || path.contains('\0') {
        return Err(RequestError::Field("path", "is missing or longer than 1,024 bytes".to_owned()));
    }
    if request.content.is_empty() {
        return Err(RequestError::Refused(Code::SpecInvalid, format!("{path} is empty")));
    }
    too_large("spec", &path, request.content.len(), MAX_SPEC_BYTES)?;
    too_large("plan", &path, request.plan.len(), MAX_PLAN_BYTES)?;
    let name = format!("{repository}\n{path}\n{}\n{}", digest(&request.content), digest(&request.plan));
    let id = submission_id(&Service::Query.source(), &name);
    let event = events::SpecSubmitted {
        repository,
        path,
        source: events::SpecSource::Manual as i32,
        submitted_by: actor.to_owned(),
        spec: Some(events::spec_submitted::Spec::SpecContent(request.content)),
        plan: Some(request.plan)
            .filter(|plan| !plan.is_empty())
            .map(events::spec_submitted::Plan::PlanContent),
        ..events::SpecSubmitted::default()
    };
    Ok(envelope(id, submission_key(id)?, now, &event.into()))
}

/// The event of a request for a task. `random` tells requests apart that bring no id of their own.
pub(crate) fn request_task(
    request: v1::RequestTaskRequest,
    repository_of_task: &str,
    actor: &str,
    random: u128,
    now: Timestamp,
) -> Result<Envelope, RequestError> {
    let task = task_id(&request.task)?;
    let named = if request.repository.is_empty() { repository_of_task } else { &request.repository };
    let repository = repository(named)?;
    let reason = reason(&request.reason)?;
    let own = if request.request_id.is_empty() { format!("{random:032x}") } else { request.request_id };
    let id = submission_id(&Service::Query.source(), &format!("{task}\n{repository}\n{own}"));
    let event = events::TaskRequested {
        task: task.as_str().to_owned(),
        repository,
        requested_by: actor.to_owned(),
        reason,
    };
    Ok(envelope(id, submission_key(id)?, now, &event.into()))
}

fn envelope(id: Uuid, key: Key, now: Timestamp, event: &Event) -> Envelope {
    Envelope::new(id.to_string(), Service::Query.source(), key, now, event)
}

fn submission_key(id: Uuid) -> Result<Key, RequestError> {
    Key::new(format!("req-{id}")).map_err(|error| RequestError::Field("key", error.to_string()))
}

fn task_id(text: &str) -> Result<TaskId, RequestError> {
    TaskId::parse(text).map_err(|error| RequestError::Refused(Code::TaskIdInvalid, error.to_string()))
}

fn repository(text: &str) -> Result<String, RequestError> {
    Key::new(text).map(|key| key.to_string()).map_err(|_| {
        RequestError::Field("repository", format!("`{text}` is not the id of a configured repository"))
    })
}

/// A reason, trimmed; an error when it is too long.
pub(super) fn reason(text: &str) -> Result<String, RequestError> {
    match text.chars().count() {
        0..=MAX_REASON_CHARS => Ok(text.trim().to_owned()),
        count => {
            Err(RequestError::Field("reason", format!("{count} characters; at most {MAX_REASON_CHARS}")))
        }
    }
}

fn too_large(what: &str, path: &str, size: usize, limit: usize) -> Result<(), RequestError> {
    if size <= limit {
        return Ok(());
    }
    let sentence = format!("the {what} of {path} has {size} bytes, at most {limit} are taken");
    Err(RequestError::Refused(Code::SpecInvalid, sentence))
}

/// Names bytes inside an id; not the checksum that anybody relies on.
fn digest(bytes: &[u8]) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn now(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn operator(action: Action, run: u32, answers: u64) -> Envelope {
        let request =
            v1::OperatorRequest { task: "VTID-00001".to_owned(), run: 0, reason: "because".to_owned() };
        let answers = v1::Position { stream: "MILLRACE_DISPATCHER_0".to_owned(), sequence: answers };
        operator_event(action, &request, run, Some(&answers), "ada", now(answers.sequence as i64)).unwrap()
    }

    #[test]
    fn a_resend_is_the_same_event_and_another_run_is_not() {
        assert_eq!(operator(Action::Retry, 1, 5).id, operator(Action::Retry, 1, 9).id);
        assert_ne!(operator(Action::Retry, 1, 5).id, operator(Action::Retry, 2, 5).id);
        assert_ne!(operator(Action::Retry, 1, 5).id, operator(Action::Cancel, 1, 5).id);
    }

    #[test]
    fn a_second_approval_in_one_run_answers_another_question() {
        assert_eq!(operator(Action::Approve, 1, 5).id, operator(Action::Approve, 1, 5).id);
        assert_ne!(operator(Action::Approve, 1, 5).id, operator(Action::Approve, 1, 8).id);
    }

    #[test]
    fn the_event_names_the_actor_and_the_run() {
        let envelope = operator(Action::Cancel, 3, 1);
        let event = envelope.event().unwrap().unwrap();
        let expected = events::CancelRequested {
            task: "VTID-00001".to_owned(),
            run: 3,
            actor: "ada".to_owned(),
            reason: "because".to_owned(),
        };
        assert_eq!(event, expected.into());
        assert_eq!((envelope.run, envelope.key.as_str()), (3, "VTID-00001"));
        assert_eq!(envelope.source, "/millrace/query");
    }

    #[test]
    fn a_denial_without_a_reason_is_refused() {
        let request = v1::OperatorRequest { task: "VTID-00001".to_owned(), run: 1, reason: "  ".to_owned() };
        let refused = operator_event(Action::Deny, &request, 1, None, "ada", now(0)).unwrap_err();
        assert!(matches!(refused, RequestError::Field("reason", _)));
        assert!(operator_event(Action::Cancel, &request, 1, None, "ada", now(0)).is_ok());
    }

    fn spec(path: &str, content: &[u8]) -> v1::SubmitSpecRequest {
        v1::SubmitSpecRequest {
            repository: "shop".to_owned(),
            path: path.to_owned(),
            content: content.to_vec(),
            plan: Vec::new(),
        }
    }

    #[test]
    fn the_same_bytes_for_the_same_place_are_one_submission() {
        let first = submit_spec(spec("a.md", b"x"), "ada", now(1)).unwrap();
        let second = submit_spec(spec("a.md", b"x"), "bob", now(2)).unwrap();
        assert_eq!((&first.id, &first.key), (&second.id, &second.key));
        assert_eq!(first.key.as_str(), format!("req-{}", first.id));
        for other in [spec("b.md", b"x"), spec("a.md", b"y")] {
            assert_ne!(first.id, submit_spec(other, "ada", now(1)).unwrap().id);
        }
    }

    #[test]
    fn a_spec_over_the_limit_is_refused_with_both_numbers() {
        let refused = submit_spec(spec("a.md", &vec![b'x'; MAX_SPEC_BYTES + 1]), "ada", now(0)).unwrap_err();
        let RequestError::Refused(code, sentence) = refused else { panic!("{refused:?}") };
        assert_eq!(code, Code::SpecInvalid);
        assert!(sentence.contains("524289") && sentence.contains("524288"), "{sentence}");
        assert!(submit_spec(spec("a.md", &vec![b'x'; MAX_SPEC_BYTES]), "ada", now(0)).is_ok());
    }

    #[test]
    fn each_request_for_a_task_is_its_own_unless_it_brings_an_id() {
        let request = |id: &str| v1::RequestTaskRequest {
            task: "VTID-00001".to_owned(),
            request_id: id.to_owned(),
            ..v1::RequestTaskRequest::default()
        };
        let id = |own: &str, random| request_task(request(own), "shop", "ada", random, now(0)).unwrap().id;
        assert_ne!(id("", 1), id("", 2));
        assert_eq!(id("a", 1), id("a", 2));
        let refused = request_task(request(""), "", "ada", 1, now(0)).unwrap_err();
        assert!(matches!(refused, RequestError::Field("repository", _)));
    }
}
