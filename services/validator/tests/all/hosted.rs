//! The validator between the logs, the store and a scripted forge.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::{Cause, Timestamp};
use millrace_events::v1::{
    Blob, CheckDefinition, CheckResult, ChecksCompleted, PullRequest, PullRequestOpened, TaskRef,
    ValidationPassed,
};
use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope, Event, Key, Log, LogEvent as _, ValidatorEvent};
use millrace_runtime::blobs::Blobs;
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::{Append, Broker};
use millrace_runtime::clock::{Clock, System};
use millrace_runtime::host::{EffectContext, Host, HostError, HostOptions, Hosted as _};
use millrace_runtime::log_reader::LogReader;
use millrace_runtime::memory::{GatedBroker, ManualClock, MemoryBroker};
use millrace_validator::domain::{Effect, Input, REQUIRED_EVIDENCE, Validator};
use millrace_validator::effects::{ValidatorService, World};
use millrace_validator::ports::{LookError, PullRequests, Shown};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(60);

/// What the forge shows.
#[derive(Clone)]
enum Forge {
    Shows(Option<Shown>),
    /// It never answers.
    Hangs,
    /// It fails, for a reason that may pass.
    Fails,
    /// It fails for good.
    Broken,
}

/// Its script, and how often it was asked.
struct ScriptedForge(Mutex<Forge>, AtomicUsize);

#[async_trait]
impl PullRequests for ScriptedForge {
    async fn pull_request(
        &self,
        _repository: &str,
        _number: u64,
        _base_commit: &str,
    ) -> Result<Option<Shown>, LookError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let script = self.0.lock().unwrap().clone();
        let failed = |is_transient| Err(LookError { message: "no".to_owned(), is_transient, source: None });
        match script {
            Forge::Shows(shown) => Ok(shown),
            Forge::Hangs => std::future::pending().await,
            Forge::Fails => failed(true),
            Forge::Broken => failed(false),
        }
    }
}

struct Stage {
    broker: Arc<MemoryBroker>,
    clock: Arc<dyn Clock>,
    manual: Option<Arc<ManualClock>>,
    forge: Arc<ScriptedForge>,
    running: JoinSet<Result<(), HostError>>,
}

impl Stage {
    fn new() -> Self {
        Self::with(Arc::new(System), None)
    }

    fn on_manual_clock() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_767_225_600_000)));
        Self::with(clock.clone(), Some(clock))
    }

    fn with(clock: Arc<dyn Clock>, manual: Option<Arc<ManualClock>>) -> Self {
        let broker = Arc::new(MemoryBroker::new(clock.clone(), &Declared::of(&Installation::default())));
        let shown = Shown { open: true, merged: false, head: "head".to_owned(), redefines_checks: false };
        let forge = Arc::new(ScriptedForge(Mutex::new(Forge::Shows(Some(shown))), AtomicUsize::new(0)));
        let mut stage = Self { broker, clock, manual, forge, running: JoinSet::new() };
        stage.start();
        stage
    }

    /// A validator on the same logs.
    fn start(&mut self) {
        let world = Self::world(self.forge.clone(), self.broker.clone(), self.clock.clone());
        let decider = Validator { checks_wait: Duration::from_secs(3600) };
        let host = Host::new(
            ValidatorService::new(decider, world),
            self.broker.clone(),
            self.clock.clone(),
            HostOptions { effect_backoff: Duration::from_millis(10), ..HostOptions::default() },
            CancellationToken::new(),
        );
        self.running.spawn(host.run());
    }

    /// It dies wherever it is.
    async fn kill(&mut self) {
        self.running.shutdown().await;
    }

    /// What the validator reaches, over any broker.
    fn world(forge: Arc<ScriptedForge>, broker: Arc<dyn Broker>, clock: Arc<dyn Clock>) -> World {
        World {
            pull_requests: forge,
            logs: LogReader::new(broker.clone(), 1),
            blobs: Blobs::new(broker, 1 << 20),
            clock,
            validation: Duration::from_secs(30),
        }
    }

    fn forge(&self, script: Forge) {
        *self.forge.0.lock().unwrap() = script;
    }

    async fn say(&self, event: impl Into<Event>) {
        let event = event.into();
        let key = Key::new("VTID-01213").unwrap();
        let log = event.log();
        let envelope = Envelope::new("test", "/test", key.clone(), self.clock.now(), &event);
        let append = Append::new(log.stream(0), log.subject(&key, 1), envelope.encode());
        let _ = self.broker.append(&append.content_type(CONTENT_TYPE_PROTOBUF)).await.unwrap();
    }

    async fn said(&self) -> Vec<ValidatorEvent> {
        let reader = LogReader::new(self.broker.clone(), 1);
        let events = reader.events(Log::Validator, &Key::new("VTID-01213").unwrap()).await.unwrap();
        events
            .into_iter()
            .filter_map(|logged| match logged.event {
                Event::Validator(event) => Some(event),
                _ => None,
            })
            .collect()
    }

    /// Waits for so many verdicts; the last of them.
    async fn verdict(&self, count: usize) -> ValidatorEvent {
        let bound = tokio::time::Instant::now() + SOON;
        loop {
            let said = self.said().await;
            if said.len() >= count {
                assert_eq!(said.len(), count, "{said:?}");
                return said.last().unwrap().clone();
            }
            assert!(tokio::time::Instant::now() < bound, "waiting for {count} verdicts, have {said:?}");
            if let Some(clock) = &self.manual {
                clock.advance(Duration::from_secs(1));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn failure(&self, count: usize) -> (String, String) {
        match self.verdict(count).await {
            ValidatorEvent::ValidationFailed(event) => {
                let failure = event.failure.unwrap();
                (failure.code_name(), failure.message)
            }
            ValidatorEvent::ValidationPassed(event) => panic!("it passed: {event:?}"),
        }
    }

    async fn evidence(&self) -> Vec<Blob> {
        let mut evidence = Vec::new();
        for name in REQUIRED_EVIDENCE {
            let content = match name {
                "execution_result.json" => r#"{"outcome": "succeeded", "head": "head"}"#,
                _ => "{}",
            };
            evidence.push(self.blob(name, content.as_bytes()).await);
        }
        evidence
    }

    async fn blob(&self, name: &str, content: &[u8]) -> Blob {
        let blobs = Blobs::new(self.broker.clone(), 1 << 20);
        blobs.put_named(name, "application/json", content).await.unwrap()
    }

    async fn opened(&self, attempt: u32, checks: &[&str]) -> PullRequestOpened {
        let check = |name: &&str| CheckDefinition { name: (*name).to_owned(), command: "run".to_owned() };
        PullRequestOpened {
            task: Some(task(attempt)),
            pull_request: Some(PullRequest {
                number: 7,
                head: "head".to_owned(),
                base: "b1".to_owned(),
                ..PullRequest::default()
            }),
            evidence: self.evidence().await,
            checks: checks.iter().map(check).collect(),
            implementer: "worker-a".to_owned(),
            execution: String::new(),
        }
    }
}

fn task(attempt: u32) -> TaskRef {
    TaskRef {
        task: "VTID-01213".to_owned(),
        run: 1,
        attempt,
        repository: "shop".to_owned(),
        ..TaskRef::default()
    }
}

fn checked(attempt: u32, base: &str, passed: bool) -> ChecksCompleted {
    ChecksCompleted {
        task: Some(task(attempt)),
        head: "head".to_owned(),
        base: base.to_owned(),
        passed,
        results: vec![CheckResult {
            name: "unit".to_owned(),
            command: "run".to_owned(),
            passed,
            summary: "one test failed".to_owned(),
            ..CheckResult::default()
        }],
        ..ChecksCompleted::default()
    }
}

#[tokio::test]
async fn a_pull_request_without_checks_passes_once() {
    let stage = Stage::new();
    let opened = stage.opened(1, &[]).await;
    for _ in 0..3 {
        stage.say(opened.clone()).await;
    }
    assert_eq!(stage.verdict(1).await.name(), "ValidationPassed");
    // The next attempt shares their lane, so they have been handled when it is answered.
    stage.say(stage.opened(2, &[]).await).await;
    stage.verdict(2).await;
}

#[tokio::test]
async fn checks_are_waited_for_and_each_base_has_its_verdict() {
    let stage = Stage::new();
    stage.say(stage.opened(1, &["unit"]).await).await;
    for base in ["b1", "b1", "b2"] {
        stage.say(checked(1, base, true)).await;
    }
    let ValidatorEvent::ValidationPassed(ValidationPassed { pull_request, base_checked, .. }) =
        stage.verdict(2).await
    else {
        panic!("it failed")
    };
    assert_eq!(pull_request.unwrap().base, "b2");
    assert!(base_checked);
}

#[tokio::test]
async fn a_failed_check_is_named() {
    let stage = Stage::new();
    stage.say(stage.opened(1, &["unit"]).await).await;
    stage.say(checked(1, "b1", false)).await;
    let (code, message) = stage.failure(1).await;
    assert_eq!(code, "CHECKS_FAILED");
    assert!(message.contains("unit (one test failed)"), "{message}");
}

#[tokio::test]
async fn s2_b4_a_failed_result_in_the_store_fails_the_validation() {
    let stage = Stage::new();
    let mut opened = stage.opened(1, &[]).await;
    let last = opened.evidence.len() - 1;
    opened.evidence[last] =
        stage.blob("execution_result.json", br#"{"outcome": "failed", "head": "head"}"#).await;
    stage.say(opened).await;
    assert_eq!(stage.failure(1).await.0, "COMMAND_FAILED");
}

#[tokio::test]
async fn evidence_is_read_not_believed() {
    let stage = Stage::new();
    let mut count = 0;
    for (name, change, code) in [
        ("plan.json", None, "EVIDENCE_MISSING"),
        ("plan.json", Some(Blob { sha256: "0".repeat(64), ..Blob::default() }), "EVIDENCE_MISSING"),
        ("git_diff.patch", Some(stage.blob("git_diff.patch", b"").await), "EVIDENCE_EMPTY"),
        ("modified_files.json", Some(stage.blob("modified_files.json", b"[").await), "EVIDENCE_INVALID"),
        ("execution_result.json", Some(stage.blob("execution_result.json", b"{}").await), "EVIDENCE_INVALID"),
        ("plan.json", Some(Blob { size: 3, ..stage.blob("plan.json", b"{}").await }), "EVIDENCE_INVALID"),
        ("plan.json", Some(Blob { sha256: "no digest".to_owned(), ..Blob::default() }), "EVIDENCE_INVALID"),
    ] {
        count += 1;
        let mut opened = stage.opened(count, &[]).await;
        opened.evidence.retain(|blob| blob.name != name);
        opened.evidence.extend(change.map(|blob| Blob { name: name.to_owned(), ..blob }));
        stage.say(opened).await;
        let (found, message) = stage.failure(count as usize).await;
        assert_eq!(found, code, "{message}");
        assert!(message.contains(name), "{message}");
    }
}

#[tokio::test]
async fn a_forge_that_answers_late_is_asked_again() {
    let stage = Stage::new();
    stage.forge(Forge::Fails);
    stage.say(stage.opened(1, &[]).await).await;
    stage.forge(Forge::Shows(Some(Shown {
        open: false,
        merged: false,
        head: "head".to_owned(),
        redefines_checks: false,
    })));
    assert_eq!(stage.failure(1).await.0, "PR_CLOSED");
}

#[tokio::test]
async fn a_forge_that_never_answers_ends_the_validation_at_its_limit() {
    let stage = Stage::on_manual_clock();
    for (attempt, script) in [(1, Forge::Hangs), (2, Forge::Fails)] {
        let begin = stage.clock.now();
        stage.forge(script);
        stage.say(stage.opened(attempt, &[]).await).await;
        assert_eq!(stage.failure(attempt as usize).await.0, "VALIDATION_TIMEOUT");
        assert!(stage.clock.now().since(begin) >= Duration::from_secs(30));
    }
    stage.forge(Forge::Broken);
    stage.say(stage.opened(3, &[]).await).await;
    assert_eq!(stage.failure(3).await.0, "FORGE_UNAVAILABLE");
}

#[tokio::test]
async fn checks_that_never_come_end_it_at_their_limit() {
    let stage = Stage::on_manual_clock();
    stage.say(stage.opened(1, &["unit"]).await).await;
    let begin = stage.clock.now();
    let (code, message) = stage.failure(1).await;
    assert_eq!(code, "CHECKS_TIMEOUT");
    assert!(message.contains("pull request 7"), "{message}");
    assert!(stage.clock.now().since(begin) >= Duration::from_secs(3600));
}

/// A gate that opens so many times, and then never again.
fn opens(times: usize) -> impl Fn(&str) -> bool + Send + Sync + 'static {
    let left = AtomicUsize::new(times);
    move |_| left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// Performs an effect with ever fewer failures, until there is an answer: how many questions that takes.
async fn answered(stage: &Stage, effect: &Effect) -> (usize, Input) {
    for answered in 0..200 {
        let broker = Arc::new(GatedBroker::new(stage.broker.clone(), opens(answered)));
        let world = Stage::world(stage.forge.clone(), broker, stage.clock.clone());
        let service = ValidatorService::new(Validator { checks_wait: Duration::from_secs(3600) }, world);
        let context = EffectContext {
            key: Key::new("VTID-01213").unwrap(),
            cause: Cause::new("MILLRACE_DEPLOYER_0", 1),
            now: stage.clock.now(),
            attempt: 1,
            stop: CancellationToken::new(),
        };
        let time = async {
            while matches!(&*stage.forge.0.lock().unwrap(), Forge::Hangs) {
                stage.manual.as_ref().unwrap().advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            std::future::pending::<()>().await
        };
        let performed = tokio::select! {
            biased;
            performed = service.perform(effect, &context) => performed,
            () = time => unreachable!(),
            () = tokio::time::sleep(SOON) => panic!("{effect:?} does not come back after {answered} answers"),
        };
        match performed {
            Ok(input) => return (answered, input.unwrap()),
            Err(fault) => assert!(fault.waits, "{effect:?} after {answered} answers: {fault:?}"),
        }
    }
    panic!("{effect:?} never ends");
}

#[tokio::test]
async fn an_outage_of_nats_is_no_verdict() {
    let stage = Stage::on_manual_clock();
    let opened = stage.opened(1, &["unit"]).await;
    stage.say(opened.clone()).await;
    let pull_request = opened.pull_request.clone().unwrap();
    let inspect = Effect::Inspect { task: task(1), pull_request, checks: None };
    let (asked, input) = answered(&stage, &inspect).await;
    assert!(matches!(input, Input::Inspected { .. }), "{input:?}");
    assert!(asked > REQUIRED_EVIDENCE.len(), "{asked}");
    let (asked, input) = answered(&stage, &Effect::FindChecks(task(1))).await;
    assert!(matches!(input, Input::Failed { .. }) && asked > 1, "{asked}: {input:?}");
    // Nor where it is away when the limit of a forge that hangs is over: only with it that is an answer.
    stage.forge(Forge::Hangs);
    let (asked, input) = answered(&stage, &inspect).await;
    let Input::Failed { failure, .. } = input else { panic!("{input:?}") };
    assert_eq!(failure.code_name(), "VALIDATION_TIMEOUT");
    assert_eq!(asked, 2, "what was opened, before and after");
}

/// S4-TH2: it dies while it looks, or between its verdict and its acknowledgement; in all there is one verdict.
#[tokio::test]
async fn s4_th2_a_validator_that_dies_gives_one_verdict_when_it_comes_back() {
    let mut stage = Stage::on_manual_clock();
    stage.forge(Forge::Hangs);
    let opened = stage.opened(1, &[]).await;
    stage.say(opened.clone()).await;
    let bound = tokio::time::Instant::now() + SOON;
    while stage.forge.1.load(Ordering::SeqCst) == 0 {
        assert!(tokio::time::Instant::now() < bound, "it looks");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stage.kill().await;
    assert!(stage.said().await.is_empty(), "it had not got so far");
    let shown = Shown { open: true, merged: false, head: "head".to_owned(), redefines_checks: false };
    stage.forge(Forge::Shows(Some(shown)));
    stage.start();
    assert_eq!(stage.verdict(1).await.name(), "ValidationPassed");

    // Its verdict on the next attempt is recorded, and then it is gone: what it acted on comes again.
    stage.kill().await;
    let second = stage.opened(2, &[]).await;
    let passed = ValidationPassed {
        task: Some(task(2)),
        pull_request: second.pull_request.clone(),
        ..ValidationPassed::default()
    };
    stage.say(ValidatorEvent::from(passed).into_event()).await;
    stage.say(second).await;
    stage.start();
    stage.say(opened).await;
    // A third attempt is handled after them: there is one verdict on each.
    stage.say(stage.opened(3, &[]).await).await;
    stage.verdict(3).await;
}
