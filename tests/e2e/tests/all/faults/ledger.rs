//! The projector dies between what it writes and what it says.

use millrace_e2e::{Campaign, Cluster};
use millrace_testkit::eventually;

use super::BOUND;

/// F17, I4, I5: the projector dies again and again between the transaction and the acknowledgements. What is
/// delivered again stands in the ledger already; checkpoint and rows came in one transaction.
#[tokio::test(flavor = "multi_thread")]
async fn f17_the_projector_dies_between_its_transaction_and_its_acknowledgements() {
    let cluster = Cluster::start_with(Campaign::options()).await;
    let mut campaign = Campaign::on("F17", cluster).await;
    campaign.push(12);
    for _ in 0..6 {
        let point = format!("projector.committed:{}", 1 + campaign.dice.below(3));
        campaign.cluster.kill("projector");
        campaign.cluster.start_process_with("projector", &[("MILLRACE_CRASH_POINT", &point)]);
        // More to apply, whatever was applied already.
        campaign.submit(1).await.await.unwrap();
        eventually("the projector has died", BOUND, async || !campaign.cluster.is_up("projector")).await;
        campaign.injected("crash-point");
        campaign.cluster.kill("projector");
        campaign.cluster.start_process("projector");
    }
    let evidence = campaign.reckon(BOUND).await;
    assert!(evidence.ledger.live.lines().count() > 100);
}
