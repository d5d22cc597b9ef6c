//! A worker that was taken for dead comes back.

use std::collections::BTreeSet;

use millrace_e2e::{Campaign, Cluster, Plan, Work};
use millrace_events::{DispatcherEvent, Event, Log, WorkerEvent};
use millrace_testkit::eventually;

use super::{BOUND, events};

/// Orders that a worker has claimed.
async fn claimed(campaign: &Campaign, worker: &str) -> BTreeSet<String> {
    let found = events(campaign, Log::Worker).await.into_iter().filter_map(|event| match event {
        Event::Worker(WorkerEvent::WorkOrderAcknowledged(event)) if event.worker == worker => {
            Some(event.order)
        }
        _ => None,
    });
    found.collect()
}

/// Orders that were given up.
async fn expired(campaign: &Campaign) -> BTreeSet<String> {
    let found = events(campaign, Log::Dispatcher).await.into_iter().filter_map(|event| match event {
        Event::Dispatcher(DispatcherEvent::WorkOrderExpired(event)) => Some(event.order),
        _ => None,
    });
    found.collect()
}

/// F07, S2-G8b, I3, I8: a worker stands still past its lease, another finishes its orders, and it goes on: what
/// it still says and pushes changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn f07_s2_g8b_a_worker_that_comes_back_from_the_dead_changes_nothing() {
    let cluster = Cluster::start_with(Campaign::options()).await;
    let mut campaign = Campaign::on("F07", cluster).await;
    let mut zombies = vec!["worker-1".to_owned(), "worker-2".to_owned()];
    campaign.dice.shuffle(&mut zombies);
    for zombie in zombies {
        let before = claimed(&campaign, &zombie).await;
        for number in 0..6 {
            let number = campaign.submitted.len() * 10 + number;
            let plan = Plan::file(format!("notes/{number}.txt"), "slow").command("sleep 2");
            campaign.hand_in(1 + number % 3, Work::Plain, &plan).await;
        }
        eventually("it has taken an order", BOUND, async || {
            claimed(&campaign, &zombie).await.difference(&before).next().is_some()
        })
        .await;
        campaign.cluster.pause(&zombie);
        campaign.injected("zombie");
        // An order that it held is given up, and somebody else carries the tasks to their end.
        let held = claimed(&campaign, &zombie).await;
        eventually("its order is given up", BOUND, async || {
            expired(&campaign).await.intersection(&held).next().is_some()
        })
        .await;
        campaign.all_ended(BOUND).await;
        campaign.cluster.resume(&zombie);
    }
    let evidence = campaign.reckon(BOUND).await;
    let given_up =
        evidence.events(Log::Dispatcher).filter(|(_, event)| event.name() == "WorkOrderExpired").count();
    assert!(given_up >= 2, "each of the two held an order that was given up: {given_up}");
}
