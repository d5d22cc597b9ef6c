//! Alarms of logs, as the projector raises them: while one stands, nothing is put on offer. Pure.

use std::collections::BTreeMap;

use millrace_events::ProjectorEvent;
use millrace_events::v1::Failure;

/// What the projector said last of each log.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    logs: BTreeMap<String, Said>,
}

#[derive(Debug)]
struct Said {
    /// Where it stands in the projector's log.
    sequence: u64,
    /// The alarm; `None`: all is well again.
    alarm: Option<String>,
}

/// What an event says of a log: an alarm, or that it is well again. `None`: nothing.
pub(crate) fn said(event: &ProjectorEvent) -> Option<Option<String>> {
    let sentence = |failure: Option<&Failure>, otherwise: String| {
        failure.map(|failure| failure.message.clone()).filter(|text| !text.is_empty()).unwrap_or(otherwise)
    };
    match event {
        ProjectorEvent::LedgerRegressed(event) => {
            let otherwise = format!("the log {} has lost events", event.log);
            Some(Some(sentence(event.failure.as_ref(), otherwise)))
        }
        ProjectorEvent::LogDiffers(event) => {
            let otherwise = format!("the log {} is not as it was declared", event.log);
            Some(Some(sentence(event.failure.as_ref(), otherwise)))
        }
        ProjectorEvent::LogRecovered(_) => Some(None),
        ProjectorEvent::LedgerRebuilt(_)
        | ProjectorEvent::ChainHeadSigned(_)
        | ProjectorEvent::OverdueNoticed(_) => None,
    }
}

impl Alarms {
    /// Takes note; what is older than what is known counts for nothing. Whether anything changed.
    pub(crate) fn hear(&mut self, log: &str, sequence: u64, alarm: Option<String>) -> bool {
        let known = self.logs.get(log);
        if known.is_some_and(|known| known.sequence >= sequence) {
            return false;
        }
        let changed = known.and_then(|known| known.alarm.as_ref()) != alarm.as_ref();
        self.logs.insert(log.to_owned(), Said { sequence, alarm });
        changed
    }

    /// Why nothing is put on offer.
    pub(crate) fn standing(&self) -> Option<&str> {
        self.logs.values().find_map(|said| said.alarm.as_deref())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_events::v1::{LedgerRegressed, LogRecovered};

    use super::*;

    #[test]
    fn an_alarm_stands_until_the_log_is_well_again_and_old_news_change_nothing() {
        let mut alarms = Alarms::default();
        let regressed = LedgerRegressed { log: "worker".to_owned(), ..Default::default() };
        let alarm = said(&ProjectorEvent::from(regressed)).unwrap();
        assert!(alarms.hear("worker", 3, alarm.clone()));
        assert_eq!(alarms.standing(), Some("the log worker has lost events"));
        assert!(alarms.hear("intake", 4, Some("b".to_owned())) && !alarms.hear("worker", 3, None));
        let well = said(&ProjectorEvent::from(LogRecovered::default())).unwrap();
        assert!(alarms.hear("intake", 6, well) && alarms.standing().is_some());
        assert!(alarms.hear("worker", 7, None) && alarms.standing().is_none());
        assert!(!alarms.hear("worker", 5, alarm));
        assert!(alarms.standing().is_none());
    }
}
