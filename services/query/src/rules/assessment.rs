//! Whether the system is healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_decider::Timestamp;
use millrace_events::{Log, Service, from_wire_time};
use millrace_rpc::v1;

/// A ledger that is further behind than this on one log is a problem, in messages.
const MAX_LAG: u64 = 1_000;
/// How long a message that could not be handled is a problem; afterwards it is history.
const LETTER_IS_RECENT: Duration = Duration::from_secs(24 * 3600);

/// How many of these messages could not be handled lately.
pub(crate) fn recent_letters(letters: &[v1::DeadLetter], now: Timestamp) -> usize {
    let is_recent =
        |letter: &&v1::DeadLetter| now.since(from_wire_time(letter.time.as_ref())) <= LETTER_IS_RECENT;
    letters.iter().filter(is_recent).count()
}

/// Puts together what is known and says what is wrong.
pub(crate) fn assess(
    services: Vec<v1::ServiceHealth>,
    tasks: BTreeMap<String, u64>,
    heads: &BTreeMap<String, (Log, u64)>,
    applied: &BTreeMap<String, u64>,
    recent_letters: usize,
    alarms: Vec<v1::LogAlarm>,
) -> v1::GetSystemHealthResponse {
    let logs: Vec<v1::LogLag> = heads
        .iter()
        .map(|(stream, (log, last))| {
            let applied = applied.get(stream).copied().unwrap_or(0);
            v1::LogLag {
                log: log.name().to_owned(),
                stream: stream.clone(),
                last_sequence: *last,
                applied_sequence: applied,
                lag: last.saturating_sub(applied),
            }
        })
        .collect();
    let mut problems = missing_services(&services);
    problems.extend(alarms.iter().map(alarm_problem));
    let is_said = |log: &&v1::LogLag| alarms.iter().any(|alarm| alarm.log == log.log);
    problems.extend(logs.iter().filter(|log| !is_said(log)).filter_map(log_problem));
    if recent_letters > 0 {
        problems.push(format!(
            "{recent_letters} dead letters in the last 24 hours: `millrace dead-letter list` says why"
        ));
    }
    v1::GetSystemHealthResponse {
        healthy: problems.is_empty(),
        problems,
        failure_rate: failure_rate(&tasks),
        services,
        tasks,
        logs,
        alarms,
    }
}

/// Services without a ready process, each with the reason of one that is there.
fn missing_services(services: &[v1::ServiceHealth]) -> Vec<String> {
    let ready: BTreeSet<&str> = services.iter().filter(|s| s.ready).map(|s| s.service.as_str()).collect();
    Service::ALL
        .into_iter()
        // This answer is the proof that a query service is there.
        .filter(|service| *service != Service::Query && !ready.contains(service.name()))
        .map(|service| {
            let name = service.name();
            match services.iter().find(|process| process.service == name) {
                Some(process) => format!("{name} is not ready: {}", process.detail),
                None => format!("{name} sends no heartbeat: it does not run, or cannot reach NATS"),
            }
        })
        .collect()
}

fn log_problem(log: &v1::LogLag) -> Option<String> {
    if log.applied_sequence > log.last_sequence {
        return Some(format!(
            "{} has lost events: the ledger knows {}, the stream ends at {}: `millrace ledger reseed --dry-run` says what is missing",
            log.stream, log.applied_sequence, log.last_sequence
        ));
    }
    (log.lag > MAX_LAG).then(|| format!("the ledger is {} events behind on {}", log.lag, log.stream))
}

fn alarm_problem(alarm: &v1::LogAlarm) -> String {
    let failure = alarm.failure.clone().unwrap_or_default();
    format!("{}: {}; no work is dispatched. {}", alarm.log, failure.message, failure.advice)
}

fn failure_rate(tasks: &BTreeMap<String, u64>) -> f64 {
    let count = |status: &str| tasks.get(status).copied().unwrap_or(0);
    let (failed, complete) = (count("failed"), count("complete"));
    if failed + complete == 0 {
        return 0.0;
    }
    // Counts of tasks are far below 2^53.
    failed as f64 / (failed + complete) as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn everybody() -> Vec<v1::ServiceHealth> {
        Service::ALL
            .into_iter()
            .map(|service| v1::ServiceHealth {
                service: service.name().to_owned(),
                ready: true,
                ..v1::ServiceHealth::default()
            })
            .collect()
    }

    fn heads(last: u64) -> BTreeMap<String, (Log, u64)> {
        BTreeMap::from([(Log::Worker.stream(0), (Log::Worker, last))])
    }

    fn applied(sequence: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([(Log::Worker.stream(0), sequence)])
    }

    #[test]
    fn all_services_ready_and_a_ledger_that_keeps_up_is_healthy() {
        let tasks = BTreeMap::from([("complete".to_owned(), 3), ("failed".to_owned(), 1)]);
        let health = assess(everybody(), tasks, &heads(10), &applied(8), 0, Vec::new());
        assert!(health.healthy, "{:?}", health.problems);
        assert_eq!(health.logs[0].lag, 2);
        assert!((health.failure_rate - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_silent_service_is_named() {
        let mut services = everybody();
        services.retain(|service| service.service != "worker");
        let health = assess(services, BTreeMap::new(), &heads(0), &applied(0), 0, Vec::new());
        assert!(!health.healthy);
        assert!(health.problems[0].starts_with("worker sends no heartbeat"), "{:?}", health.problems);
    }

    #[test]
    fn a_ledger_ahead_of_its_stream_is_a_loss_not_a_lag() {
        let health = assess(everybody(), BTreeMap::new(), &heads(5), &applied(9), 0, Vec::new());
        assert!(health.problems[0].contains("lost events"), "{:?}", health.problems);
    }

    #[test]
    fn an_alarm_about_a_log_is_a_problem_and_is_said_once() {
        let failure = v1::Failure { message: "it ends at 5".to_owned(), ..v1::Failure::default() };
        let log = "worker".to_owned();
        let alarm = v1::LogAlarm { log, failure: Some(failure), ..v1::LogAlarm::default() };
        let health = assess(everybody(), BTreeMap::new(), &heads(5), &applied(9), 0, vec![alarm]);
        assert_eq!((health.healthy, health.alarms.len()), (false, 1));
        let [problem] = health.problems.as_slice() else { panic!("{:?}", health.problems) };
        assert!(problem.starts_with("worker: it ends at 5; no work is dispatched"), "{problem}");
    }

    #[test]
    fn what_could_not_be_handled_is_a_problem_for_a_day() {
        let health = assess(everybody(), BTreeMap::new(), &heads(0), &applied(0), 2, Vec::new());
        assert!(health.problems[0].starts_with("2 dead letters"), "{:?}", health.problems);
        let letter = v1::DeadLetter {
            time: Some(millrace_events::wire_time(Timestamp::from_millis(1_000))),
            ..v1::DeadLetter::default()
        };
        let after = |hours: i64| Timestamp::from_millis(1_000 + hours * 3_600_000);
        assert_eq!(recent_letters(std::slice::from_ref(&letter), after(23)), 1);
        assert_eq!(recent_letters(&[letter], after(25)), 0);
    }
}
