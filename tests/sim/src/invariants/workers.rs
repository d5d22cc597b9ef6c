//! I8: nothing that was said under a stale fencing token counts.

use std::collections::BTreeMap;

use millrace_events::{Event, Log, WorkerEvent};

use crate::evidence::Evidence;

/// I8: an order is claimed at most once.
pub fn no_order_is_claimed_twice(evidence: &Evidence) -> Result<(), String> {
    let mut claims: BTreeMap<String, u64> = BTreeMap::new();
    for logged in evidence.events(Log::Worker) {
        if let Event::Worker(WorkerEvent::WorkOrderAcknowledged(event)) = &logged.event
            && let Some(first) = claims.insert(event.order.clone(), logged.sequence)
        {
            return Err(format!("{} was claimed at {first} and again at {}", event.order, logged.sequence));
        }
    }
    Ok(())
}

/// I8: an order ends at most once, under the token of its claim.
pub fn claims_and_ends_are_fenced(evidence: &Evidence) -> Result<(), String> {
    let mut claims: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for logged in evidence.events(Log::Worker) {
        let Event::Worker(event) = &logged.event else { continue };
        let (order, token, worker) = match event {
            WorkerEvent::WorkOrderAcknowledged(event) => {
                claims.entry(event.order.clone()).or_insert((logged.sequence, event.worker.clone()));
                continue;
            }
            WorkerEvent::ExecutionCompleted(event) => (&event.order, event.fencing_token, &event.worker),
            WorkerEvent::ExecutionFailed(event) => (&event.order, event.fencing_token, &event.worker),
            WorkerEvent::ExecutionSuspended(event) => (&event.order, event.fencing_token, &event.worker),
            WorkerEvent::ChecksCompleted(event) => (&event.order, event.fencing_token, &event.worker),
            _ => continue,
        };
        let Some((claimed, by)) = claims.get(order) else {
            return Err(format!("{order} ended at {} and was never claimed", logged.sequence));
        };
        if *claimed != token || by != worker {
            return Err(format!(
                "{order} ended at {} under token {token} of {worker}; it was claimed at {claimed} by {by}",
                logged.sequence
            ));
        }
        if let Some(first) = ends.insert(order.clone(), logged.sequence) {
            return Err(format!("{order} ended at {first} and again at {}", logged.sequence));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::invariants::test_kit::{History, claimed, finished};

    #[test]
    fn a_second_claim_is_found() {
        let once = History::new().event("VTID-01001", claimed("o", "a"));
        assert_eq!(no_order_is_claimed_twice(&once.clone().evidence()), Ok(()));
        let twice = once.event("VTID-01001", claimed("o", "b")).evidence();
        assert!(no_order_is_claimed_twice(&twice).unwrap_err().contains("again at 2"));
    }

    #[test]
    fn an_end_under_another_token_and_a_second_end_are_found() {
        let claim = || History::new().event("VTID-01001", claimed("o", "a"));
        let good = claim().event("VTID-01001", finished("o", "a", 1));
        assert_eq!(claims_and_ends_are_fenced(&good.clone().evidence()), Ok(()));
        let stale = claim().event("VTID-01001", finished("o", "a", 9)).evidence();
        assert!(claims_and_ends_are_fenced(&stale).unwrap_err().contains("under token 9"));
        let other = claim().event("VTID-01001", finished("o", "b", 1)).evidence();
        assert!(claims_and_ends_are_fenced(&other).is_err());
        let twice = good.event("VTID-01001", finished("o", "a", 1)).evidence();
        assert!(claims_and_ends_are_fenced(&twice).unwrap_err().contains("again at 3"));
    }
}
