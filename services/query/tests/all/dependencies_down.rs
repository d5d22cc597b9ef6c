//! S0-1.g: no method says success while what it depends on is down.

use millrace_rpc::{Status, StatusCode, status::Problem, v1};
use prost::Message as _;

use crate::support::{Server, event};
use millrace_events::Log;

/// Every method of both services, from the compiled proto files.
fn methods() -> Vec<String> {
    let files = prost_types::FileDescriptorSet::decode(millrace_rpc::descriptors()).unwrap();
    let services = files.file.into_iter().filter(|f| f.package() == "millrace.v1").flat_map(|f| f.service);
    services.flat_map(|s| s.method).map(|m| m.name().to_owned()).collect()
}

/// Calls a method with a request that succeeds when everything is up.
async fn call(server: &mut Server, method: &str) -> Result<(), Status> {
    let task = || "VTID-00001".to_owned();
    let decision = || v1::OperatorRequest { task: task(), run: 0, reason: "because".to_owned() };
    let (query, operator) = (&mut server.query, &mut server.operator);
    match method {
        "GetTask" => {
            query.get_task(v1::GetTaskRequest { task: task(), min_sequence: None }).await.map(|_| ())
        }
        "ListTasks" => query.list_tasks(v1::ListTasksRequest::default()).await.map(|_| ()),
        "GetTaskHistory" => {
            let request = v1::GetTaskHistoryRequest { task: task(), run: 0, min_sequence: None };
            query.get_task_history(request).await.map(|_| ())
        }
        "GetSubmission" => {
            let request = v1::GetSubmissionRequest { key: "req-1".to_owned(), min_sequence: None };
            query.get_submission(request).await.map(|_| ())
        }
        "WatchTask" => {
            let request = v1::WatchTaskRequest { task: task(), ..v1::WatchTaskRequest::default() };
            query.watch_task(request).await?.into_inner().message().await.map(|_| ())
        }
        "WatchTasks" => {
            let request = v1::WatchTasksRequest::default();
            query.watch_tasks(request).await?.into_inner().message().await.map(|_| ())
        }
        "GetSpec" => {
            let request = v1::GetSpecRequest { task: task(), version: 0, min_sequence: None };
            query.get_spec(request).await.map(|_| ())
        }
        "GetText" => query.get_text(v1::GetTextRequest { sha256: "0".repeat(64) }).await.map(|_| ()),
        "ListWorkOrders" => query.list_work_orders(v1::ListWorkOrdersRequest::default()).await.map(|_| ()),
        "ListFailures" => query.list_failures(v1::ListFailuresRequest::default()).await.map(|_| ()),
        "ListInsights" => query.list_insights(v1::ListInsightsRequest::default()).await.map(|_| ()),
        "ListDeadLetters" => query.list_dead_letters(v1::ListDeadLettersRequest::default()).await.map(|_| ()),
        "GetDeadLetter" => query.get_dead_letter(v1::GetDeadLetterRequest::default()).await.map(|_| ()),
        "GetSystemHealth" => query.get_system_health(v1::GetSystemHealthRequest {}).await.map(|_| ()),
        "VerifyLedger" => query.verify_ledger(v1::VerifyLedgerRequest {}).await.map(|_| ()),
        "Approve" => operator.approve(decision()).await.map(|_| ()),
        "Deny" => operator.deny(decision()).await.map(|_| ()),
        "RequestChanges" => operator.request_changes(decision()).await.map(|_| ()),
        "Cancel" => operator.cancel(decision()).await.map(|_| ()),
        "Retry" => operator.retry(decision()).await.map(|_| ()),
        "Pause" => operator.pause(decision()).await.map(|_| ()),
        "ReplayDeadLetter" => {
            let position = v1::Position { stream: Log::Intake.stream(0), sequence: 1 };
            let request = v1::ReplayDeadLetterRequest { position: Some(position), ..Default::default() };
            operator.replay_dead_letter(request).await.map(|_| ())
        }
        "Resume" => operator.resume(decision()).await.map(|_| ()),
        "SubmitSpec" => {
            let request = v1::SubmitSpecRequest {
                repository: "shop".to_owned(),
                path: "a.md".to_owned(),
                content: b"# A".to_vec(),
                plan: Vec::new(),
            };
            operator.submit_spec(request).await.map(|_| ())
        }
        "RequestTask" => {
            let request = v1::RequestTaskRequest {
                task: task(),
                repository: "shop".to_owned(),
                ..v1::RequestTaskRequest::default()
            };
            operator.request_task(request).await.map(|_| ())
        }
        other => panic!("{other} is new: say here how to call it"),
    }
}

#[tokio::test]
async fn s0_1g_no_method_succeeds_while_its_dependencies_are_down() {
    let mut server = Server::start().await;
    server.script.change(|world| {
        world.apply("VTID-00001", v1::TaskStatus::Active, event(Log::Dispatcher, 1, "TaskScheduled", 1));
    });
    let methods = methods();
    assert_eq!(methods.len(), 25, "{methods:?}");
    for method in &methods {
        // The request itself is good, so the failure below is the dependency's.
        call(&mut server, method).await.unwrap_or_else(|status| panic!("{method}: {status}"));
    }
    let published = server.script.world.borrow().published.len();
    server.script.change(|world| world.down = true);
    for method in &methods {
        let status = call(&mut server, method).await.expect_err(method);
        assert_eq!(status.code(), StatusCode::Unavailable, "{method}");
        let problem = Problem::from(&status);
        assert!(problem.message.contains("it is down"), "{method}: {problem:?}");
        assert!(problem.advice.contains("millrace health"), "{method}: {problem:?}");
    }
    assert_eq!(server.script.world.borrow().published.len(), published);
}
