//! F16: what the ledger is kept in loses power or is killed while events are being projected.

use std::sync::Arc;
use std::time::Duration;

use millrace_chaos::{FrailDisk, Journal, Report, Sender, Spec, check_ending};
use millrace_e2e::{Cluster, Options};
use millrace_events::Log;
use millrace_ledger::Ledger;
use millrace_runtime::broker::Broker;
use millrace_runtime::permissions::Identity;
use millrace_testkit::{Postgres, eventually};
use rustix::process::{Pid, Signal, kill_process};

const BOUND: Duration = Duration::from_secs(180);
/// Submissions that are projected while the fault strikes; each is a task that fails at the gate.
const SUBMISSIONS: usize = 400;
const CUTS: usize = 3;

/// SQLite on a disk whose power is cut: nothing that was committed is gone, and the projector goes on from
/// its own checkpoint.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: make chaos"]
async fn f16_a_sqlite_ledger_survives_a_power_cut() {
    let mut report = Report::begin("F16 power cut of the ledger's disk", "I4 I5 I7", "ledger: SQLite");
    let disk = FrailDisk::new(256);
    let url = format!("sqlite://{}", disk.path().join("ledger.db").display());
    let mut cluster = Cluster::start_with(Options { database_url: Some(url), ..Options::default() }).await;
    disk.sync();
    let (journal, load) = load(&cluster).await;
    for cut in 1..=CUTS {
        wait_for_progress(&cluster, cut * SUBMISSIONS / (CUTS + 1)).await;
        let before = applied(&cluster.database_url()).await;
        // Stopped first, so that the copy is that of one moment.
        for name in ["projector", "query"] {
            let pid = Pid::from_raw(cluster.pid(name).cast_signed()).unwrap();
            kill_process(pid, Signal::STOP).unwrap();
        }
        disk.cut();
        cluster.kill("projector");
        cluster.kill("query");
        disk.come_back();
        let after = applied(&cluster.database_url()).await;
        assert!(after >= before, "{before} events were committed, {after} are there after the cut");
        report.figure(&format!("cut {cut}: {before} applied before, {after} after"));
        cluster.start_process("projector");
        cluster.start_process("query");
    }
    load.finish().await;
    let ending = check_ending(&cluster, &journal, SUBMISSIONS, BOUND).await;
    report.figure(&format!("{:?}, {} messages", ending.ends, ending.messages));
    report.held();
}

/// The postmaster is killed again and again; the projector reconnects and goes on.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "make chaos"]
async fn f16_a_postgresql_ledger_survives_kills_of_its_server() {
    let mut report =
        Report::begin("F16 kill -9 of the ledger's PostgreSQL", "I4 I5 I7", "ledger: PostgreSQL");
    let server = Postgres::start();
    let url = server.database();
    let cluster = Cluster::start_with(Options { database_url: Some(url), ..Options::default() }).await;
    let (journal, load) = load(&cluster).await;
    for kill in 1..=CUTS {
        wait_for_progress(&cluster, kill * SUBMISSIONS / (CUTS + 1)).await;
        let before = applied(&cluster.database_url()).await;
        server.kill();
        server.restart();
        let after = applied(&cluster.database_url()).await;
        assert!(after >= before, "{before} events were committed, {after} are there after the kill");
        report.figure(&format!("kill {kill}: {before} applied before, {after} after"));
    }
    load.finish().await;
    let ending = check_ending(&cluster, &journal, SUBMISSIONS, BOUND).await;
    report.figure(&format!("{:?}, {} messages", ending.ends, ending.messages));
    report.held();
}

async fn load(cluster: &Cluster) -> (Journal, Sender) {
    let producer: Arc<dyn Broker> = Arc::new(cluster.connect(Identity::Producer).await);
    let journal = Journal::default();
    let sender = Sender::start(&producer, &journal, 4, |number| {
        (number < SUBMISSIONS).then(|| Spec::refused(1_000 + number, 100))
    });
    (journal, sender)
}

/// Until the ledger has that many submissions, and more are coming.
async fn wait_for_progress(cluster: &Cluster, submissions: usize) {
    let ledger = Ledger::open(&cluster.database_url()).await.unwrap();
    eventually(&format!("{submissions} submissions are in the ledger"), BOUND, async || {
        let applied = ledger.applied().await.unwrap_or_default();
        applied.get(&Log::Intake.stream(0)).copied().unwrap_or(0) >= submissions as u64
    })
    .await;
    ledger.close().await;
}

/// Events in the ledger, once it can be asked.
async fn applied(url: &str) -> u64 {
    eventually("the ledger answers", BOUND, async || {
        let ledger = Ledger::open(url).await.ok()?;
        let applied = ledger.applied().await.ok();
        ledger.close().await;
        Some(applied?.values().sum())
    })
    .await
}
