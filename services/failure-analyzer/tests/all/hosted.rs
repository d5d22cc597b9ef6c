//! From failed tasks to groups and insights.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_events::v1::{
    Failure, FailureClassified, InsightPublished, SpecRejected, TaskBlocked, TaskFailed, TaskRef,
    TaskScheduled, WorkOrder,
};
use millrace_events::{CONTENT_TYPE_PROTOBUF, Code, Envelope, Event, FailureAnalyzerEvent, Key, Log};
use millrace_failure_analyzer::effects::FailureAnalyzerService;
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::{Append, Broker as _};
use millrace_runtime::clock::{Clock as _, System};
use millrace_runtime::host::{Host, HostError, HostOptions};
use millrace_runtime::log_reader::LogReader;
use millrace_runtime::memory::MemoryBroker;
use millrace_testkit::eventually;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(60);

struct Stage {
    broker: Arc<MemoryBroker>,
    _running: JoinSet<Result<(), HostError>>,
}

impl Stage {
    fn new() -> Self {
        let declared = Declared::of(&Installation::default());
        let broker = Arc::new(MemoryBroker::new(Arc::new(System), &declared));
        let service = FailureAnalyzerService::new(LogReader::new(broker.clone(), 1));
        let host = Host::new(
            service,
            broker.clone(),
            Arc::new(System),
            HostOptions::default(),
            CancellationToken::new(),
        );
        let mut running = JoinSet::new();
        running.spawn(host.run());
        Self { broker, _running: running }
    }

    async fn say(&self, key: &str, event: impl Into<Event>) {
        let event = event.into();
        let key = Key::new(key).unwrap();
        let log = event.log();
        let envelope = Envelope::new("test", "/test", key.clone(), System.now(), &event);
        let append = Append::new(log.stream(0), log.subject(&key, 1), envelope.encode());
        let _ = self.broker.append(&append.content_type(CONTENT_TYPE_PROTOBUF)).await.unwrap();
    }

    /// Everything in the analyzer's log, in order.
    async fn said(&self) -> Vec<FailureAnalyzerEvent> {
        let stored = self.broker.read(&Log::FailureAnalyzer.stream(0), None, 1, 10_000).await.unwrap();
        stored
            .iter()
            .filter_map(|stored| Envelope::decode(&stored.payload).unwrap().event().unwrap())
            .filter_map(|event| match event {
                Event::FailureAnalyzer(event) => Some(event),
                _ => None,
            })
            .collect()
    }

    async fn classified(&self) -> Vec<FailureClassified> {
        let said = self.said().await;
        said.into_iter()
            .filter_map(|event| match event {
                FailureAnalyzerEvent::FailureClassified(event) => Some(event),
                _ => None,
            })
            .collect()
    }

    async fn insights(&self) -> Vec<InsightPublished> {
        let said = self.said().await;
        said.into_iter()
            .filter_map(|event| match event {
                FailureAnalyzerEvent::InsightPublished(event) => Some(event),
                _ => None,
            })
            .collect()
    }

    /// A task of that domain that failed so.
    async fn failed(&self, number: usize, domain: &str, code: Code, stage: &str) {
        let task = task(number);
        let order = WorkOrder { task: Some(task.clone()), domain: domain.to_owned(), ..WorkOrder::default() };
        let scheduled = TaskScheduled {
            task: Some(task.clone()),
            spec_registered: true,
            order: Some(order),
            ..Default::default()
        };
        self.say(&task.task, scheduled).await;
        let failure = Some(Failure::new(code, "it broke").at_stage(stage));
        let event = TaskFailed { task: Some(task.clone()), outcome: 0, failure };
        self.say(&task.task, event).await;
    }
}

fn task(number: usize) -> TaskRef {
    TaskRef { task: format!("VTID-{number:05}"), run: 1, attempt: 1, ..TaskRef::default() }
}

#[tokio::test]
async fn s0_2_3_a_failed_task_is_classified_and_said_to_be_new() {
    let stage = Stage::new();
    stage.failed(1, "frontend", Code::ChecksFailed, "validating").await;
    eventually!(SOON, "an insight", stage.insights().await.len() == 1);
    let classified = stage.classified().await;
    assert_eq!(classified.len(), 1);
    assert_eq!(classified[0].task.as_ref().unwrap().task, "VTID-00001");
    assert_eq!(classified[0].domain, "frontend", "asked of the dispatcher's log");
    assert_eq!(classified[0].code, Code::ChecksFailed.to_wire() as i32);
    let insights = stage.insights().await;
    assert_eq!(insights[0].tasks, ["VTID-00001"]);
    assert_eq!(insights[0].group, classified[0].group);
}

#[tokio::test]
async fn s0_4_7a_forty_failures_of_four_kinds_are_four_groups_with_their_counts() {
    let stage = Stage::new();
    let kinds = [
        ("frontend", Code::ChecksFailed, "validating", 7),
        ("backend", Code::ChecksFailed, "validating", 9),
        ("frontend", Code::ExecutionTimeout, "executing", 11),
        ("frontend", Code::ChecksFailed, "executing", 13),
    ];
    let mut number = 0;
    for (domain, code, at, count) in kinds {
        for _ in 0..count {
            number += 1;
            stage.failed(number, domain, code, at).await;
        }
    }
    eventually!(SOON, "40 classifications", stage.classified().await.len() == 40);
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for event in stage.classified().await {
        *groups.entry(event.group).or_default() += 1;
    }
    let mut counts: Vec<usize> = groups.into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [7, 9, 11, 13]);
    // 1, 2, 5 in each, and 10 in two.
    eventually!(SOON, "14 insights", stage.insights().await.len() == 14);
}

#[tokio::test]
async fn what_is_delivered_twice_is_counted_once() {
    let stage = Stage::new();
    let failure = Some(Failure::new(Code::DispatchExhausted, "nobody").at_stage("dispatched"));
    let blocked = TaskBlocked { task: Some(task(1)), failure };
    for _ in 0..3 {
        stage.say("VTID-00001", blocked.clone()).await;
    }
    // The next run's failure is handled after them, for it shares their lane.
    let next = TaskBlocked { task: Some(TaskRef { run: 2, ..task(1) }), ..blocked };
    stage.say("VTID-00001", next).await;
    eventually!(SOON, "the next run's failure", {
        let classified = stage.classified().await;
        classified.iter().any(|event| event.task.as_ref().is_some_and(|task| task.run == 2))
    });
    assert_eq!(stage.classified().await.len(), 2);
}

#[tokio::test]
async fn a_rejected_spec_is_a_failure_too_with_or_without_a_task() {
    let stage = Stage::new();
    let rejected = SpecRejected {
        task: "VTID-00001".to_owned(),
        repository: "shop".to_owned(),
        checksum: "c0ffee".to_owned(),
        failure: Some(Failure::new(Code::SpecInvalid, "no acceptance criteria")),
        ..SpecRejected::default()
    };
    stage.say("VTID-00001", rejected.clone()).await;
    let failed = TaskFailed {
        task: Some(TaskRef {
            task: "VTID-00001".to_owned(),
            run: 1,
            repository: "shop".to_owned(),
            spec_checksum: "c0ffee".to_owned(),
            ..TaskRef::default()
        }),
        outcome: 0,
        failure: rejected.failure.clone().map(|failure| failure.at_stage("registered")),
    };
    stage.say("VTID-00001", failed.clone()).await;
    let nameless = SpecRejected { task: String::new(), checksum: "beef".to_owned(), ..rejected.clone() };
    stage.say("req-1", nameless).await;
    // A later failure of the same lane, so that the others have been handled.
    let later = TaskRef { spec_checksum: "f00d".to_owned(), ..failed.task.clone().unwrap() };
    stage.say("VTID-00001", TaskFailed { task: Some(later), ..failed }).await;
    eventually!(SOON, "three failures", stage.classified().await.len() == 3);
    let insights = stage.insights().await;
    assert!(insights.iter().all(|insight| !insight.tasks.contains(&String::new())), "{insights:?}");
}
