//! Every event of a task, one line each.

use millrace_rpc::v1::HistoryEvent;

use super::{describe, duration};
use crate::output::printable;
use crate::text;

/// Each event with its time, how long after the one before it stands, its log, and what happened.
pub(crate) fn timeline(events: &[HistoryEvent]) -> Vec<String> {
    let mut before: Option<&HistoryEvent> = None;
    events
        .iter()
        .map(|event| {
            let after = before
                .and_then(|before| text::millis_between(before.time.as_ref(), event.time.as_ref()))
                .map(|millis| format!("+{}", duration(millis)))
                .unwrap_or_default();
            before = Some(event);
            let mark = match event.mark.as_str() {
                "" => String::new(),
                mark => format!(" [{mark}: {}]", event.note),
            };
            let time = text::time(event.time.as_ref());
            printable(&format!("{time}  {after:>10}  {:<16}  {}{mark}", event.log, describe(event)))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_events::v1;

    use super::*;
    use crate::story::describe::tests::sent;

    #[test]
    fn each_line_says_how_long_after_the_one_before() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let scheduled = HistoryEvent { time: at(100), ..sent(v1::TaskScheduled::default()) };
        let paused = v1::TaskPaused { actor: "ada".to_owned(), ..Default::default() };
        let paused = HistoryEvent { time: at(175), mark: "STATE_MISMATCH".to_owned(), ..sent(paused) };
        let lines = timeline(&[scheduled, paused]);
        assert!(lines[0].contains("scheduled") && !lines[0].contains('+'), "{lines:?}");
        assert!(
            lines[1].contains("+1 min 15 s  dispatcher        paused by ada [STATE_MISMATCH"),
            "{lines:?}"
        );
    }
}
