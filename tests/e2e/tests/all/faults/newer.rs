//! What a newer version writes.

use millrace_e2e::{Campaign, Cluster, Plan, Submitted, Work, spec};
use millrace_events::v1::spec_submitted;
use millrace_events::v1::{Failure, PhaseCompleted, PhaseRecord, SpecSubmitted, TaskRef, TransitionRefused};
use millrace_events::{Envelope, Event, Key, Log};
use millrace_runtime::clock::{Clock as _, System};

use super::BOUND;

/// A field with a number that this version does not know, behind the others.
const NEW_FIELD: &[u8] = &[0xc2, 0x3e, 3, b'n', b'e', b'w'];

fn envelope(id: String, key: &Key, event: &Event) -> Envelope {
    let mut envelope = Envelope::new(id, "/tests/newer", key.clone(), System.now(), event);
    envelope.data.extend_from_slice(NEW_FIELD);
    envelope
}

fn reference(task: &Key) -> Option<TaskRef> {
    Some(TaskRef { task: task.to_string(), run: 1, attempt: 1, ..TaskRef::default() })
}

/// Events of types that this version knows, with fields and values that it does not.
fn known(task: &Key) -> Vec<Event> {
    const NEW_VALUE: i32 = 977;
    let record = Some(PhaseRecord { phase: NEW_VALUE, ..PhaseRecord::default() });
    let failure =
        Some(Failure { code: NEW_VALUE, message: "of a newer version".to_owned(), ..Failure::default() });
    vec![
        PhaseCompleted { task: reference(task), record }.into(),
        TransitionRefused {
            task: reference(task),
            status: "hibernating".to_owned(),
            failure,
            ..Default::default()
        }
        .into(),
    ]
}

/// F25, I4, I6: between the events of this version stand those of a newer one, in every log and under the keys
/// of tasks that are under way: types, fields and values that nobody knows. They are kept, skipped, counted and
/// shown, and the tasks go on.
#[tokio::test(flavor = "multi_thread")]
async fn f25_events_of_a_newer_version_are_kept_skipped_counted_and_shown() {
    let cluster = Cluster::start_with(Campaign::options()).await;
    let mut campaign = Campaign::on("F25", cluster).await;
    campaign.push(10);
    let mut unknown = 0;
    for round in 0..3 {
        for log in Log::ALL {
            let task = campaign.any_task();
            let key = if log == Log::Intake { Key::new(format!("req-newer-{round}")).unwrap() } else { task };
            let event: Event = PhaseCompleted::default().into();
            let mut newer = envelope(format!("newer-{round}-{}", log.name()), &key, &event);
            newer.event_type = format!("millrace.{}.v1.SomethingNewer", log.name());
            campaign.put_event(log, &key, &newer).await;
            campaign.injected("unknown-type");
            unknown += 1;
        }
        let task = campaign.any_task();
        for event in known(&task) {
            let newer = envelope(format!("known-{round}-{}", event.name()), &task, &event);
            campaign.put_event(event.log(), &task, &newer).await;
            campaign.injected("unknown-field");
        }
        submit(&mut campaign, round).await;
        campaign.injected("unknown-field");
    }
    let evidence = campaign.reckon(BOUND).await;
    let marked = evidence.ledger.live.lines().filter(|line| line.contains(r#""mark":"EVENT_UNKNOWN""#));
    assert_eq!(marked.count(), unknown, "kept and marked");
    assert_eq!(evidence.events(Log::DeadLetter).count(), 0, "nothing of it is a dead letter");
    let shown = campaign.cluster.log_of("projector");
    assert!(shown.contains("EVENT_UNKNOWN") || shown.contains("event skipped"), "{shown}");
    for service in ["dispatcher", "validator", "deployer"] {
        assert_eq!(campaign.cluster.stop(service), Some(0));
        let log = campaign.cluster.log_of(service);
        let counted = log.lines().rev().find(|line| line.contains("skipped=")).unwrap_or_default();
        assert!(!counted.is_empty() && !counted.contains("skipped=0"), "{service}: {counted}");
    }
}

/// Hands in a task as a newer producer does: a source and a field that nobody here knows.
async fn submit(campaign: &mut Campaign, round: usize) {
    let task = format!("VTID-{:05}", 5_000 + round);
    let plan = Plan::file(format!("notes/newer-{round}.txt"), "newer");
    let event: Event = SpecSubmitted {
        repository: campaign.cluster.repositories[1].name.clone(),
        path: format!("docs/specs/{task}.md"),
        source: 99,
        submitted_by: "a newer producer".to_owned(),
        spec: Some(spec_submitted::Spec::SpecContent(spec(&task, &plan).into_bytes())),
        ..SpecSubmitted::default()
    }
    .into();
    let key = Key::new(format!("req-newer-task-{round}")).unwrap();
    let newer = envelope(format!("newer-task-{round}"), &key, &event);
    campaign.put_event(Log::Intake, &key, &newer).await;
    campaign.submitted.push(Submitted { task, repository: 1, work: Work::Plain });
}
