//! Reads: not found, bad input, pages, read-your-writes.

use millrace_events::{Code, Log};
use millrace_rpc::{StatusCode, status::Problem, v1};

use crate::support::{Server, event};

fn get(task: &str, min_sequence: Option<v1::Position>) -> v1::GetTaskRequest {
    v1::GetTaskRequest { task: task.to_owned(), min_sequence }
}

fn position(log: Log, sequence: u64) -> Option<v1::Position> {
    Some(v1::Position { stream: log.stream(0), sequence })
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_an_id_are_told_apart() {
    let mut server = Server::start().await;
    let missing = server.query.get_task(get("VTID-00001", None)).await.unwrap_err();
    assert_eq!(missing.code(), StatusCode::NotFound);
    let bad = server.query.get_task(get("vtid-1", None)).await.unwrap_err();
    assert_eq!(bad.code(), StatusCode::InvalidArgument);
    assert_eq!(Problem::from(&bad).code, Some(Code::TaskIdInvalid));
    let request = v1::GetSpecRequest { task: "VTID-00001".to_owned(), version: 3, min_sequence: None };
    let spec = server.query.get_spec(request).await.unwrap_err();
    assert_eq!(Problem::from(&spec).code, Some(Code::SpecNotFound));
    let request = v1::ListFailuresRequest { code: "NONSENSE".to_owned(), ..Default::default() };
    assert_eq!(server.query.list_failures(request).await.unwrap_err().code(), StatusCode::InvalidArgument);
    let request = v1::ListTasksRequest { page_token: "x".to_owned(), ..Default::default() };
    assert_eq!(server.query.list_tasks(request).await.unwrap_err().code(), StatusCode::InvalidArgument);
}

#[tokio::test]
async fn a_read_waits_for_what_the_caller_has_written_and_says_what_it_reflects() {
    let mut server = Server::start().await;
    let script = server.script.clone();
    let late = server.query.get_task(get("VTID-00001", position(Log::Dispatcher, 7))).await.unwrap_err();
    assert_eq!(late.code(), StatusCode::DeadlineExceeded);
    assert!(late.message().contains("MILLRACE_DISPATCHER_0:7"), "{}", late.message());

    let (answer, ()) =
        tokio::join!(server.query.get_task(get("VTID-00001", position(Log::Dispatcher, 7))), async {
            tokio::task::yield_now().await;
            script.change(|world| {
                let scheduled = event(Log::Dispatcher, 7, "TaskScheduled", 1);
                world.apply("VTID-00001", v1::TaskStatus::Active, scheduled);
            });
        });
    let answer = answer.unwrap().into_inner();
    assert_eq!(answer.task.unwrap().status(), v1::TaskStatus::Active);
    assert_eq!(answer.reflects, vec![position(Log::Dispatcher, 7).unwrap()]);

    let nonsense = Some(v1::Position { stream: "MOON".to_owned(), sequence: 1 });
    let refused = server.query.get_task(get("VTID-00001", nonsense)).await.unwrap_err();
    assert_eq!(refused.code(), StatusCode::InvalidArgument);
}

#[tokio::test]
async fn pages_cover_everything_once() {
    let mut server = Server::start().await;
    server.script.change(|world| {
        for n in 1..=7 {
            let scheduled = event(Log::Dispatcher, n, "TaskScheduled", 1);
            world.apply(&format!("VTID-{n:05}"), v1::TaskStatus::Active, scheduled);
        }
    });
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListTasksRequest { page_size: 3, page_token, ..Default::default() };
        let page = server.query.list_tasks(request).await.unwrap().into_inner();
        assert!(page.tasks.len() <= 3);
        seen.extend(page.tasks.into_iter().map(|task| task.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 7);
    seen.dedup();
    assert_eq!(seen.len(), 7);
}

#[tokio::test]
async fn a_broken_chain_is_not_intact() {
    let mut server = Server::start().await;
    let verify = v1::VerifyLedgerRequest {};
    assert!(server.query.verify_ledger(verify).await.unwrap().into_inner().intact);
    server.script.change(|world| world.broken_chain = true);
    assert!(!server.query.verify_ledger(verify).await.unwrap().into_inner().intact);
}
