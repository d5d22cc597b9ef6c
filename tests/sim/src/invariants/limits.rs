//! What is put on offer: never more than a limit allows, and nothing while a log is under an alarm.

use std::collections::BTreeMap;

use millrace_decider::Timestamp;
use millrace_events::v1::WorkOrder;
use millrace_events::{DispatcherEvent, Event, Log, ProjectorEvent};

use crate::evidence::Evidence;
use crate::run::HEARD;

/// S4-SP5: from its first offer to its end a run counts for its repository and its domain, and no more than the
/// limit count at a time.
pub fn no_limit_is_exceeded(evidence: &Evidence) -> Result<(), String> {
    let dispatch = &evidence.dispatch;
    let mut under_way: BTreeMap<String, WorkOrder> = BTreeMap::new();
    for logged in evidence.events(Log::Dispatcher) {
        let Event::Dispatcher(event) = &logged.event else { continue };
        if ends(event) {
            under_way.remove(logged.key.as_str());
        }
        let Some(order) = offered(event) else { continue };
        under_way.insert(logged.key.to_string(), order.clone());
        let repository = |order: &WorkOrder| order.task.clone().unwrap_or_default().repository;
        for (what, limits, of) in [
            ("repository", &dispatch.repositories, &repository as &dyn Fn(&WorkOrder) -> String),
            ("domain", &dispatch.domains, &|order: &WorkOrder| order.domain.trim().to_lowercase()),
        ] {
            let name = of(order);
            let Some(limit) = limits.get(&name) else { continue };
            let of_it: Vec<&String> =
                under_way.iter().filter(|(_, order)| of(order) == name).map(|(task, _)| task).collect();
            if of_it.len() > usize::try_from(*limit).unwrap_or(usize::MAX) {
                return Err(format!(
                    "{what} {name} has {of_it:?} under way at {}, and a limit of {limit}",
                    logged.sequence
                ));
            }
        }
    }
    Ok(())
}

/// S4-FUND-01: once all dispatchers have heard of an alarm nothing is put on offer until it is lifted. Looked at
/// only where nothing holds up a dispatcher: one that stands still hears of nothing.
pub fn nothing_is_offered_under_an_alarm(evidence: &Evidence) -> Result<(), String> {
    let Some(well_since) = evidence.well_since else { return Ok(()) };
    let mut standing: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut alarms: Vec<(Timestamp, Timestamp)> = Vec::new();
    for logged in evidence.events(Log::Projector) {
        match &logged.event {
            Event::Projector(ProjectorEvent::LedgerRegressed(event)) => {
                standing.entry(event.log.clone()).or_insert(logged.stored.time);
            }
            Event::Projector(ProjectorEvent::LogRecovered(event)) => {
                if let Some(raised) = standing.remove(&event.log) {
                    alarms.push((raised.max(well_since) + HEARD, logged.stored.time));
                }
            }
            _ => {}
        }
    }
    for logged in evidence.events(Log::Dispatcher) {
        let Event::Dispatcher(event) = &logged.event else { continue };
        let at = logged.stored.time;
        let alarm = alarms.iter().find(|(heard, lifted)| *heard <= at && at < *lifted);
        if let (Some(_), Some((heard, lifted))) = (offered(event), alarm) {
            return Err(format!(
                "{} was put on offer by {} at {at}, under an alarm known by {heard} and lifted at {lifted}",
                logged.key, logged.sequence
            ));
        }
    }
    Ok(())
}

fn offered(event: &DispatcherEvent) -> Option<&WorkOrder> {
    match event {
        DispatcherEvent::TaskScheduled(event) => event.order.as_ref(),
        DispatcherEvent::WorkOrderIssued(event) => event.order.as_ref(),
        _ => None,
    }
}

fn ends(event: &DispatcherEvent) -> bool {
    matches!(
        event,
        DispatcherEvent::TaskCompleted(_)
            | DispatcherEvent::TaskFailed(_)
            | DispatcherEvent::TaskCancelled(_)
            | DispatcherEvent::TaskBlocked(_)
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use millrace_events::v1::{LedgerRegressed, LogRecovered};

    use super::*;
    use crate::invariants::test_kit::{History, cancelled, issued_in, scheduled};

    #[test]
    fn one_run_too_many_is_found() {
        let limited = |history: History, repositories: u32, domains: u32| {
            let mut evidence = history.evidence();
            evidence.dispatch.repositories = BTreeMap::from([("repo-0".to_owned(), repositories)]);
            evidence.dispatch.domains = BTreeMap::from([("shop".to_owned(), domains)]);
            evidence
        };
        let one = History::new().event("VTID-01001", issued_in("Shop"));
        let two = one.clone().event("VTID-01002", issued_in("shop "));
        assert_eq!(no_limit_is_exceeded(&limited(two.clone(), 2, 2)), Ok(()));
        assert!(no_limit_is_exceeded(&limited(two.clone(), 1, 2)).unwrap_err().contains("repository"));
        assert!(no_limit_is_exceeded(&limited(two, 2, 1)).unwrap_err().contains("domain shop"));
        let after = one.event("VTID-01001", cancelled(1)).event("VTID-01002", issued_in("shop"));
        assert_eq!(no_limit_is_exceeded(&limited(after, 1, 1)), Ok(()));
    }

    #[test]
    fn an_offer_under_an_alarm_is_found() {
        let log = || "worker".to_owned();
        let under = |offered: bool| {
            let mut history =
                History::new().event("worker", LedgerRegressed { log: log(), ..Default::default() });
            if offered {
                history = history.event("VTID-01001", scheduled(1));
            }
            let mut evidence =
                history.event("worker", LogRecovered { log: log(), ..Default::default() }).evidence();
            // The kit's times are milliseconds: the offer comes late, the recovery later.
            for (stream, by) in [(Log::Dispatcher, 2 * HEARD), (Log::Projector, 3 * HEARD)] {
                for stored in evidence.streams.get_mut(&stream.stream(0)).unwrap() {
                    if stored.sequence > 1 || stream == Log::Dispatcher {
                        stored.time = stored.time + by;
                    }
                }
            }
            evidence.well_since = Some(Timestamp::from_millis(0) + Duration::from_millis(1));
            evidence
        };
        assert_eq!(nothing_is_offered_under_an_alarm(&under(false)), Ok(()));
        assert!(nothing_is_offered_under_an_alarm(&under(true)).unwrap_err().contains("VTID-01001"));
    }
}
