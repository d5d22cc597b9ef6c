//! Campaigns: many tasks under faults from a seed, and every invariant checked from the outside at the end.
//! `SEED=… cargo test -p millrace-e2e --test all <name> -- --nocapture` draws the same tasks and the same
//! faults again. Each prints a line of figures.

mod broker;
mod crash_points;
mod kills;
mod ledger;
mod network;
mod newer;
mod poison;
mod stalled;
mod zombies;

use std::time::Duration;

use millrace_events::{Envelope, Event, Log};
use millrace_runtime::broker::Broker as _;
use millrace_runtime::permissions::Identity;

use millrace_e2e::Campaign;

/// How long what was disturbed may take to come to rest.
const BOUND: Duration = Duration::from_secs(150);

/// The events of a log that this version knows.
async fn events(campaign: &Campaign, log: Log) -> Vec<Event> {
    let auditor = campaign.cluster.connect(Identity::Auditor).await;
    let stored = auditor.read(&log.stream(0), None, 1, 100_000).await.unwrap_or_default();
    let read = |payload: &[u8]| Envelope::decode(payload).ok()?.event().ok().flatten();
    stored.iter().filter_map(|stored| read(&stored.payload)).collect()
}
