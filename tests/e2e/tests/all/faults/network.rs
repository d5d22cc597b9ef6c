//! The line between a service and NATS.

use std::time::Duration;

use millrace_e2e::{Campaign, Cluster, Fault, Storm};

use super::BOUND;

/// F08, I1 to I8: lines are slow, lose what is said or answered, fall silent, break. An append whose answer is
/// lost stands in the log; who wrote it finds it there when it decides again.
#[tokio::test(flavor = "multi_thread")]
async fn f08_lines_lose_answers_and_requests_and_break() {
    let cluster = Cluster::prepare(Campaign::options()).await;
    let mut campaign = Campaign::on("F08", cluster).await;
    campaign.with_lines().await;
    campaign.cluster.start_all().await;
    let submitting = campaign.submit(20).await;
    campaign.push(10);
    let storm = Storm {
        faults: vec![Fault::Line],
        shortest_pause: Duration::from_millis(100),
        longest_pause: Duration::from_millis(800),
        at_least: 10,
        at_most: 25,
    };
    campaign.storm(&storm).await;
    submitting.await.unwrap();
    campaign.reckon(BOUND).await;
}
