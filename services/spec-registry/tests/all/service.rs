//! The registry as a service: intake in, its own log out.

use std::sync::Arc;

use millrace_decider::Cause;
use millrace_events::v1::{
    Blob, SpecRejected, SpecSource, SpecSubmitted, TaskAllocated, TaskRequested, spec_submitted,
};
use millrace_events::{Code, Log, SpecRegistryEvent};
use millrace_runtime::blobs::digest_of;
use millrace_spec_registry::adapters::ScriptedSource;
use millrace_spec_registry::ports::SourceError;

use super::format_rules::GOOD;
use super::world::{World, scripted, unscanned};

fn registered(event: &SpecRegistryEvent) -> &millrace_events::v1::SpecRegistered {
    match event {
        SpecRegistryEvent::SpecRegistered(event) => event,
        other => panic!("not registered: {other:?}"),
    }
}

fn rejected(event: &SpecRegistryEvent) -> (&SpecRejected, Code) {
    match event {
        SpecRegistryEvent::SpecRejected(event) => {
            (event, event.failure.as_ref().unwrap().known_code().unwrap())
        }
        other => panic!("not rejected: {other:?}"),
    }
}

fn asked(task: &str, repository: &str) -> TaskRequested {
    TaskRequested {
        task: task.to_owned(),
        repository: repository.to_owned(),
        requested_by: "somebody".to_owned(),
        ..TaskRequested::default()
    }
}

#[tokio::test]
async fn s1_gap2_5_a_changed_spec_is_a_new_version_and_the_old_one_stays_readable() {
    let world = World::new();
    let shop = Arc::new(ScriptedSource::new());
    let running = world.start(scripted(&[("shop", &shop)]));
    world.hand_in("01213-x.md", GOOD.as_bytes()).await;
    world.answers("VTID-01213", 1).await;
    let edited = GOOD.replace("blue", "green");
    world.hand_in("01213-x.md", edited.as_bytes()).await;
    let said = world.answers("VTID-01213", 2).await;
    let (first, second) = (registered(&said[0]), registered(&said[1]));
    assert_eq!((first.version, second.version), (1, 2));
    assert_eq!(second.checksum, digest_of(edited.as_bytes()));
    assert_eq!(second.target, "local");
    // Without a commit of its own it gets the head of the base branch.
    assert_eq!(second.commit, format!("{:040x}", 0));
    for (version, text) in [(first, GOOD), (second, edited.as_str())] {
        let bytes = world.context.blobs.get(&version.spec.as_ref().unwrap().sha256).await.unwrap();
        assert_eq!(bytes.as_deref(), Some(text.as_bytes()));
        assert_eq!(version.checksum, version.spec.as_ref().unwrap().sha256);
    }
    running.stop().await;
}

#[tokio::test]
async fn s3_4_3b_the_same_submission_ten_times_is_one_task() {
    let world = World::new();
    let shop = Arc::new(ScriptedSource::new());
    let running = world.start(scripted(&[("shop", &shop)]));
    for _ in 0..10 {
        world.hand_in("notes.md", GOOD.as_bytes()).await;
    }
    world.settled("req-marker").await;
    running.stop().await;
    assert_eq!(world.handed_in().await, 11);
    let mut said = world.all_said().await;
    said.retain(|(key, _)| key.as_str() != "req-marker");
    let [(by, SpecRegistryEvent::TaskAllocated(allocated)), (task, second)] = said.as_slice() else {
        panic!("{said:?}")
    };
    assert_eq!((allocated.task.as_str(), allocated.submission.as_str()), ("VTID-00101", by.as_str()));
    assert_eq!(task.as_str(), "VTID-00101");
    assert_eq!((registered(second).version, registered(second).submission.as_str()), (1, by.as_str()));
}

#[tokio::test]
async fn an_allocated_id_is_one_that_nobody_has() {
    let world = World::new();
    let shop = Arc::new(ScriptedSource::new());
    let running = world.start(scripted(&[("shop", &shop)]));
    // Sequence 1; the next submission would be number 100 + 2.
    world.hand_in("00102-taken.md", GOOD.as_bytes()).await;
    world.answers("VTID-00102", 1).await;
    let key = world.hand_in("notes.md", GOOD.as_bytes()).await;
    let said = world.answers("VTID-00103", 1).await;
    assert_eq!(registered(&said[0]).submission, key.as_str());
    assert_eq!(world.said("VTID-00102").await.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn s1_gap7_1_a_crash_between_allocation_and_registration_is_finished() {
    let world = World::new();
    let shop = Arc::new(ScriptedSource::new());
    let key = world.hand_in("notes.md", GOOD.as_bytes()).await;
    // The registry died right after it had recorded the allocation.
    let allocated = TaskAllocated { task: "VTID-00555".to_owned(), submission: key.to_string() };
    let cause = Cause::new(Log::Intake.stream(0), 1);
    world.write(Log::SpecRegistry, key.as_str(), allocated.into(), Some(cause)).await;
    let running = world.start(scripted(&[("shop", &shop)]));
    let said = world.answers("VTID-00555", 1).await;
    assert_eq!(registered(&said[0]).version, 1);
    world.settled("req-marker").await;
    assert_eq!(world.said(key.as_str()).await.len(), 1, "nothing is allocated twice");
    running.stop().await;
}

#[tokio::test]
async fn s1_gap5_3_s1_gap7_2_an_invalid_spec_is_refused_with_every_line_and_no_task() {
    let world = World::new();
    let shop = Arc::new(ScriptedSource::new());
    let running = world.start(scripted(&[("shop", &shop)]));
    let text = b"# X\n\n## Summary\nshort\n\n## Problem\n\n## Acceptance Criteria\n";
    world.hand_in("01213-x.md", text).await;
    let said = world.answers("VTID-01213", 1).await;
    let (event, code) = rejected(&said[0]);
    let lines: Vec<u32> = event.problems.iter().map(|problem| problem.line).collect();
    assert_eq!((code, lines), (Code::SpecInvalid, vec![3, 6, 8]));
    assert!(event.failure.as_ref().unwrap().message.starts_with("3 faults in 01213-x.md: line 3: "));
    // Neither the same message again nor another one with the same bytes says it twice.
    world.hand_in("01213-x.md", text).await;
    world.settled("req-marker").await;
    assert_eq!(world.said("VTID-01213").await.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn bad_bytes_each_have_their_own_answer() {
    let world = World::new();
    let shop = Arc::new(ScriptedSource::new());
    let running = world.start(scripted(&[("shop", &shop)]));
    let submit = |path: &str, spec: Option<spec_submitted::Spec>| SpecSubmitted {
        repository: "shop".to_owned(),
        path: path.to_owned(),
        source: SpecSource::Manual as i32,
        spec,
        ..SpecSubmitted::default()
    };
    let blob =
        |sha256: String, size| Some(spec_submitted::Spec::SpecBlob(Blob { sha256, size, ..Blob::default() }));
    let content = |bytes: &[u8]| Some(spec_submitted::Spec::SpecContent(bytes.to_vec()));
    let stored = world.context.blobs.put(GOOD.as_bytes()).await.unwrap();
    let template = GOOD.replace("The orders item becomes blue.", "Orders become blue by [DATE].");
    let two_ids = format!("**VTID:** VTID-09999\n\n{GOOD}");
    let cases = [
        ("VTID-00001", blob(digest_of(b"never stored"), 12), Code::SpecChecksumMismatch, "has no bytes"),
        ("VTID-00002", blob("nonsense".to_owned(), 12), Code::SpecChecksumMismatch, "nonsense"),
        ("VTID-00003", blob(stored, 12), Code::SpecChecksumMismatch, "not 12 as handed in"),
        ("VTID-00004", blob(String::new(), 2 * 1024 * 1024), Code::SpecInvalid, "larger than 512 KiB"),
        ("VTID-00005", content(&[0xff, 0xfe, b'x']), Code::SpecInvalid, "not UTF-8"),
        ("VTID-00006", content(b""), Code::SpecInvalid, "empty"),
        ("VTID-00007", None, Code::SpecInvalid, "carries no spec"),
        ("VTID-00008", content(two_ids.as_bytes()), Code::SpecIdConflict, "VTID-09999"),
        ("VTID-00009", content(template.as_bytes()), Code::SpecTemplateUnfilled, "line 4"),
    ];
    for (task, spec, expected, says) in cases {
        world.publish(&format!("req-{task}"), submit(&format!("docs/specs/{task}-x.md"), spec)).await;
        let said = world.answers(task, 1).await;
        let (event, code) = rejected(&said[0]);
        let message = &event.failure.as_ref().unwrap().message;
        assert_eq!(code, expected, "{task}: {message}");
        assert!(message.contains(says), "{task}: {message}");
    }
    running.stop().await;
}

#[tokio::test]
async fn s1_gap2_3_a_requested_task_is_found_where_no_scan_has_been() {
    let world = World::new();
    let (shop, admin) = (Arc::new(ScriptedSource::new()), Arc::new(ScriptedSource::new()));
    admin.put("docs/specs/01213-x.md", GOOD.as_bytes());
    admin.put("docs/specs/01213-x.plan.yaml", b"plan: {}");
    let repositories = unscanned(&[("shop", &shop), ("admin", &admin)]);
    let running = world.start(repositories);
    world.publish("req-1", asked("VTID-01213", "")).await;
    let said = world.answers("VTID-01213", 1).await;
    let event = registered(&said[0]);
    assert_eq!((event.repository.as_str(), event.path.as_str()), ("admin", "docs/specs/01213-x.md"));
    assert_eq!((event.submission.as_str(), event.submitted_by.as_str()), ("req-1", "somebody"));
    assert_eq!(event.plan.as_ref().unwrap().sha256, digest_of(b"plan: {}"));
    running.stop().await;
}

#[tokio::test]
async fn s1_gap4_a_requested_task_that_is_nowhere_is_refused_by_who_has_looked_everywhere() {
    let world = World::new();
    let (shop, admin) = (Arc::new(ScriptedSource::new()), Arc::new(ScriptedSource::new()));
    let running = world.start(unscanned(&[("shop", &shop), ("admin", &admin)]));
    world.publish("req-1", asked("VTID-01213", "shop")).await;
    let said = world.answers("VTID-01213", 1).await;
    let (event, code) = rejected(&said[0]);
    assert_eq!(
        (code, event.task.as_str(), event.submission.as_str()),
        (Code::SpecNotFound, "VTID-01213", "req-1")
    );
    let message = &event.failure.as_ref().unwrap().message;
    assert_eq!(message, "there is no spec for VTID-01213: repository shop has none");
    // Where a source cannot be read, nobody can say that there is none.
    let location = "/srv/gone.git".to_owned();
    admin.fail_next(SourceError::NotFound { repository: "admin".to_owned(), location });
    world.publish("req-2", asked("VTID-01214", "")).await;
    let said = world.answers("VTID-01214", 1).await;
    let (event, code) = rejected(&said[0]);
    assert_eq!(code, Code::RepositoryUnavailable);
    assert!(event.failure.as_ref().unwrap().message.contains("/srv/gone.git"), "{event:?}");
    // And what is no task id is answered under the request.
    world.publish("req-3", asked("VTID-12", "shop")).await;
    let said = world.answers("req-3", 1).await;
    assert_eq!(rejected(&said[0]).1, Code::TaskIdInvalid);
    running.stop().await;
}

#[tokio::test]
async fn a_repository_whose_head_is_not_known_refuses_a_hand_in_and_takes_it_later() {
    let world = World::new();
    let shop = Arc::new(ScriptedSource::new());
    let repositories = unscanned(&[("shop", &shop)]);
    shop.fail_next(SourceError::Misconfigured { repository: "shop".to_owned(), reason: "odd".to_owned() });
    let running = world.start(repositories);
    world.hand_in("01213-x.md", GOOD.as_bytes()).await;
    let said = world.answers("VTID-01213", 1).await;
    assert_eq!(rejected(&said[0]).1, Code::RepositoryUnavailable);
    world.hand_in("01213-x.md", GOOD.as_bytes()).await;
    let said = world.answers("VTID-01213", 2).await;
    assert_eq!(registered(&said[1]).version, 1);
    running.stop().await;
}
