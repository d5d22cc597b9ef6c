//! A repository, a broker, and workers on them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::Timestamp;
use millrace_events::catalogue::{HEALTH_BUCKET, LEASE_BUCKET, QUEUE_BUCKET, SLOT_BUCKET, TARGET_BUCKET};
use millrace_events::v1::{
    Blob, CheckDefinition, ExecutionCompleted, ExecutionFailed, Failure, PullRequest, TaskRef, TaskScheduled,
    WorkOrder, WorkOrderIssued, WorkOrderKind,
};
use millrace_events::{CONTENT_TYPE_PROTOBUF, Code, Envelope, Event, Key, Log, LogEvent, WorkerEvent};
use millrace_router::{Finish, ModelError, ModelRequest, ModelResponse, Provider, Usage};
use millrace_runtime::blobs::Blobs;
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::{Append, Broker};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::clock::{Clock, System};
use millrace_runtime::kv::Kv;
use millrace_runtime::lease;
use millrace_runtime::log_reader::{LogReader, LoggedEvent};
use millrace_runtime::memory::MemoryBroker;
use millrace_runtime::service::{ServiceContext, ServiceError};
use millrace_runtime::settings::{ForgeKind, Repository, Settings};
use millrace_sandbox::{Exit, Finished, SandboxError, SandboxUnavailable};
use millrace_testkit::eventually;
use millrace_worker::adapters::{Models, Workplace, built_in_crew};
use millrace_worker::effects::{Prompts, Workbench, WorkerService};
use millrace_worker::ports::Commands;
use millrace_worker::{SandboxConfig, WorkerConfig, run_as};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const TASK: &str = "VTID-01213";
pub(crate) const SPEC: &str = "# Greeting\n\nSay hello to the world.\n";
pub(crate) const SOON: Duration = Duration::from_secs(40);

/// The broker, the repository and the workers of one test.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) base: String,
    running: JoinSet<Result<(), ServiceError>>,
    stops: Vec<CancellationToken>,
}

/// The defaults, with a program that can be the shim, which a test cannot.
pub(crate) fn sandbox() -> SandboxConfig {
    SandboxConfig {
        shim: Some(PathBuf::from(env!("CARGO_BIN_EXE_millrace-worker"))),
        ..SandboxConfig::default()
    }
}

/// A worker that runs.
pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
}

pub(crate) fn key() -> Key {
    Key::new(TASK).unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("repository.git");
        std::fs::create_dir(&repository).unwrap();
        git(&repository, &["init", "--quiet", "--bare", "--initial-branch=main"]);
        let base = commit(&repository, "main", &[("greeting.txt", "hello\n"), ("README.md", "# Demo\n")]);
        let clock: Arc<dyn Clock> = Arc::new(System);
        let broker = Arc::new(MemoryBroker::new(clock, &Declared::of(&Installation::default())));
        Self { folder, broker, base, running: JoinSet::new(), stops: Vec::new() }
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.folder.path().join("repository.git")
    }

    pub(crate) fn context(&self, instance: &str) -> ServiceContext {
        let repository = Repository {
            id: "demo".to_owned(),
            url: self.repository().display().to_string(),
            forge: ForgeKind::Local,
            base_branch: "main".to_owned(),
            task_prefix: "VTID".to_owned(),
            task_base: 1,
            specs_url: None,
            specs_path: "docs/specs".to_owned(),
            scan_period: Duration::from_secs(30),
            target: "demo".to_owned(),
        };
        let settings = Settings { repositories: vec![repository], ..Settings::default() };
        let bucket = |name: &str| -> Arc<dyn Kv> { Arc::new(Bucket::new(self.broker.clone(), name)) };
        ServiceContext {
            settings: Arc::new(settings),
            instance: instance.to_owned(),
            broker: self.broker.clone(),
            clock: Arc::new(System),
            ids: Arc::new(System),
            leases: bucket(LEASE_BUCKET),
            targets: bucket(TARGET_BUCKET),
            queue: bucket(QUEUE_BUCKET),
            slots: bucket(SLOT_BUCKET),
            heartbeats: bucket(HEALTH_BUCKET),
            blobs: self.blobs(),
            health: millrace_rpc::HealthHandle::new(),
            stop: CancellationToken::new(),
        }
    }

    pub(crate) fn blobs(&self) -> Blobs {
        Blobs::new(self.broker.clone(), 16 * 1024 * 1024)
    }

    pub(crate) fn leases(&self) -> Bucket {
        Bucket::new(self.broker.clone(), LEASE_BUCKET)
    }

    pub(crate) fn config(&self, id: &str) -> WorkerConfig {
        WorkerConfig {
            id: id.to_owned(),
            directory: self.folder.path().join("work"),
            sandbox: sandbox(),
            ..WorkerConfig::default()
        }
    }

    pub(crate) fn work_folder(&self, id: &str) -> PathBuf {
        self.folder.path().join("work").join(id)
    }

    pub(crate) fn start(&mut self, id: &str) -> Running {
        self.start_as(self.config(id))
    }

    pub(crate) fn start_as(&mut self, config: WorkerConfig) -> Running {
        let context = self.context(&format!("{}-process", config.id));
        let stop = context.stop.clone();
        self.stops.push(stop.clone());
        self.running.spawn(run_as(context, config));
        Running { stop }
    }

    /// A worker with commands and models of the test's own.
    pub(crate) fn start_with(&mut self, id: &str, commands: Arc<dyn Commands>, models: Models) -> Running {
        self.start_in(self.context(&format!("{id}-process")), id, commands, models)
    }

    /// In a context of the test's own.
    pub(crate) fn start_in(
        &mut self,
        context: ServiceContext,
        id: &str,
        commands: Arc<dyn Commands>,
        models: Models,
    ) -> Running {
        let stop = context.stop.clone();
        self.stops.push(stop.clone());
        let workplace = Workplace::take(&self.folder.path().join("work"), id).unwrap();
        let prompts = Prompts::bundled().unwrap();
        let bench = Workbench { context: context.clone(), models, commands, workplace, prompts };
        let service = WorkerService::new(context.clone(), id.to_owned(), Arc::new(bench));
        self.running.spawn(async move { Ok(context.host(service, 2).await?) });
        Running { stop }
    }

    /// Waits for a worker's end.
    pub(crate) async fn ended(&mut self) -> Result<(), ServiceError> {
        self.running.join_next().await.unwrap().unwrap()
    }

    pub(crate) fn task(&self) -> TaskRef {
        TaskRef {
            task: TASK.to_owned(),
            run: 1,
            attempt: 1,
            repository: "demo".to_owned(),
            base_commit: self.base.clone(),
            spec_version: 1,
            target: "demo".to_owned(),
            ..TaskRef::default()
        }
    }

    /// An order to make a change by the recipe `plan`.
    pub(crate) async fn change_order(&self, plan: &str) -> WorkOrder {
        let spec = self.blobs().put_named("spec.md", "text/markdown", SPEC.as_bytes()).await.unwrap();
        let plan = self.blobs().put_named("plan.yaml", "application/yaml", plan.as_bytes()).await.unwrap();
        let task = TaskRef { spec_checksum: spec.sha256.clone(), ..self.task() };
        WorkOrder {
            id: format!("{TASK}/1.1/change/1"),
            kind: WorkOrderKind::Change as i32,
            task: Some(task),
            acknowledge_by: Some(millrace_events::wire_time(System.now() + Duration::from_secs(300))),
            tries: 1,
            execution_limit_ms: 60_000,
            spec: Some(spec),
            plan: Some(plan),
            title: "Say hello to the world".to_owned(),
            ..WorkOrder::default()
        }
    }

    /// An order to check `head` of `branch`.
    pub(crate) async fn check_order(&self, branch: &str, head: &str, checks: &[(&str, &str)]) -> WorkOrder {
        let pull_request = PullRequest {
            number: 7,
            head_branch: branch.to_owned(),
            head: head.to_owned(),
            base_branch: "main".to_owned(),
            base: self.base.clone(),
            ..PullRequest::default()
        };
        let definition = |(name, command): &(&str, &str)| CheckDefinition {
            name: (*name).to_owned(),
            command: (*command).to_owned(),
        };
        WorkOrder {
            id: format!("{TASK}/1.1/check/1"),
            kind: WorkOrderKind::Check as i32,
            plan: None,
            pull_request: Some(pull_request),
            checks: checks.iter().map(definition).collect(),
            implementer: "maker".to_owned(),
            evidence: vec![Blob { name: "plan.json".to_owned(), ..Blob::default() }],
            ..self.change_order("").await
        }
    }

    /// The dispatcher schedules the task with its first order.
    pub(crate) async fn schedule(&self, order: &WorkOrder) {
        let event = TaskScheduled {
            task: order.task.clone(),
            order: Some(order.clone()),
            spec_registered: true,
            ..Default::default()
        };
        self.append(Log::Dispatcher, event.into()).await;
    }

    /// The dispatcher issues an order.
    pub(crate) async fn issue(&self, order: &WorkOrder) {
        let event =
            WorkOrderIssued { task: order.task.clone(), order: Some(order.clone()), ..Default::default() };
        self.append(Log::Dispatcher, event.into()).await;
    }

    pub(crate) async fn append(&self, log: Log, event: Event) -> u64 {
        self.broker.append(&self.message(log, event)).await.unwrap().sequence
    }

    pub(crate) fn message(&self, log: Log, event: Event) -> Append {
        let envelope = Envelope::new("id", "/test", key(), System.now(), &event);
        let append = Append::new(log.stream(0), log.subject(&key(), 1), envelope.encode());
        append.content_type(CONTENT_TYPE_PROTOBUF)
    }

    /// The worker log of the task.
    pub(crate) async fn logged(&self) -> Vec<LoggedEvent> {
        LogReader::new(self.broker.clone(), 1).events(Log::Worker, &key()).await.unwrap()
    }

    pub(crate) async fn events(&self) -> Vec<WorkerEvent> {
        self.logged().await.into_iter().filter_map(|logged| WorkerEvent::from_event(logged.event)).collect()
    }

    /// The event that ends the only order.
    pub(crate) async fn end(&self) -> WorkerEvent {
        let order = eventually!(SOON, "an end", {
            self.events().await.into_iter().find(|event| event.name() != "WorkOrderAcknowledged")
        });
        eventually!(SOON, "the lease given back", self.leases().entries().await.unwrap().is_empty());
        order
    }

    pub(crate) async fn completed(&self) -> ExecutionCompleted {
        match self.end().await {
            WorkerEvent::ExecutionCompleted(event) => event,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn failed(&self, code: Code) -> (ExecutionFailed, Failure) {
        match self.end().await {
            WorkerEvent::ExecutionFailed(event) => {
                let failure = event.failure.clone().unwrap();
                assert_eq!(failure.known_code(), Some(code), "{failure:?}");
                (event, failure)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn text(&self, blob: &Blob) -> String {
        let bytes = self.blobs().get(&blob.sha256).await.unwrap().unwrap();
        assert_eq!(bytes.len() as u64, blob.size);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the workers have begun all that the dispatcher asked for, and stops them: what they work on
    /// stands in the log then, as ended.
    pub(crate) async fn settled(&mut self) {
        // A later task's order goes through the same consumer; its claim shows that the earlier were handled.
        let order = self.change_order("").await;
        let task = TaskRef { task: "VTID-09999".to_owned(), ..self.task() };
        let order = WorkOrder { id: "VTID-09999/1.1/change/1".to_owned(), task: Some(task), ..order };
        let event: Event = TaskScheduled {
            task: order.task.clone(),
            order: Some(order),
            spec_registered: true,
            ..Default::default()
        }
        .into();
        let probe = Key::new("VTID-09999").unwrap();
        let envelope = Envelope::new("probe", "/test", probe.clone(), System.now(), &event);
        let append =
            Append::new(Log::Dispatcher.stream(0), Log::Dispatcher.subject(&probe, 1), envelope.encode());
        let _appended = self.broker.append(&append).await.unwrap();
        eventually!(SOON, "the probe ended", {
            let reader = LogReader::new(self.broker.clone(), 1);
            reader.events(Log::Worker, &probe).await.unwrap().len() == 2
        });
        self.stops.drain(..).for_each(|stop| stop.cancel());
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap().unwrap();
        }
    }

    pub(crate) async fn lease_is_alive(&self, order: &str) -> bool {
        lease::is_alive(&self.leases(), order).await.unwrap()
    }
}

pub(crate) fn plan(change: &str) -> String {
    let indented: String = change.trim_matches('\n').lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "plan:\n  rollback_plan: revert the commit\n  idempotency_key: k1\n  risk_level: low\n  steps: [one]\nchange:\n{indented}"
    )
}

/// A change of the greeting, with these commands (a YAML list).
pub(crate) fn greeting(commands: &str) -> String {
    plan(&format!(
        "edits:\n  - path: greeting.txt\n    action: replace\n    find: hello\n    replace: hello world\n  \
         - path: docs/new.md\n    action: write\n    content: new\n\
         commands: {commands}\ndry_run: false\npr_required: true\nrollback_commands: []\n\
         title: Greet the world"
    ))
}

/// Models that do what an order's plan says.
pub(crate) fn recipe() -> Models {
    Models::configured(None, true, 3).unwrap()
}

pub(crate) fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "safe.directory=*", "-C"])
        .arg(directory)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Commits files on a branch of a bare repository (made from `main` when it is new).
pub(crate) fn commit(repository: &Path, branch: &str, files: &[(&str, &str)]) -> String {
    let copy = tempfile::tempdir().unwrap();
    git(copy.path(), &["clone", "--quiet", &repository.display().to_string(), "."]);
    git(copy.path(), &["checkout", "--quiet", "-B", branch]);
    for (name, content) in files {
        let file = copy.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
    git(copy.path(), &["add", "--all"]);
    git(copy.path(), &["commit", "--quiet", "-m", "files"]);
    git(copy.path(), &["push", "--quiet", "--force", "origin", branch]);
    git(copy.path(), &["rev-parse", "HEAD"])
}

/// Whether any process on this machine has `mark` in its command line.
pub(crate) fn alive(mark: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|entry| {
        entry.file_name().to_string_lossy().parse::<u32>().is_ok()
            && std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(mark))
    })
}

/// A sandbox that only counts.
#[derive(Default)]
pub(crate) struct Counting {
    pub(crate) commands: AtomicUsize,
}

#[async_trait]
impl Commands for Counting {
    fn ready(&self) -> Result<(), SandboxUnavailable> {
        Ok(())
    }

    async fn run(&self, _: &str, _: &Path, _: &CancellationToken) -> Result<Finished, SandboxError> {
        self.commands.fetch_add(1, Ordering::SeqCst);
        let (output, duration) = (b"ok\n".to_vec(), Duration::ZERO);
        Ok(Finished { exit: Exit::Code(0), output, truncated: false, duration })
    }

    fn bound(&self, _: &Finished) -> Option<String> {
        None
    }
}

/// A model that gives these answers, and remembers what it was asked.
pub(crate) struct Scripted {
    answers: Vec<&'static str>,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Scripted {
    pub(crate) fn new(answers: &[&'static str]) -> Arc<Self> {
        Arc::new(Self { answers: answers.to_vec(), asked: Mutex::default() })
    }

    pub(crate) fn models(self: &Arc<Self>) -> Models {
        Models::with(built_in_crew(3), vec![self.clone()]).unwrap()
    }
}

#[async_trait]
impl Provider for Scripted {
    fn name(&self) -> &str {
        "recipe"
    }

    async fn complete(&self, request: &ModelRequest<'_>) -> Result<ModelResponse, ModelError> {
        let mut asked = self.asked.lock().unwrap();
        asked.push(request.prompt.last().unwrap().text.clone());
        let answer = self.answers.get(asked.len() - 1).or(self.answers.last()).unwrap();
        Ok(ModelResponse {
            text: (*answer).to_owned(),
            usage: Usage { input: 1, output: 1, ..Usage::default() },
            finish: Finish::Complete,
            finish_word: String::new(),
            request_id: String::new(),
        })
    }
}

pub(crate) fn timestamp(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}
