//! The ledger from outside of the projector.

use std::time::Duration;

use millrace_ledger::Ledger;
use millrace_projector::adapters::BrokerReader;
use millrace_testkit::eventually;

use super::Cluster;

impl Cluster {
    /// Waits until the ledger has applied every message of every log.
    pub async fn quiet(&self) {
        let bound = Duration::from_secs(30);
        eventually("the ledger has caught up", bound, async || self.has_caught_up().await).await;
    }

    /// Whether the ledger has applied every message of every log.
    pub async fn has_caught_up(&self) -> bool {
        let auditor = self.auditor().await;
        let ledger = Ledger::open(&self.database_url()).await.unwrap();
        let applied = ledger.applied().await.unwrap();
        ledger.close().await;
        for log in millrace_events::Log::ALL {
            let last = auditor.stream_state(&log.stream(0)).await.unwrap().last;
            if applied.get(&log.stream(0)).copied().unwrap_or(0) < last {
                return false;
            }
        }
        true
    }

    /// A fresh ledger at `url`, from the streams alone.
    pub async fn rebuild_into(&self, url: &str) -> Ledger {
        let rebuilt = Ledger::open(url).await.unwrap();
        let reader = BrokerReader::new(self.auditor().await);
        let streams: Vec<String> = millrace_events::Log::ALL.iter().map(|log| log.stream(0)).collect();
        millrace_ledger::rebuild(&rebuilt, &reader, &streams, None).await.unwrap();
        rebuilt
    }

    /// The canonical form of a ledger.
    pub async fn export(&self, ledger: &Ledger) -> String {
        let mut bytes = Vec::new();
        ledger.export(&mut bytes).await.unwrap().unwrap();
        String::from_utf8(bytes).unwrap()
    }
}
