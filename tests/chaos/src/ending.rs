//! What must hold once everything has healed.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_e2e::invariants::{Evidence, Violation, check};
use millrace_e2e::monitor::{self, Lag};
use millrace_e2e::{Cluster, millrace};
use millrace_events::Log;
use millrace_ledger::Ledger;
use millrace_testkit::eventually;

use crate::{Events, Journal};

/// How everything ended.
#[derive(Debug)]
pub struct Ending {
    /// Terminal events by name.
    pub ends: BTreeMap<String, usize>,
    /// Why runs failed, but for specs that were refused.
    pub failures: Vec<String>,
    /// Messages in all logs.
    pub messages: usize,
}

/// Waits until every acknowledged submission is answered and `tasks` runs have ended, then checks from the
/// outside: nothing acknowledged is lost, every submission is answered once, and the invariants of the
/// campaigns (`millrace_e2e::invariants`) hold.
pub async fn check_ending(cluster: &Cluster, journal: &Journal, tasks: usize, within: Duration) -> Ending {
    check_ending_but(cluster, journal, tasks, within, |_| false).await
}

/// The same, but for violations that are `known` and belong to the fault.
pub async fn check_ending_but(
    cluster: &Cluster,
    journal: &Journal,
    tasks: usize,
    within: Duration,
    known: impl Fn(&Violation) -> bool,
) -> Ending {
    let auditor = cluster.auditor().await;
    let submissions = journal.acknowledged();
    eventually("every submission is answered", within, async || {
        let answers = Events::of(&*auditor, Log::SpecRegistry).await.answers;
        submissions.iter().all(|sent| answers.contains_key(sent.key.as_str()))
    })
    .await;
    let ended = async {
        while Events::of(&*auditor, Log::Dispatcher).await.ends.len() < tasks {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    if tokio::time::timeout(within, ended).await.is_err() {
        let unfinished = Events::of(&*auditor, Log::Dispatcher).await.unfinished();
        let explained = cluster.explain(unfinished.first().map_or("", String::as_str)).await;
        panic!(
            "not all of {tasks} runs have ended within {within:?}; under way: {unfinished:?}\n{explained}"
        );
    }
    at_rest(cluster, within).await;

    assert_eq!(journal.lost(&*auditor).await.len(), 0, "acknowledged submissions are lost");
    let answers = Events::of(&*auditor, Log::SpecRegistry).await.answers;
    let twice: Vec<_> = answers.iter().filter(|(_, found)| found.len() != 1).collect();
    assert!(twice.is_empty(), "submissions that are not answered once: {twice:?}");
    let dispatched = Events::of(&*auditor, Log::Dispatcher).await;
    assert_eq!(dispatched.ends.len(), tasks, "runs that ended");

    let evidence = Evidence::collect(cluster).await;
    let violations = check(&evidence).into_iter().filter(|violation| !known(violation));
    let violations: Vec<String> = violations.map(|violation| violation.to_string()).collect();
    assert!(violations.is_empty(), "{} invariants are broken:\n{}", violations.len(), violations.join("\n"));
    let (code, said) = verify(cluster);
    assert_eq!(code, Some(0), "{said}");

    let is_no_spec = |failure: &String| failure.contains(" SPEC_");
    let failures = dispatched.failures.into_iter().filter(|failure| !is_no_spec(failure)).collect();
    let mut ends = BTreeMap::new();
    for end in dispatched.ends.into_values().flatten() {
        *ends.entry(end).or_default() += 1;
    }
    Ending { ends, failures, messages: evidence.messages() }
}

/// Waits until no consumer of any stream has anything left, and the ledger has applied every message.
pub async fn at_rest(cluster: &Cluster, within: Duration) {
    eventually("no consumer has anything left", within, async || {
        let all = cluster.nats.monitor().and_then(monitor::consumers);
        all.is_some_and(|all| all.iter().all(Lag::is_zero))
    })
    .await;
    caught_up(cluster, within).await;
}

/// Waits until the ledger has applied every message of every log.
async fn caught_up(cluster: &Cluster, within: Duration) {
    let auditor = cluster.auditor().await;
    let ledger = Ledger::open(&cluster.database_url()).await.unwrap();
    eventually("the ledger has caught up", within, async || {
        let Ok(applied) = ledger.applied().await else { return false };
        for log in Log::ALL {
            let Ok(state) = auditor.stream_state(&log.stream(0)).await else { return false };
            if applied.get(&log.stream(0)).copied().unwrap_or(0) < state.last {
                return false;
            }
        }
        true
    })
    .await;
    ledger.close().await;
}

/// `millrace ledger verify` against the streams: its exit code and what it said.
#[must_use]
pub fn verify(cluster: &Cluster) -> (Option<i32>, String) {
    let (database, seed) = (cluster.database_url(), cluster.seed_file("auditor"));
    let (nats, seed) = (cluster.nats.client_url(), seed.display().to_string());
    let arguments =
        ["ledger", "verify", "--database-url", &database, "--nats-url", &nats, "--seed-file", &seed];
    let output = millrace(&cluster.path(""), &arguments);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}
