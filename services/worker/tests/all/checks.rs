//! `kind: check`: the checks on the head merged with its base.

use millrace_events::{Code, WorkerEvent};
use millrace_testkit::eventually;

use crate::support::{SOON, World, commit};

const BRANCH: &str = "millrace/VTID-01213/1.1";

#[tokio::test(flavor = "multi_thread")]
async fn checks_run_on_the_head_merged_with_its_base() {
    let mut world = World::new();
    let head = commit(&world.repository(), BRANCH, &[("change.txt", "changed\n")]);
    // The base has moved on since the branch was made, and once more after the order.
    world.base = commit(&world.repository(), "main", &[("base.txt", "moved\n")]);
    let checks = [("both", "cat change.txt base.txt"), ("fails", "echo assertion failed; echo ---; exit 4")];
    let order = world.check_order(BRANCH, &head, &checks).await;
    commit(&world.repository(), "main", &[("later.txt", "later\n")]);
    world.schedule(&order).await;
    world.start("w1");
    let WorkerEvent::ChecksCompleted(done) = world.end().await else { panic!("no checks") };
    assert!(!done.passed, "one of two failed: an answer, no failure of the work");
    assert_eq!((&done.head, &done.base), (&head, &world.base));
    assert_eq!((done.worker.as_str(), done.implementer.as_str()), ("w1", "maker"));
    assert_eq!(done.evidence, order.evidence, "the change's evidence is carried on");
    assert!(done.results[0].passed && done.results[0].summary.is_empty());
    assert_eq!(world.text(done.results[0].output.as_ref().unwrap()).await, "changed\nmoved\n");
    assert!(!done.results[1].passed);
    assert_eq!((done.results[1].exit_code, done.results[1].summary.as_str()), (4, "assertion failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_checks_passed_is_a_pass() {
    let mut world = World::new();
    let head = commit(&world.repository(), BRANCH, &[("change.txt", "changed\n")]);
    world
        .schedule(
            &world
                .check_order(BRANCH, &head, &[("one", "true"), ("two", "grep -q changed change.txt")])
                .await,
        )
        .await;
    world.start("w1");
    let WorkerEvent::ChecksCompleted(done) = world.end().await else { panic!("no checks") };
    assert!(done.passed, "{done:?}");
    assert_eq!(done.fencing_token, world.logged().await[0].sequence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_merge_is_a_conflict() {
    let mut world = World::new();
    let head = commit(&world.repository(), BRANCH, &[("greeting.txt", "hi\n")]);
    world.base = commit(&world.repository(), "main", &[("greeting.txt", "hey\n")]);
    world.schedule(&world.check_order(BRANCH, &head, &[("one", "true")]).await).await;
    world.start("w1");
    let (_, failure) = world.failed(Code::MergeConflict).await;
    assert!(failure.message.contains("greeting.txt"), "{}", failure.message);
    assert_eq!(failure.stage, "checking");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_named_head_and_base_are_checked() {
    let mut world = World::new();
    let head = commit(&world.repository(), BRANCH, &[("change.txt", "changed\n")]);
    let order = world.check_order(BRANCH, &head, &[("one", "true")]).await;
    commit(&world.repository(), BRANCH, &[("change.txt", "pushed by somebody\n")]);
    world.schedule(&order).await;
    world.start("w1");
    world.failed(Code::PrHeadMoved).await;

    let mut world = World::new();
    world.schedule(&world.check_order(BRANCH, &"b".repeat(40), &[("one", "true")]).await).await;
    world.start("w1");
    world.failed(Code::PrNotFound).await;

    let mut world = World::new();
    let head = commit(&world.repository(), BRANCH, &[("change.txt", "changed\n")]);
    world.base = "c".repeat(40);
    world.schedule(&world.check_order(BRANCH, &head, &[("one", "true")]).await).await;
    world.start("w1");
    world.failed(Code::PrBaseMoved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_role_the_maker_of_a_change_does_not_check_it() {
    let mut world = World::new();
    let head = commit(&world.repository(), BRANCH, &[("change.txt", "changed\n")]);
    world.start("maker");
    world.schedule(&world.check_order(BRANCH, &head, &[("one", "true")]).await).await;
    world.settled().await;
    assert!(world.logged().await.is_empty(), "the only worker there is made the change");
    world.start("maker");
    world.start("checker");
    eventually!(SOON, "somebody else checks", world.logged().await.len() == 2);
    let WorkerEvent::ChecksCompleted(done) = world.end().await else { panic!("no checks") };
    assert_eq!(done.worker, "checker");
}
