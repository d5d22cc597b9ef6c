//! F13: the broker's disk is full. F14: the ledger's is.

use std::sync::Arc;
use std::time::Duration;

use millrace_chaos::{Events, Journal, Report, Sender, SmallDisk, Spec, check_ending, check_ending_but};
use millrace_e2e::invariants::Violation;
use millrace_e2e::{Cluster, Options};
use millrace_events::Log;
use millrace_runtime::broker::Broker;
use millrace_runtime::permissions::Identity;
use millrace_testkit::{eventually, nats};

const BOUND: Duration = Duration::from_secs(180);
const TASKS: usize = 8;
const REPOSITORIES: usize = 4;
const SMALL: u32 = 24;
const LARGE: u32 = 512;

/// JetStream takes three quarters of the disk as its limit, and refuses at once.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: make chaos"]
async fn f13_a_broker_at_its_limit_is_waited_for() {
    let report = Report::begin("F13 broker's disk full, by its own limit", "I1 I2 I4-I7", "disk-full: limit");
    the_broker_has_no_room(report, "", "insufficient").await;
}

/// With a limit beyond the disk the write itself fails.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: make chaos"]
async fn f13_a_broker_without_space_is_waited_for() {
    let report = Report::begin("F13 broker's disk full, ENOSPC", "I1 I2 I4-I7", "disk-full: no space");
    the_broker_has_no_room(report, "max_file_store: 10GB", "no answer").await;
}

/// `said`: what a service's log must say about it.
async fn the_broker_has_no_room(mut report: Report, jetstream: &str, said: &str) {
    let disk = SmallDisk::new(SMALL);
    let options = Options {
        nats: nats::Options {
            store: Some(disk.path().join("store")),
            jetstream: jetstream.to_owned(),
            ..nats::Options::default()
        },
        repositories: REPOSITORIES,
        ..Options::default()
    };
    let cluster = Cluster::start_with(options).await;
    let producer: Arc<dyn Broker> = Arc::new(cluster.connect(Identity::Producer).await);
    let journal = Journal::default();
    let tasks = Sender::start(&producer, &journal, 2, task);
    tasks.finish().await;
    let auditor = cluster.auditor().await;
    eventually("the first task is being worked on", BOUND, async || {
        Events::of(&*auditor, Log::Worker).await.count("WorkOrderAcknowledged") > 0
    })
    .await;

    let ballast = Sender::start(&producer, &journal, 2, |number| Some(ballast(number)));
    eventually("a service says that the broker has no room", BOUND, async || {
        Cluster::names().iter().any(|name| {
            let log = std::fs::read_to_string(cluster.path(&format!("{name}.log"))).unwrap_or_default();
            log.lines().any(|line| line.contains("trying again") && line.contains(said))
        })
    })
    .await;
    let refused = eventually("the producer is refused", BOUND, async || ballast.refusals().pop()).await;
    report.step(&format!("the producer hears: {refused}"));
    ballast.stop().await;
    let ended = Events::of(&*auditor, Log::Dispatcher).await.ends.len();
    report.figure(&format!("{} submissions acknowledged before, {ended} runs ended", journal.len()));

    disk.resize(LARGE);
    // A stream whose write failed stays broken until the server starts again.
    cluster.nats.stop();
    cluster.nats.restart();
    report.step("the disk has room again, the server was restarted");
    // A spec that says too little is a task that fails at the gate.
    let ending = tokio::select! {
        ending = check_ending_but(&cluster, &journal, journal.len(), BOUND, is_gap) => ending,
        () = gap_noticed(&cluster) => {
            assert_eq!(journal.lost(&*auditor).await.len(), 0, "acknowledged submissions are lost");
            report.figure("the server left out a sequence: the alarm stands, nothing acknowledged is lost");
            return report.held();
        }
    };
    report.figure(&format!("{:?}, {} messages", ending.ends, ending.messages));
    assert!(ending.failures.is_empty(), "a full disk became a decision: {:#?}", ending.failures);
    assert_eq!(ending.ends.get("TaskCompleted"), Some(&TASKS));
    report.held();
}

/// A server that could not write a message may give its sequence to nobody. It was never acknowledged, but
/// nobody can tell that from a loss.
fn is_gap(violation: &Violation) -> bool {
    violation.invariant == "I2" && violation.text.contains(" comes after ")
}

/// Until the projector has found such a gap in front of what it has read. It raises its alarm and dispatching
/// stops, for a person to look.
async fn gap_noticed(cluster: &Cluster) {
    while !cluster.log_of("projector").contains("it is not followed") {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// F14: the ledger's disk is full; the logs go on, and the ledger catches up when there is room.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: make chaos"]
async fn f14_a_full_ledger_disk_is_caught_up_with() {
    let mut report = Report::begin("F14 ledger's disk full", "I4 I5 I7", "disk-full: ledger");
    let disk = SmallDisk::new(8);
    let url = format!("sqlite://{}", disk.path().join("ledger.db").display());
    let options = Options { database_url: Some(url), repositories: REPOSITORIES, ..Options::default() };
    let cluster = Cluster::start_with(options).await;
    let producer: Arc<dyn Broker> = Arc::new(cluster.connect(Identity::Producer).await);
    let journal = Journal::default();
    Sender::start(&producer, &journal, 2, task).finish().await;
    let filling = Sender::start(&producer, &journal, 2, |number| (number < 60).then(|| ballast(number)));
    filling.finish().await;
    let count = journal.len();
    let auditor = cluster.auditor().await;
    eventually("every run has ended", BOUND, async || {
        Events::of(&*auditor, Log::Dispatcher).await.ends.len() >= count
    })
    .await;
    eventually("the projector says that the disk is full", BOUND, async || {
        std::fs::read_to_string(cluster.path("projector.log")).unwrap().contains("full")
    })
    .await;
    eventually("the projector is not ready", BOUND, async || cluster.readiness("projector") != Some(200))
        .await;
    report.figure(&format!("all {count} runs ended with the ledger's disk full"));
    disk.resize(LARGE);
    let ending = check_ending(&cluster, &journal, count, BOUND).await;
    eventually("the projector is ready", BOUND, async || cluster.readiness("projector") == Some(200)).await;
    report.figure(&format!("caught up without a restart: {:?}, {} messages", ending.ends, ending.messages));
    report.held();
}

/// A task that takes a while.
fn task(number: usize) -> Option<Spec> {
    (number < TASKS).then(|| Spec::worked_on(number, REPOSITORIES, "sleep 2"))
}

/// A spec of 300 KB that is refused.
fn ballast(number: usize) -> Spec {
    Spec::refused(1_000 + number, 300_000)
}
