//! Histories written by hand, for the invariants' own tests.

#![allow(clippy::unwrap_used, reason = "this is a test's own tool")]

use std::collections::BTreeMap;

use millrace_decider::Timestamp;
use millrace_events::v1::{
    DeadLetterReplayRequested, DeadLetterReplayed, DeadLettered, ExecutionCompleted, MergeCompleted,
    PullRequest, TaskCancelled, TaskCompleted, TaskRef, TaskScheduled, ValidationPassed, WorkOrder,
    WorkOrderAcknowledged, WorkOrderIssued,
};
use millrace_events::{Envelope, Event, Key, Log};
use millrace_runtime::broker::Stored;

use crate::evidence::Evidence;

/// Logs as they would stand after these events.
#[derive(Clone)]
pub(super) struct History {
    streams: BTreeMap<String, Vec<Stored>>,
}

impl History {
    pub(super) fn new() -> Self {
        Self { streams: Log::ALL.into_iter().map(|log| (log.stream(0), Vec::new())).collect() }
    }

    pub(super) fn event(mut self, key: &str, event: impl Into<Event>) -> Self {
        let event = event.into();
        let log = event.log();
        let key = Key::new(key).unwrap();
        let messages = self.streams.get_mut(&log.stream(0)).unwrap();
        let sequence = messages.len() as u64 + 1;
        let subject = log.subject(&key, 1);
        let last = messages.iter().rev().find(|stored| stored.subject == subject);
        let last = last.map_or(0, |stored| stored.sequence);
        let time = Timestamp::from_millis(i64::try_from(sequence).unwrap());
        let envelope = Envelope::new(format!("{log:?}-{sequence}"), "/millrace/test", key, time, &event);
        messages.push(Stored {
            stream: log.stream(0),
            subject,
            sequence,
            time,
            headers: vec![("Nats-Expected-Last-Subject-Sequence".to_owned(), last.to_string())],
            payload: envelope.encode(),
        });
        self
    }

    pub(super) fn evidence(self) -> Evidence {
        Evidence { streams: self.streams, ..Evidence::default() }
    }
}

fn task(run: u32) -> Option<TaskRef> {
    let (task, repository) = ("VTID-01001".to_owned(), "repo-0".to_owned());
    Some(TaskRef { task, run, attempt: 1, repository, ..TaskRef::default() })
}

fn order(id: &str, run: u32) -> Option<WorkOrder> {
    Some(WorkOrder { id: id.to_owned(), task: task(run), ..WorkOrder::default() })
}

pub(super) fn scheduled(run: u32) -> TaskScheduled {
    TaskScheduled { order: order("o", run), task: task(run), ..TaskScheduled::default() }
}

pub(super) fn issued(id: &str, run: u32) -> WorkOrderIssued {
    WorkOrderIssued { order: order(id, run), task: task(run), ..WorkOrderIssued::default() }
}

/// An order in a domain.
pub(super) fn issued_in(domain: &str) -> WorkOrderIssued {
    let mut issued = issued("o", 1);
    issued.order = issued.order.map(|order| WorkOrder { domain: domain.to_owned(), ..order });
    issued
}

const LETTER: (&str, u64, &str) = ("MILLRACE_WORKER_0", 1, "deployer");

pub(super) fn given_up(replay: u64) -> DeadLettered {
    let (stream, sequence, service) = LETTER;
    let (stream, service) = (stream.to_owned(), service.to_owned());
    DeadLettered { stream, sequence, service, replay, ..DeadLettered::default() }
}

pub(super) fn replayed(replay: u64) -> DeadLetterReplayed {
    let (stream, sequence, service) = LETTER;
    DeadLetterReplayed { stream: stream.to_owned(), sequence, service: service.to_owned(), replay }
}

pub(super) fn asked_to_replay() -> DeadLetterReplayRequested {
    let (stream, sequence, service) = LETTER;
    let (stream, service) = (stream.to_owned(), service.to_owned());
    DeadLetterReplayRequested { stream, sequence, service, ..DeadLetterReplayRequested::default() }
}

pub(super) fn completed(run: u32) -> TaskCompleted {
    TaskCompleted { task: task(run), ..TaskCompleted::default() }
}

pub(super) fn cancelled(run: u32) -> TaskCancelled {
    TaskCancelled { task: task(run), ..TaskCancelled::default() }
}

pub(super) fn claimed(order: &str, worker: &str) -> WorkOrderAcknowledged {
    let (order, worker) = (order.to_owned(), worker.to_owned());
    WorkOrderAcknowledged { task: task(1), order, worker, ..WorkOrderAcknowledged::default() }
}

pub(super) fn finished(order: &str, worker: &str, fencing_token: u64) -> ExecutionCompleted {
    let (order, worker) = (order.to_owned(), worker.to_owned());
    ExecutionCompleted { task: task(1), order, worker, fencing_token, ..ExecutionCompleted::default() }
}

fn pull_request(number: u64, head: &str) -> Option<PullRequest> {
    Some(PullRequest { number, head: head.to_owned(), ..PullRequest::default() })
}

pub(super) fn passed(number: u64, head: &str) -> ValidationPassed {
    ValidationPassed {
        task: task(1),
        pull_request: pull_request(number, head),
        ..ValidationPassed::default()
    }
}

pub(super) fn merge_recorded(commit: &str) -> MergeCompleted {
    MergeCompleted { task: task(1), pull_request: pull_request(1, "h"), merge_commit: commit.to_owned() }
}
