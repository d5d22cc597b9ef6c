//! The nats-server is killed or stands still.

use std::time::Duration;

use millrace_e2e::{Campaign, Cluster, Fault, Producer, Storm};
use millrace_events::Log;
use millrace_runtime::bootstrap::{Declared, OnDifference, bootstrap};
use millrace_runtime::permissions::Identity;

use super::BOUND;

/// F03, I1 to I8: the broker is killed again and again.
#[tokio::test(flavor = "multi_thread")]
async fn f03_the_broker_is_killed_again_and_again() {
    let cluster = Cluster::start_with(Campaign::options()).await;
    let mut campaign = Campaign::on("F03", cluster).await;
    let submitting = campaign.submit(20).await;
    campaign.push(20);
    let storm = Storm {
        faults: vec![Fault::KillBroker],
        shortest_pause: Duration::from_secs(2),
        longest_pause: Duration::from_secs(2),
        at_least: 6,
        at_most: 12,
    };
    campaign.storm(&storm).await;
    submitting.await.unwrap();
    campaign.reckon(BOUND).await;
}

/// F05, I1 to I8: the broker stands still with its connections open. What is published meanwhile is stored
/// when it goes on, and nobody was told.
#[tokio::test(flavor = "multi_thread")]
async fn f05_the_broker_stands_still() {
    let cluster = Cluster::start_with(Campaign::options()).await;
    let mut campaign = Campaign::on("F05", cluster).await;
    let submitting = campaign.submit(16).await;
    campaign.push(8);
    let storm = Storm {
        faults: vec![Fault::FreezeBroker(Duration::from_secs(5), Duration::from_secs(8))],
        shortest_pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(3),
        at_least: 2,
        at_most: 3,
    };
    campaign.storm(&storm).await;
    submitting.await.unwrap();
    campaign.reckon(BOUND).await;
}

/// F06, I1, I2, S3-4.3b: a producer sends again what nobody answered, later than the broker remembers message
/// ids. Only the key that follows from the bytes, and the expected sequence, make it one.
#[tokio::test(flavor = "multi_thread")]
async fn f06_a_producer_sends_again_after_the_window_of_message_ids() {
    const WINDOW: Duration = Duration::from_secs(2);
    let cluster = Cluster::prepare(Campaign::options()).await;
    let admin = cluster.connect(Identity::Bootstrap).await;
    let declared = Declared::of(&Cluster::installation());
    let mut short = declared.clone();
    let of_intake = |name: &str| name == Log::Intake.stream(0);
    short.streams.iter_mut().filter(|stream| of_intake(&stream.name)).for_each(|stream| {
        stream.duplicate_window = WINDOW;
    });
    bootstrap(&admin, &short, OnDifference::Update).await.unwrap();
    let mut campaign = Campaign::on("F06", cluster).await;
    let broker = campaign.cluster.connect(Identity::Producer).await;
    let mut producer = Producer::new("late", broker, campaign.journal.clone());
    producer.pause = WINDOW + Duration::from_secs(1);
    let submitting = campaign.submit_through(producer, 12);
    for _ in 0..3 {
        // An answer takes 2 s at most: within these the producer gives up on what is stored all the same.
        campaign.inject(Fault::FreezeBroker(Duration::from_secs(4), Duration::from_secs(4))).await;
    }
    submitting.await.unwrap();
    let journal = campaign.journal.entries();
    assert!(journal.iter().any(|entry| entry.kind == millrace_e2e::Kind::Info), "nothing was sent twice");
    // The services are given the window that they ask for.
    bootstrap(&admin, &declared, OnDifference::Update).await.unwrap();
    campaign.cluster.start_all().await;
    campaign.reckon(BOUND).await;
}
