//! Logs in memory, a ledger of either kind, and a task's way through the pipeline.

use std::collections::BTreeMap;

use async_trait::async_trait;
use millrace_decider::{Cause, Timestamp};
use millrace_events::v1::{self, Outcome, TaskRef, WorkOrderKind};
use millrace_events::{Code, Envelope, Event, Key, Log};
use millrace_ledger::{CauseOrder, Entry, Extent, Ledger, ReadError, StoredEvent, StreamReader};

/// Runs each test on both databases.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $test() {
                let folder = tempfile::tempdir().unwrap();
                super::$test(&crate::all::support::Kind::Sqlite(folder)).await;
            })+
        }
        mod postgres {
            $(#[tokio::test] async fn $test() {
                super::$test(&crate::all::support::Kind::Postgres).await;
            })+
        }
    };
}

/// A kind of database that opens empty ones.
pub(crate) enum Kind {
    Sqlite(tempfile::TempDir),
    Postgres,
}

impl Kind {
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => {
                let count = std::fs::read_dir(folder.path()).unwrap().count();
                format!("sqlite://{}/ledger-{count}.db", folder.path().display())
            }
            Self::Postgres => millrace_testkit::Postgres::start().database(),
        }
    }

    pub(crate) async fn ledger(&self) -> Ledger {
        let ledger = Ledger::open(&self.url()).await.unwrap();
        ledger.migrate().await.unwrap();
        ledger
    }
}

/// The logs, in memory.
#[derive(Default, Clone)]
pub(crate) struct Logs {
    pub(crate) streams: BTreeMap<String, Vec<StoredEvent>>,
    millis: i64,
}

impl Logs {
    /// Appends an event, one second after the one before it in all logs.
    pub(crate) fn append(&mut self, key: &str, cause: Option<&Cause>, event: impl Into<Event>) -> Cause {
        let event = event.into();
        let log = event.log();
        self.millis += 1_000;
        let time = Timestamp::from_millis(1_790_000_000_000 + self.millis);
        let key = Key::new(key).unwrap();
        let mut envelope = Envelope::new(
            format!("id-{}", self.millis),
            format!("/millrace/{}", log.name()),
            key.clone(),
            time,
            &event,
        );
        envelope.cause = cause.cloned();
        envelope.run = 1;
        let headers = vec![("Content-Type".to_owned(), "application/cloudevents+protobuf".to_owned())];
        self.append_raw(log, &log.subject(&key, 1), headers, envelope.encode(), time)
    }

    pub(crate) fn append_raw(
        &mut self,
        log: Log,
        subject: &str,
        headers: Vec<(String, String)>,
        payload: Vec<u8>,
        time: Timestamp,
    ) -> Cause {
        let stream = log.stream(0);
        let held = self.streams.entry(stream.clone()).or_default();
        let sequence = held.len() as u64 + 1;
        let subject = subject.to_owned();
        held.push(StoredEvent { stream: stream.clone(), subject, sequence, time, headers, payload });
        Cause::new(stream, sequence)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.streams.keys().cloned().collect()
    }

    /// All events in an order in which they may be applied; `turned` takes the streams the other way
    /// round wherever causes leave the choice.
    pub(crate) fn entries(&self, turned: bool) -> Vec<Entry> {
        let names = self.names();
        let mut order = CauseOrder::new(names.iter().map(String::as_str), &BTreeMap::new());
        let mut entries = Vec::new();
        let mut streams: Vec<_> = self.streams.values().collect();
        if turned {
            streams.reverse();
        }
        // One stream after the other, so that each order takes what it may as early as it can.
        for stream in streams {
            stream.iter().cloned().map(Entry::read).for_each(|entry| order.push(entry));
            entries.extend(order.take(usize::MAX));
        }
        assert!(order.is_empty(), "{:?}", order.waiting());
        entries
    }
}

#[async_trait]
impl StreamReader for Logs {
    async fn read(&self, stream: &str, from: u64, limit: usize) -> Result<Vec<StoredEvent>, ReadError> {
        let held = self.streams.get(stream).into_iter().flatten();
        Ok(held.filter(|event| event.sequence >= from).take(limit).cloned().collect())
    }

    async fn extent(&self, stream: &str) -> Result<Extent, ReadError> {
        let held = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
        Ok(Extent {
            first: held.first().map_or(0, |event| event.sequence),
            last: held.last().map_or(0, |event| event.sequence),
        })
    }
}

pub(crate) fn task_ref(task: &str, run: u32, attempt: u32) -> TaskRef {
    TaskRef {
        task: task.to_owned(),
        run,
        attempt,
        repository: "storefront".to_owned(),
        base_commit: "b".repeat(40),
        spec_version: 1,
        spec_checksum: "c".repeat(64),
        target: "shop".to_owned(),
    }
}

pub(crate) fn scheduled(task: &str, run: u32) -> v1::TaskScheduled {
    let order = v1::WorkOrder {
        id: format!("{task}/{run}.1/change/1"),
        kind: WorkOrderKind::Change as i32,
        tries: 1,
        ..v1::WorkOrder::default()
    };
    v1::TaskScheduled {
        task: Some(task_ref(task, run, 1)),
        spec_registered: true,
        order: Some(order),
        ..v1::TaskScheduled::default()
    }
}

pub(crate) fn failed(task: &str, run: u32, code: Code) -> v1::TaskFailed {
    v1::TaskFailed {
        task: Some(task_ref(task, run, 1)),
        outcome: Outcome::Failed as i32,
        failure: Some(v1::Failure::new(code, "it went wrong").at_stage("executing")),
    }
}

pub(crate) fn completed(task: &str, run: u32) -> v1::TaskCompleted {
    v1::TaskCompleted {
        task: Some(task_ref(task, run, 1)),
        outcome: Outcome::Success as i32,
        ..v1::TaskCompleted::default()
    }
}

pub(crate) fn registered(task: &str) -> v1::SpecRegistered {
    v1::SpecRegistered {
        task: task.to_owned(),
        repository: "storefront".to_owned(),
        version: 1,
        checksum: "c".repeat(64),
        title: format!("Title of {task}"),
        domain: "web".to_owned(),
        path: format!("docs/specs/{task}.md"),
        source: v1::SpecSource::Git as i32,
        readiness: v1::SpecReadiness::Ready as i32,
        ..v1::SpecRegistered::default()
    }
}

pub(crate) fn acknowledged(task: &str, run: u32) -> v1::WorkOrderAcknowledged {
    v1::WorkOrderAcknowledged {
        task: Some(task_ref(task, run, 1)),
        order: format!("{task}/{run}.1/change/1"),
        kind: WorkOrderKind::Change as i32,
        worker: "worker-1".to_owned(),
        instance: "a".to_owned(),
    }
}

pub(crate) fn executed(task: &str, run: u32) -> v1::ExecutionCompleted {
    let call = v1::ModelCallRecord {
        role: "planner".to_owned(),
        prompt_sha256: "p".to_owned(),
        answer_sha256: "a".to_owned(),
        input_tokens: 100,
        output_tokens: 20,
        cost_micro_usd: 300,
        ..v1::ModelCallRecord::default()
    };
    let phase = v1::PhaseRecord { phase: v1::Phase::Plan as i32, iteration: 1, ..v1::PhaseRecord::default() };
    v1::ExecutionCompleted {
        task: Some(task_ref(task, run, 1)),
        order: format!("{task}/{run}.1/change/1"),
        worker: "worker-1".to_owned(),
        calls: vec![call],
        phases: vec![phase],
        ..v1::ExecutionCompleted::default()
    }
}

pub(crate) fn pull_request() -> v1::PullRequest {
    v1::PullRequest {
        number: 7,
        url: "file:///forge/7".to_owned(),
        head: "d".repeat(40),
        head_branch: "millrace/1".to_owned(),
        base_branch: "main".to_owned(),
        base: "b".repeat(40),
    }
}

/// The ten events of a task's way from submission to release; the last one is its TaskCompleted.
pub(crate) fn happy_path(logs: &mut Logs, task: &str) -> Cause {
    let about = Some(task_ref(task, 1, 1));
    let submitted = logs.append(&format!("req-{task}"), None, v1::SpecSubmitted::default());
    let cause = logs.append(task, Some(&submitted), registered(task));
    let cause = logs.append(task, Some(&cause), scheduled(task, 1));
    let cause = logs.append(task, Some(&cause), acknowledged(task, 1));
    let cause = logs.append(task, Some(&cause), executed(task, 1));
    let opened = v1::PullRequestOpened {
        task: about.clone(),
        pull_request: Some(pull_request()),
        ..v1::PullRequestOpened::default()
    };
    let cause = logs.append(task, Some(&cause), opened);
    let passed = v1::ValidationPassed {
        task: about.clone(),
        pull_request: Some(pull_request()),
        ..v1::ValidationPassed::default()
    };
    let cause = logs.append(task, Some(&cause), passed);
    let merged = v1::MergeCompleted {
        task: about.clone(),
        merge_commit: "e".repeat(40),
        ..v1::MergeCompleted::default()
    };
    let cause = logs.append(task, Some(&cause), merged);
    let verified = v1::DeploymentVerified {
        task: about,
        merge_commit: "e".repeat(40),
        release_commit: "e".repeat(40),
        url: "http://127.0.0.1/".to_owned(),
        ..v1::DeploymentVerified::default()
    };
    let cause = logs.append(task, Some(&cause), verified);
    logs.append(task, Some(&cause), completed(task, 1))
}
