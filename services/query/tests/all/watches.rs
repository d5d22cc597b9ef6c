//! Watches: how it stands, then what changes, to the end.

use std::time::Duration;

use millrace_events::Log;
use millrace_rpc::server::Stopped;
use millrace_rpc::{StatusCode, v1};

use crate::support::{Server, event};

const TASK: &str = "VTID-00001";

fn watch(until_finished: bool) -> v1::WatchTaskRequest {
    v1::WatchTaskRequest { task: TASK.to_owned(), until_finished, ..Default::default() }
}

fn names(answer: &v1::WatchTaskResponse) -> Vec<&str> {
    answer.events.iter().map(|event| event.name.as_str()).collect()
}

async fn next<T>(stream: &mut tonic::Streaming<T>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(30), stream.message()).await.expect("an answer").unwrap()
}

#[tokio::test]
async fn s2_b1_an_accepted_task_can_be_followed_to_its_failure() {
    let mut server = Server::start().await;
    server.script.change(|world| {
        world.apply(TASK, v1::TaskStatus::Failed, event(Log::Dispatcher, 1, "TaskFailed", 1));
        world.apply(TASK, v1::TaskStatus::Active, event(Log::Dispatcher, 2, "TaskScheduled", 2));
    });
    let mut stream = server.query.watch_task(watch(true)).await.unwrap().into_inner();
    let first = next(&mut stream).await.unwrap();
    assert_eq!(names(&first), ["TaskScheduled"], "the run before is history");

    server.script.change(|world| {
        world.apply("VTID-00002", v1::TaskStatus::Active, event(Log::Worker, 1, "WorkOrderAcknowledged", 1));
        world.apply(TASK, v1::TaskStatus::Active, event(Log::Worker, 2, "WorkOrderAcknowledged", 2));
    });
    let second = next(&mut stream).await.unwrap();
    assert_eq!(names(&second), ["WorkOrderAcknowledged"]);
    assert_eq!(second.events[0].position.as_ref().unwrap().sequence, 2, "another task's events stay away");

    server.script.change(|world| {
        world.apply(TASK, v1::TaskStatus::Failed, event(Log::Dispatcher, 3, "TaskFailed", 2));
        let failure = v1::Failure { code: "CHECKS_FAILED".to_owned(), ..Default::default() };
        world.tasks.get_mut(TASK).unwrap().failure = Some(failure);
    });
    let last = next(&mut stream).await.unwrap();
    assert_eq!(last.task.as_ref().unwrap().status(), v1::TaskStatus::Failed);
    assert_eq!(last.task.as_ref().unwrap().failure.as_ref().unwrap().code, "CHECKS_FAILED");
    assert!(next(&mut stream).await.is_none(), "the run has ended");
}

#[tokio::test]
async fn a_ledger_that_goes_down_ends_the_watch_with_an_error() {
    let mut server = Server::start().await;
    server.script.change(|world| {
        world.apply(TASK, v1::TaskStatus::Active, event(Log::Dispatcher, 1, "TaskScheduled", 1));
    });
    let mut stream = server.query.watch_task(watch(true)).await.unwrap().into_inner();
    next(&mut stream).await.unwrap();
    server.script.change(|world| world.down = true);
    assert_eq!(stream.message().await.unwrap_err().code(), StatusCode::Unavailable);
    let unknown = v1::WatchTaskRequest { task: "VTID-99999".to_owned(), ..watch(false) };
    server.script.change(|world| world.down = false);
    assert_eq!(server.query.watch_task(unknown).await.unwrap_err().code(), StatusCode::NotFound);
}

#[tokio::test]
async fn all_tasks_that_fit_are_watched() {
    let mut server = Server::start().await;
    server.script.change(|world| {
        world.apply(TASK, v1::TaskStatus::Active, event(Log::Dispatcher, 1, "TaskScheduled", 1));
        world.apply("VTID-00002", v1::TaskStatus::Failed, event(Log::Dispatcher, 2, "TaskFailed", 1));
    });
    let filter = v1::TaskFilter { status: v1::TaskStatus::Failed as i32, ..Default::default() };
    let request = v1::WatchTasksRequest { filter: Some(filter), min_sequence: None };
    let mut stream = server.query.watch_tasks(request).await.unwrap().into_inner();
    let ids = |answer: v1::WatchTasksResponse| -> Vec<String> {
        answer.tasks.into_iter().map(|task| task.id).collect()
    };
    assert_eq!(ids(next(&mut stream).await.unwrap()), ["VTID-00002"]);
    server.script.change(|world| {
        world.apply(TASK, v1::TaskStatus::Active, event(Log::Worker, 1, "WorkOrderAcknowledged", 1));
        world.apply(TASK, v1::TaskStatus::Failed, event(Log::Dispatcher, 3, "TaskFailed", 1));
    });
    assert_eq!(ids(next(&mut stream).await.unwrap()), [TASK]);
}

#[tokio::test]
async fn watches_are_bounded_and_end_with_the_server() {
    let mut server = Server::start().await;
    server.script.change(|world| {
        world.apply(TASK, v1::TaskStatus::Active, event(Log::Dispatcher, 1, "TaskScheduled", 1));
    });
    let mut first = server.query.watch_task(watch(false)).await.unwrap().into_inner();
    let mut second = server.query.watch_task(watch(false)).await.unwrap().into_inner();
    next(&mut first).await.unwrap();
    next(&mut second).await.unwrap();
    let third = server.query.watch_task(watch(false)).await.unwrap_err();
    assert_eq!(third.code(), StatusCode::ResourceExhausted);
    assert_eq!(server.stop().await, Stopped::Drained);
    assert!(next(&mut first).await.is_none() && next(&mut second).await.is_none());
}
