//! What a second attempt is asked.

use millrace_events::Code;
use millrace_events::WorkerEvent;
use millrace_events::v1::{ExecutionFailed, TaskRef, WorkOrder};
use millrace_testkit::eventually;

use super::support::{SOON, TASK, World, greeting};

/// S0-4.9a: the questions of a new attempt tell what the one before failed with, so they are other questions.
#[tokio::test(flavor = "multi_thread")]
async fn s0_4_9a_the_questions_of_two_attempts_differ_by_the_failure() {
    let mut world = World::new();
    let order = world.change_order(&greeting("[\"grep absent greeting.txt\"]")).await;
    world.schedule(&order).await;
    world.start("w1");
    let (first, failure) = world.failed(Code::CommandFailed).await;

    let task = TaskRef { attempt: 2, ..order.task.clone().unwrap() };
    let next = WorkOrder {
        id: format!("{TASK}/1.2/change/1"),
        task: Some(task),
        previous_failure: Some(failure.clone()),
        ..order
    };
    world.issue(&next).await;
    let second: ExecutionFailed = eventually!(SOON, "the second attempt's end", {
        world.events().await.into_iter().find_map(|event| match event {
            WorkerEvent::ExecutionFailed(event) if event.order == next.id => Some(event),
            _ => None,
        })
    });
    assert_eq!(first.calls.len(), second.calls.len());
    assert!(!first.calls.is_empty());
    for (before, after) in first.calls.iter().zip(&second.calls) {
        assert_eq!(before.role, after.role);
        assert_ne!(before.prompt_sha256, after.prompt_sha256, "{}", after.role);
        let prompt = world.blobs().get(&after.prompt_sha256).await.unwrap().unwrap();
        let prompt = String::from_utf8(prompt).unwrap();
        assert!(prompt.contains("COMMAND_FAILED") && prompt.contains(&failure.message[..20]), "{prompt}");
    }
}
