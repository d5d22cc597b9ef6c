//! Services are killed.

use std::time::Duration;

use millrace_e2e::{Campaign, Cluster, Fault, Storm};

use super::BOUND;

/// F01, I1 to I8, S4-IMP-04: a service dies every 0.5 to 3 s while tasks run; nothing is lost, nothing happens
/// twice.
#[tokio::test(flavor = "multi_thread")]
async fn f01_services_are_killed_all_the_time() {
    let cluster = Cluster::start_with(Campaign::options()).await;
    let mut campaign = Campaign::on("F01", cluster).await;
    let submitting = campaign.submit(40).await;
    campaign.push(30);
    let storm = Storm {
        faults: vec![Fault::KillService],
        shortest_pause: Duration::from_millis(500),
        longest_pause: Duration::from_secs(3),
        at_least: 12,
        at_most: 60,
    };
    campaign.storm(&storm).await;
    submitting.await.unwrap();
    campaign.reckon(BOUND).await;
}

/// F28, I1 to I8: everything dies at once and is started in any order.
#[tokio::test(flavor = "multi_thread")]
async fn f28_everything_is_killed_at_once_and_started_in_any_order() {
    let cluster = Cluster::start_with(Campaign::options()).await;
    let mut campaign = Campaign::on("F28", cluster).await;
    let submitting = campaign.submit(16).await;
    campaign.push(10);
    let storm = Storm {
        faults: vec![Fault::KillEverything],
        shortest_pause: Duration::from_secs(2),
        longest_pause: Duration::from_secs(5),
        at_least: 3,
        at_most: 5,
    };
    campaign.storm(&storm).await;
    submitting.await.unwrap();
    campaign.reckon(BOUND).await;
}
