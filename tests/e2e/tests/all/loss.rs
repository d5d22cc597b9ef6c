//! Loss is noticed, stops dispatching, says what is missing, and has a way back (issue "Loss is noticed";
//! I4, I5, S4-FUND-01, F04, F19).

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use millrace_e2e::{Cluster, Options, Plan, millrace, spec};
use millrace_events::{Log, LogEvent as _, ProjectorEvent, Service};
use millrace_rpc::v1::TaskStatus;
use millrace_runtime::permissions::Identity;
use millrace_testkit::eventually;
use serde_json::{Value, json};

/// Every alarm must come within a minute, also with the default period.
const BOUND: Duration = Duration::from_secs(60);

fn options() -> Options {
    let config =
        "[limits]\nlease = \"3s\"\nlease_renewal = \"1s\"\nacknowledge = \"10s\"\nwatchdog = \"300ms\"\n";
    Options { config: config.to_owned(), ..Options::default() }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A command of the installation, from the command line.
fn run(cluster: &Cluster, identity: &str, arguments: &[&str]) -> Output {
    let config = cluster.path("millrace.toml").display().to_string();
    let seed = cluster.seed_file(identity).display().to_string();
    let mut all = arguments.to_vec();
    all.extend(["--config", config.as_str(), "--seed-file", seed.as_str()]);
    let database = cluster.database_url();
    if arguments[0] == "ledger" {
        all.extend(["--database-url", database.as_str()]);
    }
    millrace(&cluster.path(""), &all)
}

fn reseed(cluster: &Cluster, arguments: &[&str]) -> Output {
    run(cluster, "restorer", &[&["ledger", "reseed"], arguments].concat())
}

fn health(cluster: &Cluster) -> Output {
    millrace(&cluster.path(""), &["health", "--server", &cluster.address()])
}

/// What the projector has said about a log, in order, by name.
async fn said(cluster: &Cluster, log: Log) -> Vec<&'static str> {
    let events = cluster.log(Log::Projector).await.into_iter().filter_map(|event| match event {
        millrace_events::Event::Projector(event) => Some(event),
        _ => None,
    });
    let about = |event: &ProjectorEvent| match event {
        ProjectorEvent::LedgerRegressed(event) => event.log == log.name(),
        ProjectorEvent::LogDiffers(event) => event.log == log.name(),
        ProjectorEvent::LogRecovered(event) => event.log == log.name(),
        _ => false,
    };
    events.filter(about).map(|event| event.name()).collect()
}

async fn wait_until_said(cluster: &Cluster, log: Log, expected: &[&str]) {
    eventually(&format!("{expected:?} of {}", log.name()), BOUND, async || {
        said(cluster, log).await == expected
    })
    .await;
}

async fn complete(cluster: &Cluster, number: &str) {
    let task = format!("VTID-{number}");
    let plan = Plan::file(format!("{number}.txt"), number);
    cluster.repository.add_spec(number, spec(&task, &plan));
    cluster.wait_for(&task, TaskStatus::Complete, BOUND).await;
}

/// Ledger, streams and a ledger built anew agree, by the command line and by their exports.
async fn all_is_whole(cluster: &Cluster) {
    cluster.quiet().await;
    let verified = run(cluster, "auditor", &["ledger", "verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified));
    eventually("health is good again", BOUND, async || health(cluster).status.code() == Some(0)).await;
    cluster.quiet().await;
    let live = millrace_ledger::Ledger::open(&cluster.database_url()).await.unwrap();
    let rebuilt = cluster.rebuild_into(&format!("sqlite://{}", cluster.path("rebuilt.db").display())).await;
    assert_eq!(cluster.export(&live).await, cluster.export(&rebuilt).await);
}

fn stream_folder(cluster: &Cluster, log: Log) -> PathBuf {
    cluster.nats.store().join("jetstream/MILLRACE/streams").join(log.stream(0))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// The disk of one log comes back from an old copy, everything running.
#[tokio::test(flavor = "multi_thread")]
async fn s4_fund_01_a_log_restored_from_an_old_copy_stops_dispatching_until_it_is_reseeded() {
    let cluster = Cluster::start_with(options()).await;
    complete(&cluster, "00100").await;
    cluster.quiet().await;
    let (folder, old) = (stream_folder(&cluster, Log::Worker), cluster.path("old"));
    copy(&folder, &old);
    complete(&cluster, "00101").await;
    cluster.quiet().await;
    cluster.nats.kill();
    std::fs::remove_dir_all(&folder).unwrap();
    copy(&old, &folder);
    cluster.nats.restart();

    wait_until_said(&cluster, Log::Worker, &["LedgerRegressed"]).await;
    let shown = health(&cluster);
    let what = text(&shown);
    assert_eq!(shown.status.code(), Some(1), "{what}");
    for expected in ["alarm of the log worker", "missing: ", "VTID-00101", "millrace ledger reseed"] {
        assert!(what.contains(expected), "{expected}: {what}");
    }
    // A new task waits, and says why; nobody is offered anything.
    cluster.repository.add_spec("00102", spec("VTID-00102", &Plan::file("00102.txt".to_owned(), "x")));
    let scheduled = cluster.wait_for_event("VTID-00102", "TaskScheduled", BOUND).await;
    let reason = Cluster::data(&scheduled)["waits_for"].to_string();
    assert!(reason.contains("MILLRACE_WORKER_0"), "{reason}");
    cluster.wait_for("VTID-00102", TaskStatus::Pending, BOUND).await;

    let looked = reseed(&cluster, &["--dry-run"]);
    assert_eq!(looked.status.code(), Some(1), "{}", text(&looked));
    assert!(text(&looked).contains("lacks ") && text(&looked).contains("VTID-00101"), "{}", text(&looked));
    let names = cluster.event_names("VTID-00102").await;
    assert!(!names.contains(&"WorkOrderAcknowledged".to_owned()), "{names:?}");
    assert_eq!(said(&cluster, Log::Worker).await, ["LedgerRegressed"], "looking mends nothing");
    let mended = reseed(&cluster, &["worker"]);
    assert_eq!(mended.status.code(), Some(0), "{}", text(&mended));
    assert!(text(&mended).contains("events written back"), "{}", text(&mended));
    let again = text(&reseed(&cluster, &[]));
    assert!(!again.contains("written back"), "{again}");

    wait_until_said(&cluster, Log::Worker, &["LedgerRegressed", "LogRecovered"]).await;
    cluster.wait_for("VTID-00102", TaskStatus::Complete, BOUND).await;
    for task in ["VTID-00100", "VTID-00101", "VTID-00102"] {
        assert_eq!((cluster.terminal_events(task).await.len(), cluster.repository.commits_of(task)), (1, 1));
    }
    all_is_whole(&cluster).await;
}

/// The whole server comes back from an old copy while the services are stopped.
#[tokio::test(flavor = "multi_thread")]
async fn i4_a_whole_server_restored_from_an_old_copy_gets_every_log_back() {
    let mut cluster = Cluster::start_with(options()).await;
    complete(&cluster, "00110").await;
    cluster.quiet().await;
    cluster.nats.stop();
    let (store, old) = (cluster.nats.store(), cluster.path("old"));
    copy(&store, &old);
    cluster.nats.restart();
    complete(&cluster, "00111").await;
    cluster.quiet().await;
    for name in Cluster::names() {
        assert_eq!(cluster.stop(&name), Some(0));
    }
    cluster.nats.kill();
    std::fs::remove_dir_all(&store).unwrap();
    copy(&old, &store);
    cluster.nats.restart();
    for name in ["projector", "query"] {
        cluster.start_process(name);
    }
    wait_until_said(&cluster, Log::Dispatcher, &["LedgerRegressed"]).await;
    let mended = reseed(&cluster, &["--output", "json"]);
    assert_eq!(mended.status.code(), Some(0), "{}", text(&mended));
    let mended: Value = serde_json::from_slice(&mended.stdout).unwrap();
    let written = |log: Log| {
        let logs = mended["logs"].as_array().unwrap();
        logs.iter().find(|one| one["stream"] == log.stream(0)).unwrap()["written"].as_u64().unwrap()
    };
    for log in [Log::Intake, Log::SpecRegistry, Log::Dispatcher, Log::Worker, Log::Validator, Log::Deployer] {
        assert!(written(log) > 0, "{}: {mended}", log.name());
    }
    wait_until_said(&cluster, Log::Dispatcher, &["LedgerRegressed", "LogRecovered"]).await;
    for name in Cluster::names().into_iter().filter(|name| name != "projector" && name != "query") {
        cluster.start_process(&name);
    }
    complete(&cluster, "00112").await;
    for task in ["VTID-00110", "VTID-00111", "VTID-00112"] {
        assert_eq!((cluster.terminal_events(task).await.len(), cluster.repository.commits_of(task)), (1, 1));
    }
    all_is_whole(&cluster).await;
}

/// A consumer is deleted and a stream changed; the service that is cut off lives on.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_consumer_and_a_changed_stream_are_alarms_until_the_bootstrap_mends_them() {
    let cluster = Cluster::start_with(options()).await;
    complete(&cluster, "00120").await;
    cluster.quiet().await;
    let admin = cluster.connect(Identity::Bootstrap).await;
    let (of_worker, deployer) = (Log::Worker.stream(0), Service::Deployer.durable());
    let deleted = admin.api(&format!("CONSUMER.DELETE.{of_worker}.{deployer}"), &Value::Null).await;
    assert_eq!(deleted.unwrap().unwrap()["success"], true);
    let validator = Log::Validator.stream(0);
    let info = admin.api(&format!("STREAM.INFO.{validator}"), &Value::Null).await.unwrap().unwrap();
    let mut config = info["config"].clone();
    config["max_age"] = json!(3_600_000_000_000_u64);
    let _ = admin.api(&format!("STREAM.UPDATE.{validator}"), &config).await.unwrap().unwrap();

    wait_until_said(&cluster, Log::Worker, &["LogDiffers"]).await;
    wait_until_said(&cluster, Log::Validator, &["LogDiffers"]).await;
    let shown = health(&cluster);
    let what = text(&shown);
    assert_eq!(shown.status.code(), Some(1), "{what}");
    for expected in ["MILLRACE_WORKER_0 > deployer does not exist", "max_age", "millrace bootstrap --update"]
    {
        assert!(what.contains(expected), "{expected}: {what}");
    }
    let is = async |status: u16| cluster.readiness("deployer") == Some(status);
    eventually("the deployer says that it hears nothing", BOUND, async || is(503).await).await;
    cluster.repository.add_spec("00121", spec("VTID-00121", &Plan::file("00121.txt".to_owned(), "x")));
    cluster.wait_for_event("VTID-00121", "TaskScheduled", BOUND).await;

    let mended = run(&cluster, "bootstrap", &["bootstrap", "--update"]);
    assert_eq!(mended.status.code(), Some(0), "{}", text(&mended));
    for log in [Log::Worker, Log::Validator] {
        wait_until_said(&cluster, log, &["LogDiffers", "LogRecovered"]).await;
    }
    eventually("the deployer hears again", BOUND, async || is(200).await).await;
    // Everything comes again from the first message on, and nothing is done twice.
    cluster.wait_for("VTID-00121", TaskStatus::Complete, BOUND).await;
    let count = |events: &[millrace_events::Event], name: &str| {
        events.iter().filter(|event| event.name() == name).count()
    };
    let deployer = cluster.log(Log::Deployer).await;
    for name in ["PullRequestOpened", "MergeCompleted", "DeploymentVerified"] {
        assert_eq!(count(&deployer, name), 2, "{name}: one for each task");
    }
    assert_eq!(cluster.repository.commits_of("VTID-00120"), 1);
    all_is_whole(&cluster).await;
}

/// F19: one byte of a stream's file is flipped while the server is stopped. It drops that message; the ledger
/// still has it.
#[tokio::test(flavor = "multi_thread")]
async fn f19_a_flipped_byte_is_found_and_the_log_is_written_anew() {
    let mut cluster = Cluster::start_with(options()).await;
    complete(&cluster, "00130").await;
    complete(&cluster, "00131").await;
    cluster.quiet().await;
    let stream = Log::Worker.stream(0);
    let message = cluster.auditor().await.get(&stream, 2).await.unwrap().unwrap();
    cluster.nats.stop();
    let blocks = stream_folder(&cluster, Log::Worker).join("msgs");
    let flipped = std::fs::read_dir(blocks).unwrap().flatten().any(|block| {
        let mut bytes = std::fs::read(block.path()).unwrap();
        let found = bytes.windows(message.payload.len()).position(|window| window == message.payload);
        if let Some(place) = found {
            bytes[place + message.payload.len() / 2] ^= 1;
            std::fs::write(block.path(), bytes).unwrap();
        }
        found.is_some()
    });
    assert!(flipped, "the message is in no block");
    cluster.nats.restart();

    wait_until_said(&cluster, Log::Worker, &["LedgerRegressed"]).await;
    let what = text(&health(&cluster));
    assert!(what.contains("MILLRACE_WORKER_0:2") && what.contains("VTID-00130"), "{what}");
    let verified = run(&cluster, "auditor", &["ledger", "verify"]);
    assert_eq!(verified.status.code(), Some(1), "{}", text(&verified));
    let refused = reseed(&cluster, &[]);
    assert_eq!(refused.status.code(), Some(6), "{}", text(&refused));
    assert!(text(&refused).contains("is not what the ledger remembers at 2"), "{}", text(&refused));

    let stopped: Vec<String> =
        Cluster::names().into_iter().filter(|name| name != "projector" && name != "query").collect();
    for name in &stopped {
        assert_eq!(cluster.stop(name), Some(0));
    }
    let administrator = cluster.seed_file("bootstrap").display().to_string();
    let replaced = reseed(&cluster, &["worker", "--replace", "--bootstrap-seed-file", &administrator]);
    assert_eq!(replaced.status.code(), Some(0), "{}", text(&replaced));
    wait_until_said(&cluster, Log::Worker, &["LedgerRegressed", "LogRecovered"]).await;
    for name in &stopped {
        cluster.start_process(name);
    }
    complete(&cluster, "00132").await;
    for task in ["VTID-00130", "VTID-00131", "VTID-00132"] {
        assert_eq!((cluster.terminal_events(task).await.len(), cluster.repository.commits_of(task)), (1, 1));
    }
    all_is_whole(&cluster).await;
}
