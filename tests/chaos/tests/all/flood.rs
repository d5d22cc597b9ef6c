//! Back-pressure: specs are handed in as fast as the broker takes them while no worker runs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_chaos::{Events, Journal, Report, Scripted, Sender, Spec, at_rest, peak_mib, verify};
use millrace_e2e::{Cluster, Options};
use millrace_events::Log;
use millrace_runtime::broker::Broker;
use millrace_runtime::permissions::Identity;
use millrace_testkit::eventually;

/// Services as they are built; worker, validator and deployer have scripted surroundings.
const REAL: [&str; 5] = ["spec-registry", "dispatcher", "failure-analyzer", "projector", "query"];
/// Most memory that a process may have had resident, in MiB. The bound is in docs/testing.md; this is it with
/// room for the allocator.
const CEILING_MIB: u64 = 512;
/// Repositories, each with a target: releases of one target follow one another.
const REPOSITORIES: usize = 64;

/// 50,000 specs (`FLOOD_TASKS`) with the workers stopped: memory stays bounded, nothing is lost, and once
/// there are workers everything finishes, once.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes many minutes: make chaos"]
async fn a_flood_of_specs_is_taken_in_and_worked_off() {
    let tasks: usize = std::env::var("FLOOD_TASKS").map_or(50_000, |count| count.parse().unwrap());
    let mut report = Report::begin("flood of specs, workers stopped", "I1 I2 I4-I7", "flood");
    // Generous: what grows with the number of tasks is looked for by hand in the figures, not by a deadline.
    let bound = Duration::from_secs(120) + Duration::from_millis(60) * u32::try_from(tasks).unwrap();
    let options = Options {
        config: "[limits]\nacknowledge = \"6h\"\nlease = \"3s\"\nlease_renewal = \"1s\"\n".to_owned(),
        repositories: REPOSITORIES,
        with_checks: 0,
        scan_period: Duration::from_secs(3_600),
        ..Options::default()
    };
    let mut cluster = Cluster::prepare(options).await;
    for name in REAL {
        cluster.start_process(name);
        cluster.wait_until_running(name).await;
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_scripted"));
    let start = |cluster: &Cluster, name| Scripted::start(binary, cluster, name);
    let surroundings = ["validator", "deployer"].map(|name| (name, start(&cluster, name)));

    let began = Instant::now();
    let producer: Arc<dyn Broker> = Arc::new(cluster.connect(Identity::Producer).await);
    let journal = Journal::default();
    let sender = Sender::start(&producer, &journal, 32, move |number| {
        (number < tasks).then(|| Spec::worked_on(1 + number, REPOSITORIES, "true"))
    });
    sender.finish().await;
    report.figure(&format!("{tasks} acknowledged in {} s", began.elapsed().as_secs()));
    let auditor = cluster.auditor().await;
    let log = async |log: Log| auditor.stream_state(&log.stream(0)).await.unwrap().last;
    eventually("every spec is registered", bound, async || log(Log::SpecRegistry).await >= tasks as u64)
        .await;
    eventually("the dispatcher has read them", bound, async || log(Log::Dispatcher).await >= tasks as u64)
        .await;
    eventually("the ledger has caught up", bound, async || cluster.has_caught_up().await).await;
    report.figure(&format!("all scheduled and in the ledger after {} s", began.elapsed().as_secs()));
    let nats = cluster.nats.pid().unwrap();
    let peaks = |cluster: &Cluster, scripted: &[(&'static str, Scripted)]| {
        let real = REAL.iter().map(|name| (*name, peak_mib(cluster.pid(name))));
        let scripted = scripted.iter().map(|(name, process)| (*name, peak_mib(process.pid())));
        real.chain(scripted).collect::<Vec<_>>()
    };
    report.step(&format!(
        "peaks in MiB: {:?}, nats-server {}",
        peaks(&cluster, &surroundings),
        peak_mib(nats)
    ));

    let drained = Instant::now();
    let worker = [("worker", start(&cluster, "worker"))];
    let mut last = 0;
    eventually("every run has ended", bound, async || {
        let ended = log(Log::Dispatcher).await;
        if ended > last + tasks as u64 / 5 {
            last = ended;
            report.step(&format!("{last} events of the dispatcher, {} s", drained.elapsed().as_secs()));
        }
        let done = cluster.nats.monitor().and_then(millrace_e2e::monitor::consumers);
        done.is_some_and(|all| all.iter().all(millrace_e2e::monitor::Lag::is_zero))
    })
    .await;
    at_rest(&cluster, bound).await;
    let seconds = drained.elapsed().as_secs_f64();
    report.figure(&format!("worked off in {seconds:.0} s, {:.0} tasks/s", tasks as f64 / seconds));
    let mut peaks: Vec<_> = peaks(&cluster, &surroundings);
    peaks.extend(worker.iter().map(|(name, process)| (*name, peak_mib(process.pid()))));
    report.figure(&format!("peaks in MiB: {peaks:?}, nats-server {}", peak_mib(nats)));

    assert_eq!(journal.lost(&*auditor).await.len(), 0, "acknowledged submissions are lost");
    let dispatched = Events::of(&*auditor, Log::Dispatcher).await;
    assert!(dispatched.failures.is_empty(), "{:?}", dispatched.failures.first());
    assert_eq!(dispatched.count("TaskCompleted"), tasks, "each task ends once: {:?}", dispatched.by_name);
    assert_eq!(dispatched.ends.len(), tasks);
    assert_eq!(log(Log::DeadLetter).await, 0, "dead letters");
    let (code, said) = verify(&cluster);
    assert_eq!(code, Some(0), "{said}");
    for (name, mebibytes) in peaks {
        assert!(mebibytes <= CEILING_MIB, "{name} took {mebibytes} MiB, more than {CEILING_MIB}");
    }
    report.held();
}
