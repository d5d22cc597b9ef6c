//! The deployer, hosted in memory, between a real repository and a scripted target. The test plays the
//! dispatcher, the worker and the validator.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::{Cause, Timestamp};
use millrace_deployer::domain::DEPLOYMENT;
use millrace_deployer::effects::{DeployerService, Holds, World};
use millrace_deployer::ports::{Site, SiteError, Sites, Target};
use millrace_deployer::target_book::{TargetBook, TargetEntry};
use millrace_events::catalogue::TARGET_BUCKET;
use millrace_events::v1::{
    ExecutionCompleted, PullRequest, PullRequestOpened, TaskRef, TaskScheduled, TimerFired, ValidationPassed,
    WorkOrder,
};
use millrace_events::{CONTENT_TYPE_PROTOBUF, DeployerEvent, Envelope, Event, Key, Service};
use millrace_forge::{Forge, Git, LocalForge, LocalForgeConfig};
use millrace_runtime::blobs::Blobs;
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::{Append, Broker};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::clock::{Clock, System};
use millrace_runtime::host::{Host, HostError, HostOptions};
use millrace_runtime::log_reader::LogReader;
use millrace_runtime::memory::{ManualClock, MemoryBroker};
use millrace_testkit::eventually;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::scripted_target::ScriptedTarget;
use super::shy_forge::Gate;

/// Bound of every wait. Generous: the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(60);
const PROFILE: &str = "[checks]\nunit = \"true\"\nlint = \"true\"\n";

pub(crate) struct Stage {
    pub(crate) scratch: TempDir,
    pub(crate) broker: Arc<MemoryBroker>,
    clock: Arc<dyn Clock>,
    pub(crate) manual: Option<Arc<ManualClock>>,
    pub(crate) forge: Arc<dyn Forge>,
    pub(crate) target: Arc<ScriptedTarget>,
    sites: FixedSites,
    running: Option<(CancellationToken, JoinSet<Result<(), HostError>>)>,
}

#[derive(Clone)]
struct FixedSites {
    forge: Arc<dyn Forge>,
    target: Arc<dyn Target>,
    /// Before a repository is found.
    gate: Arc<Gate>,
}

#[async_trait]
impl Sites for FixedSites {
    async fn repository(&self, id: &str) -> Result<Site, SiteError> {
        self.gate.pass().await;
        match id {
            "shop" => Ok(Site { forge: self.forge.clone(), base_branch: "main".to_owned() }),
            _ => Err(SiteError::Unknown { kind: "repository", id: id.to_owned() }),
        }
    }

    async fn target(&self, id: &str) -> Result<Arc<dyn Target>, SiteError> {
        match id {
            "web" => Ok(self.target.clone()),
            _ => Err(SiteError::Unknown { kind: "target", id: id.to_owned() }),
        }
    }
}

impl Stage {
    /// A repository whose `main` has two files and asks for two checks; the deployer runs.
    pub(crate) async fn new() -> Self {
        let mut stage = Self::silent(Arc::new(System), None).await;
        stage.start();
        stage
    }

    /// The same on a clock that the test moves.
    pub(crate) async fn on_manual_clock() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_767_225_600_000)));
        let mut stage = Self::silent(clock.clone(), Some(clock)).await;
        stage.start();
        stage
    }

    /// Without a deployer yet.
    pub(crate) async fn silent(clock: Arc<dyn Clock>, manual: Option<Arc<ManualClock>>) -> Self {
        let scratch = TempDir::new().unwrap();
        git(scratch.path()).run(["init", "-q", "--bare", "-b", "main", "origin.git"]).await.unwrap();
        let url = scratch.path().join("origin.git").display().to_string();
        let forge: Arc<dyn Forge> = Arc::new(LocalForge::open(LocalForgeConfig::new(url)).await.unwrap());
        let broker = Arc::new(MemoryBroker::new(clock.clone(), &Declared::of(&Installation::default())));
        let target = Arc::new(ScriptedTarget::default());
        let sites = FixedSites { forge: forge.clone(), target: target.clone(), gate: Arc::default() };
        let stage = Self { scratch, broker, clock, manual, forge, target, sites, running: None };
        let files = [(".millrace.toml", PROFILE), ("page.css", "a\nb\nc\n"), ("other.css", "x\n")];
        stage.push_to_main(&files).await;
        stage
    }

    pub(crate) fn use_forge(&mut self, forge: Arc<dyn Forge>) {
        self.sites.forge = forge;
    }

    /// Where whoever looks for a repository can be kept waiting.
    pub(crate) fn gate(&self) -> Arc<Gate> {
        self.sites.gate.clone()
    }

    pub(crate) fn use_target(&mut self, target: Arc<dyn Target>) {
        self.sites.target = target;
    }

    pub(crate) fn start(&mut self) {
        let world = self.world(self.broker.clone());
        let stop = CancellationToken::new();
        let options = HostOptions { effect_backoff: Duration::from_millis(20), ..HostOptions::default() };
        let service = DeployerService::new(world);
        let host = Host::new(service, self.broker.clone(), self.clock.clone(), options, stop.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(host.run());
        self.running = Some((stop, tasks));
    }

    /// What the deployer's effects reach, over any broker.
    pub(crate) fn world(&self, broker: Arc<dyn Broker>) -> World {
        World {
            sites: Arc::new(self.sites.clone()),
            targets: TargetBook::new(Arc::new(Bucket::new(broker.clone(), TARGET_BUCKET))),
            logs: LogReader::new(broker.clone(), 1),
            blobs: Blobs::new(broker, 1 << 24),
            clock: self.clock.clone(),
            wrong_sha_grace: Duration::from_millis(100),
            deployment: Duration::from_secs(600),
            holds: Holds::default(),
        }
    }

    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    fn blobs(&self) -> Blobs {
        Blobs::new(self.broker.clone(), 1 << 24)
    }

    pub(crate) fn book(&self) -> TargetBook {
        TargetBook::new(Arc::new(Bucket::new(self.broker.clone(), TARGET_BUCKET)))
    }

    fn logs(&self) -> LogReader {
        LogReader::new(self.broker.clone(), 1)
    }

    pub(crate) async fn entry(&self) -> TargetEntry {
        self.book().entry("web").await.unwrap().unwrap_or_default()
    }

    pub(crate) async fn base(&self) -> String {
        self.forge.branch_head("main").await.unwrap().unwrap()
    }

    /// What a file of `main` holds.
    pub(crate) async fn file(&self, path: &str) -> String {
        let bytes = self.forge.read_file(&self.base().await, path).await.unwrap().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Appends an event to its log, as its service would.
    pub(crate) async fn say(&self, task: &TaskRef, event: impl Into<Event>) {
        let _place = self.answer(task, event, None).await;
    }

    /// The same because of something. Where it stands.
    pub(crate) async fn answer(
        &self,
        task: &TaskRef,
        event: impl Into<Event>,
        cause: Option<Cause>,
    ) -> Cause {
        let event = event.into();
        let key = Key::new(task.task.as_str()).unwrap();
        let log = event.log();
        let source = format!("/millrace/{}", log.name());
        let envelope =
            Envelope { cause, ..Envelope::new("test", source, key.clone(), self.clock.now(), &event) };
        let append = Append::new(log.stream(0), log.subject(&key, 1), envelope.encode());
        let appended = self.broker.append(&append.content_type(CONTENT_TYPE_PROTOBUF)).await.unwrap();
        Cause::new(log.stream(0), appended.sequence)
    }

    /// The deadline of a release arrives, as the server delivers it.
    pub(crate) async fn deadline_fires(&self, task: &TaskRef, commit: &str) {
        let key = Key::new(task.task.as_str()).unwrap();
        let timer = TimerFired {
            name: DEPLOYMENT.to_owned(),
            task: Some(task.clone()),
            about: commit.to_owned(),
            round: 0,
        };
        let service = Service::Deployer;
        let envelope = Envelope::timer(service, "timer", key.clone(), self.clock.now(), &timer);
        let append =
            Append::new(service.timer_stream(), service.due_subject(&key, DEPLOYMENT), envelope.encode());
        let _ = self.broker.append(&append.content_type(CONTENT_TYPE_PROTOBUF)).await.unwrap();
    }

    /// All that the deployer has said about a task.
    pub(crate) async fn said(&self, task: &TaskRef) -> Vec<DeployerEvent> {
        let key = Key::new(task.task.as_str()).unwrap();
        let events = self.logs().events(millrace_events::Log::Deployer, &key).await.unwrap();
        events
            .into_iter()
            .filter_map(|logged| match logged.event {
                Event::Deployer(event) => Some(event),
                _ => None,
            })
            .collect()
    }

    pub(crate) async fn names(&self, task: &TaskRef) -> Vec<&'static str> {
        self.said(task).await.iter().map(millrace_events::LogEvent::name).collect()
    }

    /// Waits until the deployer has said exactly these.
    pub(crate) async fn says(&self, task: &TaskRef, names: &[&str]) {
        let bound = tokio::time::Instant::now() + SOON;
        loop {
            let found = self.names(task).await;
            if found == names {
                return;
            }
            assert!(tokio::time::Instant::now() < bound, "waiting for {names:?}, have {found:?}");
            if let Some(clock) = &self.manual {
                clock.advance(Duration::from_secs(1));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn scheduled(&self, task: &TaskRef) {
        let order = WorkOrder { task: Some(task.clone()), ..WorkOrder::default() };
        let scheduled = TaskScheduled {
            task: Some(task.clone()),
            spec_registered: true,
            order: Some(order),
            ..Default::default()
        };
        self.say(task, scheduled).await;
    }

    pub(crate) async fn push_to_main(&self, files: &[(&str, &str)]) -> String {
        let clone = self.clone_named("person").await;
        commit(&clone, files).await;
        git(&clone).run(["push", "-q", "origin", "HEAD:refs/heads/main"]).await.unwrap();
        git(&clone).run(["rev-parse", "HEAD"]).await.unwrap().text()
    }

    /// A fresh clone.
    async fn clone_named(&self, name: &str) -> PathBuf {
        let clone = self.scratch.path().join("clones").join(name);
        let _ = std::fs::remove_dir_all(&clone);
        let arguments = ["clone".as_ref(), "-q".as_ref(), "origin.git".as_ref(), clone.as_os_str()];
        git(self.scratch.path()).run(arguments).await.unwrap();
        clone
    }

    /// What a worker hands over for a change of `files`.
    pub(crate) async fn change(&self, task: &TaskRef, files: &[(&str, &str)]) -> ExecutionCompleted {
        let name = format!("{}-{}.{}", task.task, task.run, task.attempt);
        let clone = self.clone_named(&name).await;
        commit(&clone, files).await;
        let bundle = self.scratch.path().join(format!("{name}.bundle"));
        let arguments = ["bundle".as_ref(), "create".as_ref(), "-q".as_ref(), bundle.as_os_str()];
        let what = ["HEAD".as_ref(), "^origin/main".as_ref()];
        git(&clone).run(arguments.into_iter().chain(what)).await.unwrap();
        let bytes = std::fs::read(&bundle).unwrap();
        let blob = self.blobs().put_named("change.bundle", "application/x-git-bundle", &bytes).await.unwrap();
        let plan = self.blobs().put_named("plan.json", "application/json", b"{}").await.unwrap();
        ExecutionCompleted {
            task: Some(task.clone()),
            order: format!("{}/{}.{}/change/1", task.task, task.run, task.attempt),
            worker: "worker-a".to_owned(),
            head: git(&clone).run(["rev-parse", "HEAD"]).await.unwrap().text(),
            branch: branch(task),
            bundle: Some(blob),
            evidence: vec![plan],
            title: "Change the colour".to_owned(),
            summary: "The page is red now.".to_owned(),
            rollback_plan: "Revert it.".to_owned(),
            risk_level: "low".to_owned(),
            ..ExecutionCompleted::default()
        }
    }

    /// Schedules the task, hands a change over and waits for its pull request.
    pub(crate) async fn proposed(&self, task: &TaskRef, files: &[(&str, &str)]) -> PullRequestOpened {
        self.scheduled(task).await;
        let change = self.change(task, files).await;
        self.say(task, change).await;
        self.opened(task).await
    }

    pub(crate) async fn opened(&self, task: &TaskRef) -> PullRequestOpened {
        eventually!(SOON, "a pull request", {
            if let Some(clock) = &self.manual {
                clock.advance(Duration::from_millis(10));
            }
            let said = self.said(task).await;
            said.into_iter().find_map(|event| match event {
                DeployerEvent::PullRequestOpened(event) if event.task.as_ref() == Some(task) => Some(event),
                _ => None,
            })
        })
    }

    /// The validator lets it through.
    pub(crate) async fn passed(&self, task: &TaskRef, pull_request: &PullRequest) {
        let passed = ValidationPassed {
            task: Some(task.clone()),
            pull_request: Some(pull_request.clone()),
            verdicts: Vec::new(),
            base_checked: true,
        };
        self.say(task, passed).await;
    }

    /// From nothing to a verified release.
    pub(crate) async fn released(&self, task: &TaskRef, files: &[(&str, &str)]) -> String {
        let opened = self.proposed(task, files).await;
        self.passed(task, &opened.pull_request.unwrap()).await;
        self.says(task, &["PullRequestOpened", "MergeCompleted", "DeploymentVerified"]).await;
        self.merge_commit(task).await
    }

    pub(crate) async fn merge_commit(&self, task: &TaskRef) -> String {
        let said = self.said(task).await;
        said.into_iter()
            .find_map(|event| match event {
                DeployerEvent::MergeCompleted(event) => Some(event.merge_commit),
                _ => None,
            })
            .unwrap()
    }

    /// The code and message of the last failure that the deployer stated.
    pub(crate) async fn failure(&self, task: &TaskRef) -> (String, String) {
        let said = self.said(task).await;
        let failure = said.into_iter().rev().find_map(|event| match event {
            DeployerEvent::PullRequestFailed(event) => event.failure,
            DeployerEvent::MergeFailed(event) => event.failure,
            DeployerEvent::DeploymentFailed(event) => event.failure,
            DeployerEvent::RollbackFailed(event) => event.failure,
            _ => None,
        });
        let failure = failure.unwrap();
        (failure.code_name(), failure.message)
    }

    pub(crate) async fn plain(&self, arguments: &[&str]) -> String {
        git(&self.scratch.path().join("origin.git")).run(arguments).await.unwrap().text()
    }
}

pub(crate) fn task(id: &str, run: u32, attempt: u32) -> TaskRef {
    TaskRef {
        task: id.to_owned(),
        run,
        attempt,
        repository: "shop".to_owned(),
        target: "web".to_owned(),
        spec_version: 1,
        spec_checksum: "c0ffee".to_owned(),
        ..TaskRef::default()
    }
}

pub(crate) fn branch(task: &TaskRef) -> String {
    format!("millrace/{}/{}.{}", task.task, task.run, task.attempt)
}

async fn commit(clone: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        std::fs::write(clone.join(path), content).unwrap();
    }
    git(clone).run(["add", "-A"]).await.unwrap();
    git(clone).run(["commit", "-q", "--allow-empty", "-m", "a change"]).await.unwrap();
}

pub(crate) fn git(directory: &Path) -> Git {
    ["AUTHOR", "COMMITTER"].into_iter().fold(Git::new().in_directory(directory), |git, role| {
        git.with_variable(format!("GIT_{role}_NAME"), "Person")
            .with_variable(format!("GIT_{role}_EMAIL"), "person@example.org")
    })
}
