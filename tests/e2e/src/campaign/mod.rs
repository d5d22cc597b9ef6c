//! Many tasks, faults from a seed, and the reckoning at the end.

mod ends;
mod reckon;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_events::Log;
use millrace_rpc::v1::OperatorRequest;
use millrace_runtime::blobs::digest_of;
use millrace_runtime::permissions::Identity;
use tokio::time::sleep;

use self::ends::Ends;
use crate::cluster::{Cluster, Options};
use crate::dice::Dice;
use crate::journal::{Journal, Kind};
use crate::producer::Producer;
use crate::proxy::Proxy;
use crate::repository::{Plan, spec};

/// Settings for machines that fail all the time: what is lost is tried again for as long as it takes, and
/// soon, so that a test need not wait for it.
const PATIENT: &str = "[limits]\nlease = \"3s\"\nlease_renewal = \"1s\"\nacknowledge = \"6s\"\nattempts = 50\n\
    dispatch_attempts = 50\ndispatch_backoff = \"200ms\"\n[worker]\nslots = 4\n";

/// The exit code of a service that finds no NATS when it starts.
const NO_CONNECTION: i32 = 4;

/// What a task is meant to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A change without checks: released.
    Plain,
    /// A change that the validator refuses: the run fails, and its pull request is closed.
    Failing,
    /// The same, and a person asks for another run, which fails too.
    Retried,
    /// A person cancels it.
    Cancelled,
}

/// A task that was handed in.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// Its id.
    pub task: String,
    /// Which repository.
    pub repository: usize,
    /// What it is meant to show.
    pub work: Work,
}

/// Tasks and faults on one cluster.
pub struct Campaign {
    /// What it is called in its report.
    pub name: &'static str,
    /// Where it runs.
    pub cluster: Cluster,
    /// Where all chance comes from.
    pub dice: Dice,
    /// What was handed in.
    pub submitted: Vec<Submitted>,
    /// The producer's journal.
    pub journal: Arc<Journal>,
    seed: u64,
    faults: BTreeMap<&'static str, u32>,
    foreign: BTreeSet<(Log, u64)>,
    /// The lines between the processes and NATS, where they can be disturbed.
    pub(crate) lines: BTreeMap<String, Proxy>,
    started: Instant,
    ends: Ends,
}

impl Campaign {
    /// Options of a cluster for many tasks: four repositories, each with a target of its own so that releases
    /// run side by side, the first with checks.
    pub fn options() -> Options {
        Options {
            config: PATIENT.to_owned(),
            repositories: 4,
            with_checks: 1,
            scan_period: Duration::from_secs(1),
            ..Options::default()
        }
    }

    /// On a cluster, whose services may be started later.
    pub async fn on(name: &'static str, cluster: Cluster) -> Self {
        let seed = Dice::seed();
        eprintln!("{name}: SEED={seed}");
        let journal = Arc::new(Journal::create(&cluster.path("journal.jsonl")));
        let ends = Ends::new(cluster.connect(Identity::Auditor).await);
        Self {
            name,
            cluster,
            dice: Dice::new(seed),
            submitted: Vec::new(),
            journal,
            seed,
            faults: BTreeMap::new(),
            foreign: BTreeSet::new(),
            lines: BTreeMap::new(),
            started: Instant::now(),
            ends,
        }
    }

    /// Counts a fault.
    pub fn injected(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Makes `count` tasks: most plain, one in twenty failing, one in twenty retried, one in twenty with a
    /// command in a sandbox, one in twenty in the repository with checks. Path and text of each.
    fn draw(&mut self, count: usize) -> Vec<(Submitted, String, String)> {
        let first = self.submitted.len();
        let mut drawn = Vec::new();
        for number in first..first + count {
            let id = format!("{:05}", 1_000 + number);
            let task = format!("VTID-{id}");
            let kind = self.dice.below(20);
            let all = self.cluster.repositories.len();
            let repository = if kind == 3 || all == 1 { 0 } else { 1 + self.dice.below(all - 1) };
            let own_file = || Plan::file(format!("notes/{id}.txt"), &task);
            // A change of how changes are checked is refused once and for all.
            let forbidden = || Plan::file(".millrace.toml".to_owned(), "[checks]");
            let (work, plan) = match kind {
                0 => (Work::Failing, forbidden()),
                1 => (Work::Retried, forbidden()),
                2 => (Work::Plain, own_file().command("test -f app.py")),
                _ => (Work::Plain, own_file()),
            };
            let path = format!("docs/specs/{id}-x.md");
            let text = spec(&task, &plan);
            drawn.push((Submitted { task, repository, work }, path, text));
        }
        drawn
    }

    /// Pushes specs to the repositories, one commit each.
    pub fn push(&mut self, count: usize) {
        let drawn = self.draw(count);
        for (number, repository) in self.cluster.repositories.iter().enumerate() {
            let of_it = drawn.iter().filter(|(submitted, ..)| submitted.repository == number);
            let specs: Vec<(String, String)> =
                of_it.map(|(_, path, text)| (path.clone(), text.clone())).collect();
            let note = |kind| {
                for (path, text) in &specs {
                    self.journal.note("git", "push", path, &digest_of(text.as_bytes()), kind);
                }
            };
            if !specs.is_empty() {
                note(Kind::Invoke);
                repository.add_specs(&specs);
                note(Kind::Ok);
            }
        }
        self.submitted.extend(drawn.into_iter().map(|(submitted, ..)| submitted));
    }

    /// Hands specs in through the intake log, as a program does; returns at once. The handle ends when all
    /// are acknowledged.
    pub async fn submit(&mut self, count: usize) -> tokio::task::JoinHandle<()> {
        let broker = self.cluster.connect(Identity::Producer).await;
        let producer = Producer::new("producer-1", broker, self.journal.clone());
        self.submit_through(producer, count)
    }

    /// The same with this producer.
    pub fn submit_through(&mut self, producer: Producer, count: usize) -> tokio::task::JoinHandle<()> {
        let drawn = self.draw(count);
        self.submitted.extend(drawn.iter().map(|(submitted, ..)| submitted.clone()));
        let names: Vec<String> =
            self.cluster.repositories.iter().map(|repository| repository.name.clone()).collect();
        tokio::spawn(async move {
            for (submitted, path, text) in drawn {
                let repository = &names[submitted.repository];
                producer.submit(repository, &path, &text, Duration::from_secs(120)).await;
            }
        })
    }

    /// Hands in one spec with this plan, and returns when it is acknowledged. The task.
    pub async fn hand_in(&mut self, repository: usize, work: Work, plan: &Plan) -> String {
        let id = format!("{:05}", 1_000 + self.submitted.len());
        let task = format!("VTID-{id}");
        self.hand_in_text(repository, &format!("docs/specs/{id}-x.md"), &spec(&task, plan)).await;
        self.submitted.push(Submitted { task: task.clone(), repository, work });
        task
    }

    /// Hands in a text, of which nothing is expected yet.
    pub async fn hand_in_text(&self, repository: usize, path: &str, text: &str) {
        let broker = self.cluster.connect(Identity::Producer).await;
        let producer = Producer::new("producer-2", broker, self.journal.clone());
        let repository = &self.cluster.repositories[repository].name;
        producer.submit(repository, path, text, Duration::from_secs(60)).await;
    }

    /// Whether that is what a task is to show.
    pub fn is_meant(&self, task: &str, work: Work) -> bool {
        self.submitted.iter().any(|submitted| submitted.task == task && submitted.work == work)
    }

    /// Cancels a task's first run. Asked again until the service has taken it: twice is once.
    pub async fn cancel(&self, task: &str) {
        loop {
            if let Some(mut operator) = self.cluster.try_operator().await {
                let cancel = operator.cancel(request_about(task));
                match tokio::time::timeout(Duration::from_secs(3), cancel).await {
                    Ok(Ok(_)) => return,
                    Ok(Err(status)) => {
                        assert_ne!(status.code(), tonic::Code::InvalidArgument, "{task}: {status}");
                    }
                    Err(_no_answer) => {}
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Tasks whose last run has not ended, by what the dispatcher's log says; and asks for the second run of
    /// those that are to have one.
    pub async fn open(&mut self) -> BTreeSet<String> {
        self.ends.read().await;
        let mut open = BTreeSet::new();
        for submitted in &self.submitted {
            let run = if submitted.work == Work::Retried { 2 } else { 1 };
            if self.ends.of(&submitted.task, run) {
                continue;
            }
            open.insert(submitted.task.clone());
            if run == 2 && self.ends.of(&submitted.task, 1) {
                // Asked again until the run is there: twice is once.
                if let Some(mut operator) = self.cluster.try_operator().await {
                    let retry = operator.retry(request_about(&submitted.task));
                    let _asked = tokio::time::timeout(Duration::from_secs(3), retry).await;
                }
            }
        }
        open
    }

    /// Starts again what has ended by itself. That may be for want of NATS at the start, and for nothing else.
    pub fn tend(&mut self) {
        for (name, code) in self.cluster.tend() {
            let log = self.cluster.log_of(&name);
            let last: Vec<&str> = log.lines().rev().take(10).collect();
            assert_eq!(
                code,
                Some(NO_CONNECTION),
                "{} SEED={}: {name} ended: {last:#?}",
                self.name,
                self.seed
            );
        }
    }

    /// Waits until every run has ended. What does not is explained.
    pub async fn all_ended(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            self.tend();
            let open = self.open().await;
            if open.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                let mut text =
                    format!("{}: {} tasks do not end; kept in {}\n", self.tag(), open.len(), self.keep());
                for task in open.iter().take(3) {
                    text.push_str(&self.cluster.explain(task).await);
                }
                panic!("{text}");
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// A message that the test itself puts into a log, and that no invariant holds against anybody.
    pub fn is_foreign(&mut self, log: Log, sequence: u64) {
        self.foreign.insert((log, sequence));
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

fn request_about(task: &str) -> OperatorRequest {
    OperatorRequest { task: task.to_owned(), run: 1, reason: "a campaign asks for it".to_owned() }
}
