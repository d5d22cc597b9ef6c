//! S2-B2: what cannot be recorded is not done, and what is not done is not acknowledged.

use millrace_e2e::monitor::{self, Lag};
use millrace_e2e::{Campaign, Cluster, Line, Plan, Work};
use millrace_events::Log;
use millrace_ledger::Ledger;
use millrace_testkit::eventually;

use super::{BOUND, events};

/// What a consumer has left.
fn left(campaign: &Campaign, durable: &str, log: Log) -> u64 {
    let all: Vec<Lag> = campaign.cluster.nats.monitor().and_then(monitor::consumers).unwrap_or_default();
    let of = all.iter().find(|lag| lag.durable == durable && lag.stream == log.stream(0));
    of.map_or(0, |lag| lag.pending + lag.unanswered)
}

async fn applied(campaign: &Campaign) -> u64 {
    let ledger = Ledger::open(&campaign.cluster.database_url()).await.unwrap();
    let applied = ledger.applied().await.unwrap();
    ledger.close().await;
    applied.values().sum()
}

/// S2-B2: while the projector is down nothing is acknowledged for it, and the ledger stands still; then it
/// goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn s2_b2_without_the_projector_nothing_is_acknowledged_for_it() {
    let cluster = Cluster::start_with(Campaign::options()).await;
    let mut campaign = Campaign::on("S2-B2-projector", cluster).await;
    campaign.cluster.stop("projector");
    let before = applied(&campaign).await;
    for number in 0..3 {
        let plan = Plan::file(format!("notes/{number}.txt"), "unseen");
        campaign.hand_in(1 + number, Work::Plain, &plan).await;
    }
    // The work itself does not wait for the ledger.
    eventually("all are released", BOUND, async || {
        let all = events(&campaign, Log::Dispatcher).await;
        all.iter().filter(|event| event.name() == "TaskCompleted").count() == 3
    })
    .await;
    assert_eq!(applied(&campaign).await, before);
    let messages = events(&campaign, Log::Dispatcher).await.len() as u64;
    assert!(left(&campaign, "projector", Log::Dispatcher) >= messages.min(6), "nothing was acknowledged");
    campaign.cluster.start_process("projector");
    campaign.reckon(BOUND).await;
}

/// S2-B2: a deployer that cannot append opens no pull request as far as anybody else knows: its input stays
/// unacknowledged and the stage does not advance; when it can, it goes on, once.
#[tokio::test(flavor = "multi_thread")]
async fn s2_b2_a_service_that_cannot_append_acknowledges_nothing() {
    let cluster = Cluster::prepare(Campaign::options()).await;
    let mut campaign = Campaign::on("S2-B2-append", cluster).await;
    campaign.with_lines().await;
    campaign.cluster.start_all().await;
    campaign.line("deployer", Line::LosesRequests);
    campaign.hand_in(1, Work::Plain, &Plan::file("notes/1.txt".to_owned(), "stalled")).await;
    eventually("the work is done", BOUND, async || {
        events(&campaign, Log::Worker).await.iter().any(|event| event.name() == "ExecutionCompleted")
    })
    .await;
    // It finds out that nobody answers it.
    eventually("the deployer is not ready", BOUND, async || {
        campaign.cluster.readiness("deployer") == Some(503)
    })
    .await;
    assert!(left(&campaign, "deployer", Log::Worker) > 0, "its input was acknowledged");
    assert_eq!(events(&campaign, Log::Deployer).await, [], "the stage has advanced");
    campaign.line("deployer", Line::Good);
    campaign.reckon(BOUND).await;
}
