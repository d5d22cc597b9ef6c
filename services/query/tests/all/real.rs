//! The same service over a real ledger in SQLite and the broker's twin in memory.

use std::sync::Arc;
use std::time::Duration;

use millrace_decider::{Cause, Timestamp};
use millrace_events::{Code, Envelope, Event, Key, Log, v1 as events};
use millrace_ledger::{Ledger, rebuild};
use millrace_query::adapters::{BrokerLogs, BrokerStreams, ChainVerifier, StoredLedger, StoredTexts};
use millrace_query::{LedgerQueryService, OperatorService, QueryConfig};
use millrace_rpc::client::{self, LedgerQueryClient, OperatorClient};
use millrace_rpc::{HealthHandle, ServeError, serve, server::Stopped, v1};
use millrace_runtime::blobs::{Blobs, digest_of};
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::{Append, Broker};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::kv::Kv as _;
use millrace_runtime::memory::{ManualClock, MemoryBroker, SeededIds};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

struct Real {
    broker: Arc<MemoryBroker>,
    ledger: Ledger,
    query: LedgerQueryClient<tonic::transport::Channel>,
    operator: OperatorClient<tonic::transport::Channel>,
    heartbeats: Arc<Bucket>,
    blobs: Blobs,
    _tasks: JoinSet<Result<Stopped, ServeError>>,
    _folder: tempfile::TempDir,
}

impl Real {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("l.db").display());
        Self::on(&url, folder).await
    }

    /// On PostgreSQL.
    async fn postgres() -> Self {
        let url = millrace_testkit::Postgres::start().database();
        Self::on(&url, tempfile::tempdir().unwrap()).await
    }

    async fn on(url: &str, folder: tempfile::TempDir) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_767_225_600_000)));
        let declared = Declared::of(&Installation::default());
        let broker = Arc::new(MemoryBroker::new(clock.clone(), &declared));
        let ledger = Ledger::open(url).await.unwrap();
        ledger.migrate().await.unwrap();
        let heartbeats = Arc::new(Bucket::new(broker.clone(), millrace_events::catalogue::HEALTH_BUCKET));
        let reader = Arc::new(StoredLedger::new(ledger.clone()));
        let logs = Arc::new(BrokerLogs::new(broker.clone(), heartbeats.clone(), 1));
        let verifier = Arc::new(ChainVerifier::new(ledger.clone(), BrokerStreams::new(broker.clone())));
        let config = QueryConfig { actor: "ada".to_owned(), ..QueryConfig::default() };
        let ids = Arc::new(SeededIds::new(7));
        let operator = OperatorService::new(reader.clone(), logs.clone(), clock.clone(), ids, &config);
        let blobs = Blobs::new(broker.clone(), 8 << 20);
        let texts = Arc::new(StoredTexts::new(blobs.clone()));
        let query =
            LedgerQueryService::new(reader, logs, texts, verifier, clock, config, CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        let routes = millrace_query::routes(query, operator);
        let stop = CancellationToken::new();
        tasks.spawn(serve(listener, routes, HealthHandle::new(), stop, Duration::from_secs(5)));
        let channel = client::connect(&address).await.unwrap();
        Self {
            broker,
            ledger,
            query: LedgerQueryClient::new(channel.clone()),
            operator: OperatorClient::new(channel),
            heartbeats,
            blobs,
            _tasks: tasks,
            _folder: folder,
        }
    }

    /// Stands in for a service: writes an event to its log.
    async fn log(&self, key: &str, event: impl Into<Event>) -> v1::Position {
        let event: Event = event.into();
        let key = Key::new(key).unwrap();
        let time = Timestamp::from_millis(1_767_225_600_000);
        let id = format!("{}-{key}-{}", event.name(), event.encode().len());
        let envelope = Envelope { run: 1, ..Envelope::new(id, "/test", key.clone(), time, &event) };
        let (stream, subject) = (event.log().stream(0), event.log().subject(&key, 1));
        let appended = self.broker.append(&Append::new(&stream, subject, envelope.encode())).await.unwrap();
        v1::Position { stream, sequence: appended.sequence }
    }

    /// Stands in for the projector.
    async fn project(&self) {
        let streams: Vec<String> = Log::ALL.iter().map(|log| log.stream(0)).collect();
        rebuild(&self.ledger, &BrokerStreams::new(self.broker.clone()), &streams, None).await.unwrap();
    }
}

fn task_ref(task: &str) -> Option<events::TaskRef> {
    Some(events::TaskRef {
        task: task.to_owned(),
        run: 1,
        attempt: 1,
        repository: "shop".to_owned(),
        ..events::TaskRef::default()
    })
}

fn order(task: &str) -> Option<events::WorkOrder> {
    Some(events::WorkOrder {
        id: format!("{task}/1.1/change/1"),
        kind: events::WorkOrderKind::Change as i32,
        task: task_ref(task),
        ..events::WorkOrder::default()
    })
}

#[tokio::test]
async fn s2_a12_a_failure_at_any_step_is_visible_with_code_sentence_step_and_advice() {
    let mut real = Real::start().await;
    let steps = [
        ("registered", Code::SpecInvalid),
        ("scheduled", Code::RepositoryUnavailable),
        ("dispatched", Code::PolicyDenied),
        ("acknowledged", Code::ExecutionTimeout),
        ("executing", Code::CommandFailed),
        ("pr_opened", Code::PrNotCreated),
        ("checking", Code::ChecksFailed),
        ("validating", Code::EvidenceMissing),
        ("merging", Code::MergeConflict),
        ("deploying", Code::DeploymentFailed),
        ("verifying", Code::ReleaseShaMismatch),
    ];
    for (index, (stage, code)) in steps.into_iter().enumerate() {
        let task = format!("VTID-{index:05}");
        let scheduled =
            events::TaskScheduled { task: task_ref(&task), order: order(&task), ..Default::default() };
        real.log(&task, scheduled).await;
        let sentence = format!("step {index} went wrong for {task}");
        let failure = events::Failure::new(code, sentence).at_stage(stage).from_source("test");
        let failure = events::Failure { causes: vec!["the root of it".to_owned()], ..failure };
        let failed =
            events::TaskFailed { task: task_ref(&task), failure: Some(failure), ..Default::default() };
        let position = real.log(&task, failed).await;
        real.project().await;

        let request = v1::GetTaskRequest { task: task.clone(), min_sequence: Some(position) };
        let found = real.query.get_task(request).await.unwrap().into_inner().task.unwrap();
        assert_eq!(found.status(), v1::TaskStatus::Failed, "{stage}");
        let failure = found.failure.unwrap();
        assert_eq!(failure.code, code.name());
        assert_eq!(failure.message, format!("step {index} went wrong for {task}"));
        assert_eq!(failure.stage, stage);
        assert_eq!(failure.advice, code.advice());
        assert_eq!(failure.causes, ["the root of it"], "{stage}");
        let request = v1::ListFailuresRequest { code: code.name().to_owned(), ..Default::default() };
        let listed = real.query.list_failures(request).await.unwrap().into_inner().failures;
        assert!(listed.iter().any(|failure| failure.task == task), "{stage}: {listed:?}");
    }
    let filter = v1::TaskFilter { status: v1::TaskStatus::Failed as i32, ..Default::default() };
    let request = v1::ListTasksRequest { filter: Some(filter), page_size: 4, ..Default::default() };
    let page = real.query.list_tasks(request).await.unwrap().into_inner();
    assert_eq!((page.tasks.len(), page.next_page_token.is_empty()), (4, false));
}

#[tokio::test]
async fn a_spec_that_is_handed_in_can_be_followed_to_its_task_and_counts_once() {
    let mut real = Real::start().await;
    let request = v1::SubmitSpecRequest {
        repository: "shop".to_owned(),
        path: "a.md".to_owned(),
        content: b"# A".to_vec(),
        plan: Vec::new(),
    };
    let first = real.operator.submit_spec(request.clone()).await.unwrap().into_inner();
    let again = real.operator.submit_spec(request).await.unwrap().into_inner();
    assert!(again.duplicate);
    assert_eq!(first.position, again.position);
    assert_eq!(real.broker.stream_state(&Log::Intake.stream(0)).await.unwrap().messages, 1);

    let allocated = events::TaskAllocated { task: "VTID-00001".to_owned(), submission: first.key.clone() };
    real.log(&first.key, allocated).await;
    real.project().await;
    let request = v1::GetSubmissionRequest { key: first.key.clone(), min_sequence: first.position };
    let found = real.query.get_submission(request).await.unwrap().into_inner();
    assert_eq!(found.task, "VTID-00001");
}

/// A version as the registry writes it, of these bytes.
fn registered(task: &str, version: u32, path: &str, bytes: &[u8]) -> events::SpecRegistered {
    let sha256 = digest_of(bytes);
    let size = bytes.len() as u64;
    events::SpecRegistered {
        task: task.to_owned(),
        repository: "shop".to_owned(),
        version,
        path: path.to_owned(),
        checksum: sha256.clone(),
        spec: Some(events::Blob { sha256, size, ..events::Blob::default() }),
        ..events::SpecRegistered::default()
    }
}

fn hand_in(path: &str, content: &[u8]) -> v1::SubmitSpecRequest {
    v1::SubmitSpecRequest {
        repository: "shop".to_owned(),
        path: path.to_owned(),
        content: content.to_vec(),
        plan: Vec::new(),
    }
}

#[tokio::test]
async fn a_submission_that_brings_nothing_new_has_the_answer_that_was_given_before() {
    submission(Real::start().await).await;
    submission(Real::postgres().await).await;
}

async fn submission(mut real: Real) {
    let (old, new): (&[u8], &[u8]) = (b"# VTID-00007 old", b"# VTID-00007 new");
    real.log("VTID-00007", registered("VTID-00007", 1, "a.md", old)).await;
    real.log("VTID-00007", registered("VTID-00007", 2, "a.md", new)).await;
    let unnamed: &[u8] = b"# Without an id";
    real.log("VTID-00008", registered("VTID-00008", 1, "b.md", unnamed)).await;
    // With the plan in the text, and with one beside it that is not handed in the second time.
    let planned: &[u8] = b"# VTID-00011\n\n```millrace\nplan: {}\n```\n";
    let beside: &[u8] = b"# VTID-00012";
    for (task, path, text) in [("VTID-00011", "f.md", planned), ("VTID-00012", "g.md", beside)] {
        let plan = events::Blob { sha256: digest_of(b"plan: {}\n"), size: 9, ..events::Blob::default() };
        let spec = registered(task, 1, path, text);
        real.log(task, events::SpecRegistered { plan: Some(plan), ..spec }).await;
    }
    let refused = |path: &str| events::SpecRejected {
        repository: "shop".to_owned(),
        path: path.to_owned(),
        checksum: digest_of(b"bad"),
        failure: Some(events::Failure::new(Code::SpecInvalid, format!("1 fault in {path}"))),
        ..events::SpecRejected::default()
    };
    real.log("VTID-00009", refused("c.md")).await;
    real.log("VTID-00010", refused("d.md")).await;
    real.log("VTID-00010", registered("VTID-00010", 1, "d.md", b"mended")).await;

    use v1::SubmissionState::{Registered, Rejected, Waiting};
    for (path, content, state, task, version) in [
        ("copy.md", new, Registered, "VTID-00007", 2),
        // Not what holds now: the registry makes it the next version.
        ("a.md", old, Waiting, "", 0),
        // Becomes a task of its own.
        ("other.md", unnamed, Waiting, "", 0),
        ("f.md", planned, Registered, "VTID-00011", 1),
        // Without its plan it is another version.
        ("g.md", beside, Waiting, "", 0),
        ("c.md", b"bad".as_slice(), Rejected, "", 0),
        ("e.md", b"bad".as_slice(), Waiting, "", 0),
        // Mended since, and broken again: that is news.
        ("d.md", b"bad".as_slice(), Waiting, "", 0),
    ] {
        let published = real.operator.submit_spec(hand_in(path, content)).await.unwrap().into_inner();
        real.project().await;
        let request = v1::GetSubmissionRequest { key: published.key, min_sequence: published.position };
        let found = real.query.get_submission(request).await.unwrap().into_inner();
        assert_eq!(found.state(), state, "{path}");
        assert_eq!((found.task.as_str(), found.spec_version), (task, version), "{path}");
        assert_eq!(found.answered_before, state != Waiting, "{path}");
    }

    let request = v1::RequestTaskRequest { task: "VTID-00007".to_owned(), ..Default::default() };
    let request = v1::RequestTaskRequest { repository: "shop".to_owned(), ..request };
    let published = real.operator.request_task(request).await.unwrap().into_inner();
    real.project().await;
    let request = v1::GetSubmissionRequest { key: published.key, min_sequence: published.position };
    let found = real.query.get_submission(request).await.unwrap().into_inner();
    assert_eq!((found.state(), found.spec_version, found.answered_before), (Registered, 2, true));
}

#[tokio::test]
async fn s1_gap2_5_a_spec_comes_with_its_text_until_that_is_erased() {
    let mut real = Real::start().await;
    let (first, second): (&[u8], &[u8]) = (b"# One", b"# Two");
    for (version, text) in [(1, first), (2, second)] {
        real.blobs.put(text).await.unwrap();
        let plan = real.blobs.put_named("plan", "application/json", b"{}").await.unwrap();
        let spec = registered("VTID-00001", version, "a.md", text);
        real.log("VTID-00001", events::SpecRegistered { plan: Some(plan), ..spec }).await;
    }
    real.project().await;
    let request = |version| v1::GetSpecRequest { task: "VTID-00001".to_owned(), version, min_sequence: None };
    let newest = real.query.get_spec(request(0)).await.unwrap().into_inner();
    assert_eq!((newest.content.as_slice(), newest.plan.as_slice()), (second, b"{}".as_slice()));
    let spec = newest.spec.unwrap();
    assert_eq!((spec.version, spec.plan_checksum), (2, digest_of(b"{}")));
    assert_eq!(real.query.get_spec(request(1)).await.unwrap().into_inner().content, first);

    let text = v1::GetTextRequest { sha256: digest_of(first) };
    assert_eq!(real.query.get_text(text.clone()).await.unwrap().into_inner().content, first);
    let large = v1::GetTextRequest { sha256: real.blobs.put(&vec![b'x'; (3 << 20) + 1]).await.unwrap() };
    assert_eq!(real.query.get_text(large).await.unwrap_err().code(), tonic::Code::ResourceExhausted);
    let nonsense = v1::GetTextRequest { sha256: "x".repeat(64) };
    assert_eq!(real.query.get_text(nonsense).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    real.blobs.delete(&digest_of(first)).await.unwrap();
    assert_eq!(real.query.get_text(text).await.unwrap_err().code(), tonic::Code::NotFound);
    let erased = real.query.get_spec(request(1)).await.unwrap().into_inner();
    assert_eq!((erased.content.len(), erased.spec.unwrap().size), (0, first.len() as u64));
}

#[tokio::test]
async fn a_dead_letter_comes_with_the_original_message() {
    dead_letter(Real::start().await).await;
    dead_letter(Real::postgres().await).await;
}

async fn dead_letter(mut real: Real) {
    let task = "VTID-00001";
    let scheduled = events::TaskScheduled { task: task_ref(task), order: order(task), ..Default::default() };
    let readable = real.log(task, scheduled).await;
    let (stream, subject) = (Log::Intake.stream(0), Log::Intake.subject(&Key::new("req-1").unwrap(), 1));
    let appended = real.broker.append(&Append::new(&stream, &subject, b"nonsense".to_vec())).await.unwrap();
    let garbage = v1::Position { stream, sequence: appended.sequence };
    for position in [&readable, &garbage] {
        let letter = events::DeadLettered {
            service: "worker".to_owned(),
            stream: position.stream.clone(),
            sequence: position.sequence,
            subject: subject.clone(),
            attempts: 5,
            failure: Some(events::Failure::new(Code::EventInvalid, "cannot be read")),
            replay: 0,
        };
        real.log(&format!("letter-{}", position.sequence), letter).await;
    }
    real.project().await;
    let mut get = async |position: &v1::Position| {
        let request = v1::GetDeadLetterRequest { position: Some(position.clone()), min_sequence: None };
        real.query.get_dead_letter(request).await.map(tonic::Response::into_inner)
    };
    let found = get(&readable).await.unwrap();
    assert_eq!(found.dead_letters[0].attempts, 5);
    let message = found.message.unwrap();
    assert!(message.event.contains("TaskScheduled") && message.problem.is_empty(), "{message:?}");
    let message = get(&garbage).await.unwrap().message.unwrap();
    assert_eq!((message.payload.as_slice(), message.subject), (b"nonsense".as_slice(), subject.clone()));
    assert!(message.event.is_empty() && !message.problem.is_empty());
    let missing = v1::Position { sequence: 99, ..garbage };
    assert_eq!(get(&missing).await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn an_operator_event_stands_in_its_log_and_a_resend_is_the_same_one() {
    let mut real = Real::start().await;
    let task = "VTID-00001";
    let scheduled = events::TaskScheduled { task: task_ref(task), order: order(task), ..Default::default() };
    real.log(task, scheduled).await;
    real.project().await;
    let request = v1::OperatorRequest { task: task.to_owned(), run: 0, reason: "enough".to_owned() };
    let first = real.operator.cancel(request.clone()).await.unwrap().into_inner();
    let again = real.operator.cancel(request).await.unwrap().into_inner();
    assert_eq!((first.position.clone(), again.duplicate), (again.position, true));

    real.project().await;
    let request = v1::GetTaskHistoryRequest { task: task.to_owned(), run: 0, min_sequence: first.position };
    let history = real.query.get_task_history(request).await.unwrap().into_inner();
    let names: Vec<&str> = history.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["TaskScheduled", "CancelRequested"]);
    assert!(history.events[1].data.contains("\"actor\":\"ada\""), "{}", history.events[1].data);
}

#[tokio::test]
async fn health_shows_heartbeats_lag_and_the_chain_is_compared_with_the_streams() {
    let mut real = Real::start().await;
    let beat =
        br#"{"service":"worker","instance":"w1","started":"2026-01-01T00:00:00Z","ready":true,"detail":""}"#;
    real.heartbeats.put("worker.w1", beat).await.unwrap();
    real.heartbeats.put("deployer.d1", b"nonsense").await.unwrap();
    let task = "VTID-00001";
    let scheduled = events::TaskScheduled { task: task_ref(task), order: order(task), ..Default::default() };
    real.log(task, scheduled).await;

    let health = real.query.get_system_health(v1::GetSystemHealthRequest {}).await.unwrap().into_inner();
    assert!(!health.healthy);
    let lag = health.logs.iter().find(|log| log.log == "dispatcher").unwrap();
    assert_eq!((lag.last_sequence, lag.lag), (1, 1));
    let worker = health.services.iter().find(|process| process.service == "worker").unwrap();
    assert!(worker.ready && worker.started_at.is_some());
    assert!(health.problems.iter().any(|problem| problem.contains("deployer is not ready")));
    let silent = br#"{"service":"worker","instance":"w1","ready":true,"beat":"2025-12-31T23:59:00Z"}"#;
    real.heartbeats.put("worker.w1", silent).await.unwrap();
    let health = real.query.get_system_health(v1::GetSystemHealthRequest {}).await.unwrap().into_inner();
    let said = health.problems.iter().any(|problem| problem.starts_with("worker is not ready: silent for"));
    assert!(said, "{:?}", health.problems);

    real.project().await;
    let health = real.query.get_system_health(v1::GetSystemHealthRequest {}).await.unwrap().into_inner();
    assert_eq!(health.logs.iter().map(|log| log.lag).sum::<u64>(), 0);
    assert_eq!(health.tasks.values().sum::<u64>(), 1);
    let verdict = real.query.verify_ledger(v1::VerifyLedgerRequest {}).await.unwrap().into_inner();
    assert!(verdict.intact && !verdict.logs.is_empty());
    let changed = "UPDATE checkpoints SET hash = 'f' WHERE stream = 'MILLRACE_DISPATCHER_0'";
    real.ledger.execute_raw(changed).await.unwrap();
    let verdict = real.query.verify_ledger(v1::VerifyLedgerRequest {}).await.unwrap().into_inner();
    assert!(!verdict.intact, "{verdict:?}");
}

#[tokio::test]
async fn a_dead_letter_is_replayed_on_request_and_once() {
    replay(Real::start().await).await;
    replay(Real::postgres().await).await;
}

async fn replay(mut real: Real) {
    let message = Cause::new(Log::Intake.stream(0), 1);
    let (stream, subject) = (message.stream.clone(), Log::Intake.subject(&Key::new("req-1").unwrap(), 1));
    let _ = real.broker.append(&Append::new(&stream, &subject, b"nonsense".to_vec())).await.unwrap();
    let position = v1::Position { stream: stream.clone(), sequence: 1 };
    let key = |service: &str| Key::dead_letter(&message, service).to_string();
    let letter = |service: &str, replay| events::DeadLettered {
        service: service.to_owned(),
        stream: stream.clone(),
        sequence: 1,
        subject: subject.clone(),
        attempts: 1,
        failure: Some(events::Failure::new(Code::EventInvalid, "cannot be read")),
        replay,
    };
    for service in ["spec-registry", "validator"] {
        real.log(&key(service), letter(service, 0)).await;
    }
    real.project().await;
    let ask = |service: &str, sequence| v1::ReplayDeadLetterRequest {
        position: Some(v1::Position { sequence, ..position.clone() }),
        service: service.to_owned(),
        reason: "mended".to_owned(),
    };
    let missing = real.operator.replay_dead_letter(ask("", 9)).await.unwrap_err();
    assert_eq!(missing.code(), tonic::Code::NotFound);
    let nobodys = real.operator.replay_dead_letter(ask("worker", 1)).await.unwrap_err();
    assert_eq!(nobodys.code(), tonic::Code::NotFound);
    let several = real.operator.replay_dead_letter(ask("", 1)).await.unwrap_err();
    assert!(several.message().contains("spec-registry, validator"), "{several}");

    let first = real.operator.replay_dead_letter(ask("validator", 1)).await.unwrap().into_inner();
    let again = real.operator.replay_dead_letter(ask("validator", 1)).await.unwrap().into_inner();
    assert_eq!((first.key.clone(), again.duplicate), (key("validator"), true));
    let requested = first.position.clone().unwrap();
    assert_eq!(again.position, Some(requested.clone()));
    real.project().await;
    let states = async |real: &mut Real, code: &str, include_handled| {
        let (code, include_handled) = (code.to_owned(), include_handled);
        let request = v1::ListDeadLettersRequest { code, include_handled, ..Default::default() };
        let found = real.query.list_dead_letters(request).await.unwrap().into_inner().dead_letters;
        let mut states: Vec<_> = found
            .into_iter()
            .map(|letter| (letter.service.clone(), letter.state(), letter.failures))
            .collect();
        states.sort();
        states
    };
    use v1::DeadLetterState::{Handled, Open, ReplayRequested};
    let (registry, validator) = ("spec-registry".to_owned(), "validator".to_owned());
    let expected = [(registry.clone(), Open, 1), (validator.clone(), ReplayRequested, 1)];
    assert_eq!(states(&mut real, "EVENT_INVALID", false).await, expected);

    // It fails again: open, and the next request is another one.
    real.log(&key("validator"), letter("validator", requested.sequence)).await;
    real.project().await;
    assert_eq!(states(&mut real, "", false).await[1], (validator.clone(), Open, 2));
    let second = real.operator.replay_dead_letter(ask("validator", 1)).await.unwrap().into_inner();
    assert!(!second.duplicate);
    let replayed = events::DeadLetterReplayed {
        stream: stream.clone(),
        sequence: 1,
        service: validator.clone(),
        replay: second.position.unwrap().sequence,
    };
    real.log(&key("validator"), replayed).await;
    real.project().await;
    assert_eq!(states(&mut real, "", false).await, [(registry.clone(), Open, 1)]);
    assert_eq!(states(&mut real, "", true).await[1], (validator.clone(), Handled, 2));
    assert!(states(&mut real, "INTERNAL", true).await.is_empty());
    let handled = real.operator.replay_dead_letter(ask("validator", 1)).await.unwrap_err();
    assert!(handled.message().contains("handled already"), "{handled}");

    let request = v1::GetDeadLetterRequest { position: Some(position.clone()), min_sequence: None };
    let found = real.query.get_dead_letter(request).await.unwrap().into_inner();
    assert_eq!((found.dead_letters.len(), found.dead_letters[1].replays), (2, 2));
    let names: Vec<&str> = found.history.iter().map(|event| event.name.as_str()).collect();
    let (failed, asked) = ("DeadLettered", "DeadLetterReplayRequested");
    assert_eq!(names[0], failed, "that of the spec-registry");
    let mut of_validator = names[1..].to_vec();
    of_validator.sort_unstable();
    assert_eq!(of_validator, [asked, asked, "DeadLetterReplayed", failed, failed]);
}
