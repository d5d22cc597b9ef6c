use millrace_decider::Timestamp;
use millrace_events::v1::{
    ExecutionCompleted, MergeCompleted, TaskCompleted, TaskFailed, TaskScheduled, WorkOrder,
    WorkOrderAcknowledged, WorkOrderExpired,
};
use millrace_events::{Envelope, Key};
use millrace_runtime::broker::Stored;

use super::*;
use crate::invariants::{Check, Expected, Message};
use crate::monitor::Lag;
use crate::receiving::{Merge, Receiver};

fn message(sequence: u64, event: Event) -> Message {
    let key = Key::new("T-1").unwrap();
    let log = event.log();
    let payload = Envelope::new("x", "/x", key.clone(), Timestamp::default(), &event).encode();
    Message::read(Stored {
        stream: log.stream(0),
        subject: log.subject(&key, 1),
        sequence,
        time: Timestamp::default(),
        headers: Vec::new(),
        payload,
    })
}

fn task(run: u32) -> Option<TaskRef> {
    Some(TaskRef { task: "T-1".to_owned(), run, attempt: 1, ..TaskRef::default() })
}

fn scheduled(run: u32) -> Event {
    let order = Some(WorkOrder { id: "o-1".to_owned(), ..WorkOrder::default() });
    TaskScheduled { task: task(run), order, ..TaskScheduled::default() }.into()
}

fn completed(run: u32) -> Event {
    TaskCompleted { task: task(run), ..TaskCompleted::default() }.into()
}

fn claimed() -> Event {
    WorkOrderAcknowledged { task: task(1), order: "o-1".to_owned(), ..Default::default() }.into()
}

fn executed(token: u64) -> Event {
    ExecutionCompleted {
        task: task(1),
        order: "o-1".to_owned(),
        fencing_token: token,
        head: "h".to_owned(),
        ..Default::default()
    }
    .into()
}

fn log(events: Vec<Event>) -> (Log, Vec<Message>) {
    let log = events[0].log();
    (log, (1..).zip(events).map(|(sequence, event)| message(sequence, event)).collect())
}

fn good() -> Evidence {
    let merge = Merge { commit: "m".into(), task: "T-1".into(), attempt: "1.1".into(), head: "h".into() };
    Evidence {
        logs: BTreeMap::from([log(vec![scheduled(1), completed(1)]), log(vec![claimed(), executed(1)])]),
        expected: vec![Expected {
            task: "T-1".into(),
            repository: "shop".into(),
            runs: 1,
            end: End::Released,
        }],
        receivers: vec![Receiver { merges: vec![merge], ..Receiver::default() }],
        consumers: vec![Lag { stream: "S".into(), durable: "d".into(), pending: 0, unanswered: 0 }],
        ..Evidence::default()
    }
}

fn broken(check: Check, text: &str, change: impl FnOnce(&mut Evidence)) {
    let mut evidence = good();
    change(&mut evidence);
    let found = check(&evidence);
    assert!(found.iter().any(|violation| violation.text.contains(text)), "{text}: {found:?}");
}

fn put(evidence: &mut Evidence, events: Vec<Event>) {
    let (name, messages) = log(events);
    evidence.logs.insert(name, messages);
}

#[test]
fn i6_finds_two_ends_illegal_steps_and_what_the_ledger_refused() {
    assert_eq!(legal(&good()), []);
    broken(legal, "has 2 ends", |all| put(all, vec![scheduled(1), completed(1), completed(1)]));
    broken(legal, "Complete became Active", |all| put(all, vec![scheduled(1), completed(1), scheduled(1)]));
    broken(legal, "has 2 runs", |all| put(all, vec![scheduled(1), completed(1), scheduled(2)]));
    broken(legal, "should be Released", |all| {
        let failed = TaskFailed { task: task(1), ..TaskFailed::default() };
        put(all, vec![scheduled(1), failed.into()]);
    });
    broken(legal, "should be Failed", |all| all.expected[0].end = End::Failed);
    broken(legal, "has 0 runs", |all| all.expected[0].task = "T-9".into());
    broken(legal, "refused by the ledger", |all| {
        all.ledger.live = r#"{"table":"events","row":{"mark":"STATE_MISMATCH"}}"#.to_owned();
    });
}

#[test]
fn i7_finds_what_has_not_ended_and_what_still_waits() {
    assert_eq!(at_rest(&good()), []);
    broken(at_rest, "has not ended", |all| put(all, vec![scheduled(1)]));
    broken(at_rest, "1 pending", |all| all.consumers[0].pending = 1);
    broken(at_rest, "2 unanswered", |all| all.consumers[0].unanswered = 2);
    broken(at_rest, "says nothing", |all| all.consumers.clear());
}

#[test]
fn i8_finds_second_claims_stale_tokens_second_ends_and_merges_of_expired_orders() {
    assert_eq!(fenced(&good()), []);
    broken(fenced, "was claimed at 1 and at 2", |all| put(all, vec![claimed(), claimed(), executed(2)]));
    broken(fenced, "under 7", |all| put(all, vec![claimed(), executed(7)]));
    broken(fenced, "ended at 2 and at 3", |all| put(all, vec![claimed(), executed(1), executed(1)]));
    broken(fenced, "the expired order o-1", |all| {
        let expired = WorkOrderExpired { task: task(1), order: "o-1".to_owned(), ..Default::default() };
        put(all, vec![scheduled(1), expired.into(), completed(1)]);
    });
    broken(fenced, "no worker handed over", |all| all.receivers[0].merges[0].head = "x".into());
    broken(fenced, "MergeCompleted of T-1 1.1 at 1 and at 2", |all| {
        let merged: Event = MergeCompleted { task: task(1), ..Default::default() }.into();
        put(all, vec![merged.clone(), merged]);
    });
}
