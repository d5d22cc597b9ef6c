//! The scan of real git repositories, from a commit to a registration.

use std::sync::Arc;

use millrace_events::{Code, Event, IntakeEvent, Key, Log, SpecRegistryEvent};
use millrace_runtime::settings::Settings;
use millrace_spec_registry::config::Config;
use millrace_spec_registry::domain::format::MAX_SPEC_BYTES;
use millrace_spec_registry::repositories::Repositories;
use millrace_testkit::eventually;

use super::format_rules::GOOD;
use super::git_repository::GitRepository;
use super::world::{BOUND, World, repository};

/// Real sources, configured as an installation configures them.
fn repositories(git: &GitRepository, others: &[(&str, &str)]) -> Repositories {
    let mut settings = Settings::default();
    settings.repositories.push(repository("shop", &git.work().display().to_string()));
    settings.repositories.extend(others.iter().map(|(id, url)| repository(id, url)));
    Repositories::of(&settings, &Config { directory: git.cache() }).unwrap()
}

fn versions(said: &[SpecRegistryEvent]) -> Vec<u32> {
    said.iter()
        .map(|event| match event {
            SpecRegistryEvent::SpecRegistered(event) => event.version,
            other => panic!("not registered: {other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn s1_gap1_b_a_scan_registers_once_and_a_restart_changes_nothing() {
    let git = GitRepository::new();
    let plan = b"plan: {}\n";
    git.commit(&[
        ("docs/specs/01213-orders.md", GOOD.as_bytes()),
        ("docs/specs/01213-orders.plan.yaml", plan),
        ("docs/specs/deep/notes.md", GOOD.as_bytes()),
    ]);
    let world = World::new();
    let running = world.start(repositories(&git, &[]));
    let said = world.answers("VTID-01213", 1).await;
    let SpecRegistryEvent::SpecRegistered(event) = &said[0] else { panic!("{said:?}") };
    assert_eq!((event.version, event.path.as_str()), (1, "docs/specs/01213-orders.md"));
    assert_eq!((event.commit.len(), event.acceptance_criteria), (40, 1));
    let stored = world.context.blobs.get(&event.plan.as_ref().unwrap().sha256).await.unwrap();
    assert_eq!(stored.as_deref(), Some(plan.as_slice()));
    // The file without an id is a task too: its message was the second one.
    world.answers("VTID-00102", 1).await;
    running.stop().await;
    let (handed_in, said) = (world.handed_in().await, world.all_said().await);
    assert_eq!((handed_in, said.len()), (2, 3));

    world.ten_minutes_later();
    let running = world.start(repositories(&git, &[]));
    // A file that is added later shows that the scan of the others is through.
    git.commit(&[("docs/specs/01214-cart.md", GOOD.as_bytes())]);
    world.answers("VTID-01214", 1).await;
    running.stop().await;
    assert_eq!((world.handed_in().await, world.all_said().await.len()), (3, 4));
}

#[tokio::test]
async fn an_edit_is_the_next_version_and_so_is_its_undoing() {
    let git = GitRepository::new();
    let world = World::new();
    let running = world.start(repositories(&git, &[]));
    let edited = GOOD.replace("blue", "green");
    let file = "docs/specs/01213-orders.md";
    for (count, text) in [(1, GOOD), (2, edited.as_str()), (3, GOOD), (4, edited.as_str())] {
        git.commit(&[(file, text.as_bytes())]);
        let said = world.answers("VTID-01213", count).await;
        assert_eq!(versions(&said), (1..=count as u32).collect::<Vec<_>>());
    }
    running.stop().await;
}

#[tokio::test]
async fn a_file_without_an_id_keeps_its_task_when_it_is_edited_and_undone() {
    let git = GitRepository::new();
    let world = World::new();
    let running = world.start(repositories(&git, &[]));
    for (count, text) in [(1, GOOD.to_owned()), (2, GOOD.replace("blue", "green")), (3, GOOD.to_owned())] {
        git.commit(&[("docs/specs/notes.md", text.as_bytes())]);
        let said = world.answers("VTID-00101", count).await;
        assert_eq!(versions(&said).len(), count);
    }
    running.stop().await;
    let allocations = world
        .all_said()
        .await
        .iter()
        .filter(|(_, e)| matches!(e, SpecRegistryEvent::TaskAllocated(_)))
        .count();
    assert_eq!(allocations, 1);
}

#[tokio::test]
async fn no_file_is_ignored_and_no_repository_holds_up_another() {
    let git = GitRepository::new();
    let large = vec![b'x'; MAX_SPEC_BYTES + 1];
    git.commit(&[
        ("docs/specs/01213-orders.md", GOOD.as_bytes()),
        ("docs/specs/01213-rival.md", GOOD.replace("blue", "red").as_bytes()),
        ("docs/specs/01214-large.md", &large),
    ]);
    let gone = git.work().with_file_name("gone.git");
    let world = World::new();
    let running = world.start(repositories(&git, &[("gone", &gone.display().to_string())]));
    let said = world.answers("VTID-01214", 1).await;
    let SpecRegistryEvent::SpecRejected(event) = &said[0] else { panic!("{said:?}") };
    assert_eq!(event.failure.as_ref().unwrap().known_code(), Some(Code::SpecInvalid));
    assert!(event.failure.as_ref().unwrap().message.contains("larger than 512 KiB"));
    let said = world.answers("VTID-01213", 2).await;
    assert_eq!(versions(&said[..1]), [1]);
    let SpecRegistryEvent::SpecRejected(event) = &said[1] else { panic!("{said:?}") };
    assert_eq!(event.failure.as_ref().unwrap().known_code(), Some(Code::SpecIdConflict));
    // The repository that was not there is read as soon as it is.
    let bare = git.bare();
    std::fs::rename(bare, &gone).unwrap();
    eventually!(BOUND, "the other repository is handed in", { world.handed_in().await >= 6 });
    running.stop().await;
}

#[tokio::test]
async fn what_a_scan_hands_in_begins_a_trace_where_traces_are_on() {
    let git = GitRepository::new();
    git.commit(&[("docs/specs/01213-orders.md", GOOD.as_bytes())]);
    for traced in [false, true] {
        let mut world = World::new();
        let mut settings = Settings::clone(&world.context.settings);
        settings.telemetry.otlp_endpoint = traced.then(|| "http://127.0.0.1:1".to_owned());
        world.context.settings = Arc::new(settings);
        let running = world.start(repositories(&git, &[]));
        world.answers("VTID-01213", 1).await;
        running.stop().await;
        let broker = &world.context.broker;
        let stored = broker.read(&Log::Intake.stream(0), None, 1, 10).await.unwrap();
        let envelope = millrace_events::Envelope::decode(&stored[0].payload).unwrap();
        assert_eq!(millrace_telemetry::context::trace_id(&envelope.traceparent).is_some(), traced);
        let Some(Event::Intake(IntakeEvent::SpecSubmitted(event))) = envelope.event().unwrap() else {
            panic!("{envelope:?}")
        };
        assert_eq!(envelope.key, Key::new(format!("req-{}", envelope.id)).unwrap());
        assert_eq!((event.repository.as_str(), event.submitted_by.as_str()), ("shop", "git"));
    }
}
