//! Operators: one request is one event, under the name that the server knows.

use millrace_events::{Code, Log, v1 as events};
use millrace_rpc::{Request, StatusCode, status::Problem, v1};

use crate::support::{Server, event};

fn decision(task: &str, run: u32) -> v1::OperatorRequest {
    v1::OperatorRequest { task: task.to_owned(), run, reason: "flaky network".to_owned() }
}

async fn with_failed_task() -> Server {
    let server = Server::start().await;
    server.script.change(|world| {
        world.apply("VTID-00001", v1::TaskStatus::Failed, event(Log::Dispatcher, 4, "TaskFailed", 2));
    });
    server
}

#[tokio::test]
async fn a_retry_names_the_current_run_and_a_resend_changes_nothing() {
    let mut server = with_failed_task().await;
    let first = server.operator.retry(decision("VTID-00001", 0)).await.unwrap().into_inner();
    let second = server.operator.retry(decision("VTID-00001", 2)).await.unwrap().into_inner();
    assert!(!first.duplicate && second.duplicate);
    assert_eq!((first.position.clone(), &first.event_id), (second.position, &second.event_id));
    assert_eq!(first.position.unwrap().stream, Log::Operator.stream(0));

    let world = server.script.world.borrow();
    let [(log, envelope)] = world.published.as_slice() else { panic!("{} events", world.published.len()) };
    let expected = events::RetryRequested {
        task: "VTID-00001".to_owned(),
        run: 2,
        actor: "ada".to_owned(),
        reason: "flaky network".to_owned(),
    };
    assert_eq!((*log, envelope.event().unwrap().unwrap()), (Log::Operator, expected.into()));
}

#[tokio::test]
async fn a_name_that_the_client_sends_is_ignored() {
    let mut server = with_failed_task().await;
    let mut request = Request::new(decision("VTID-00001", 0));
    for header in ["actor", "x-actor", "x-forwarded-user", "authorization"] {
        request.metadata_mut().insert(header, "mallory".parse().unwrap());
    }
    server.operator.cancel(request).await.unwrap();
    let event = server.script.world.borrow().published[0].1.event().unwrap().unwrap();
    assert!(format!("{event:?}").contains("ada") && !format!("{event:?}").contains("mallory"));
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_and_publishes_nothing() {
    let mut server = with_failed_task().await;
    let unknown = server.operator.cancel(decision("VTID-99999", 0)).await.unwrap_err();
    assert_eq!(unknown.code(), StatusCode::NotFound);
    let ahead = server.operator.retry(decision("VTID-00001", 3)).await.unwrap_err();
    assert_eq!(ahead.code(), StatusCode::InvalidArgument);
    let no_id = server.operator.retry(decision("nonsense", 0)).await.unwrap_err();
    assert_eq!(Problem::from(&no_id).code, Some(Code::TaskIdInvalid));
    let silent = v1::OperatorRequest { reason: String::new(), ..decision("VTID-00001", 0) };
    assert_eq!(server.operator.deny(silent).await.unwrap_err().code(), StatusCode::InvalidArgument);
    let request = v1::RequestTaskRequest { task: "VTID-99999".to_owned(), ..Default::default() };
    assert_eq!(server.operator.request_task(request).await.unwrap_err().code(), StatusCode::InvalidArgument);
    let empty = v1::SubmitSpecRequest {
        repository: "shop".to_owned(),
        path: "a.md".to_owned(),
        ..Default::default()
    };
    let refused = server.operator.submit_spec(empty).await.unwrap_err();
    assert_eq!(Problem::from(&refused).code, Some(Code::SpecInvalid));
    assert!(server.script.world.borrow().published.is_empty());
}

#[tokio::test]
async fn a_spec_goes_to_intake_and_its_submission_can_be_followed() {
    let mut server = with_failed_task().await;
    let request = v1::SubmitSpecRequest {
        repository: "shop".to_owned(),
        path: "docs/specs/a.md".to_owned(),
        content: b"# A".to_vec(),
        plan: b"edits: []".to_vec(),
    };
    let published = server.operator.submit_spec(request).await.unwrap().into_inner();
    let (log, envelope) = server.script.world.borrow().published[0].clone();
    assert_eq!((log, envelope.key.as_str()), (Log::Intake, published.key.as_str()));

    let follow = v1::GetSubmissionRequest { key: published.key.clone(), min_sequence: None };
    let waiting = server.query.get_submission(follow.clone()).await.unwrap().into_inner();
    assert_eq!(waiting.state(), v1::SubmissionState::Waiting);
    server.script.change(|world| {
        let rejected = v1::HistoryEvent {
            data: r#"{"failure":{"code":"ERROR_CODE_SPEC_INVALID","message":"no summary"}}"#.to_owned(),
            ..event(Log::SpecRegistry, 1, "SpecRejected", 0)
        };
        world.submissions.insert(published.key, vec![rejected]);
    });
    let rejected = server.query.get_submission(follow).await.unwrap().into_inner();
    assert_eq!(rejected.state(), v1::SubmissionState::Rejected);
    assert_eq!(rejected.failure.unwrap().message, "no summary");
}
