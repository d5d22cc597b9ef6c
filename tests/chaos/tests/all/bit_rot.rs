//! F19: bits of a stream's file change while the server is down.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millrace_chaos::{Journal, Report, Sender, Spec, at_rest, check_ending, read_all, verify};
use millrace_e2e::{Cluster, millrace};
use millrace_events::Log;
use millrace_runtime::broker::{Broker, Stored};
use millrace_runtime::permissions::Identity;

const BOUND: Duration = Duration::from_secs(120);
const SUBMISSIONS: usize = 40;
/// The log whose file is damaged.
const LOG: Log = Log::SpecRegistry;

/// How the file is damaged.
#[derive(Clone, Copy)]
enum Damage {
    /// One bit of one byte inside an event.
    Flip,
    /// The last kibibyte is gone.
    Cut,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make chaos"]
async fn f19_a_flipped_byte_is_found_after_a_kill() {
    let report = Report::begin("F19 a bit of a stream's file flipped", "I5", "bit-rot: flip, killed server");
    damaged(report, Damage::Flip, NatsEnd::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make chaos"]
async fn f19_a_flipped_byte_is_found_after_an_orderly_stop() {
    let report = Report::begin("F19 a bit of a stream's file flipped", "I5", "bit-rot: flip, stopped server");
    damaged(report, Damage::Flip, NatsEnd::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make chaos"]
async fn f19_a_cut_file_is_found() {
    let report = Report::begin("F19 1 KiB cut off a stream's file", "I5", "bit-rot: cut");
    damaged(report, Damage::Cut, NatsEnd::Killed).await;
}

/// How the server ended before the damage.
#[derive(Clone, Copy)]
enum NatsEnd {
    Killed,
    Stopped,
}

async fn damaged(mut report: Report, damage: Damage, end: NatsEnd) {
    let mut cluster = Cluster::start().await;
    let producer: Arc<dyn Broker> = Arc::new(cluster.connect(Identity::Producer).await);
    let journal = Journal::default();
    let sender = Sender::start(&producer, &journal, 4, |number| {
        (number < SUBMISSIONS).then(|| Spec::refused(1_000 + number, 100))
    });
    sender.finish().await;
    check_ending(&cluster, &journal, SUBMISSIONS, BOUND).await;
    let auditor = cluster.auditor().await;
    let before = read_all(&*auditor, LOG).await;

    // The control: the same way down and up again without any damage is clean.
    down(&cluster, end);
    cluster.nats.restart();
    at_rest(&cluster, BOUND).await;
    let (code, said) = verify(&cluster);
    assert_eq!(code, Some(0), "without damage the ledger is intact: {said}");
    report.step("control: after a restart without damage `ledger verify` ends with 0");

    let victim = &before[before.len() / 2];
    down(&cluster, end);
    let first = match damage {
        Damage::Flip => {
            flip(&cluster.nats.store(), victim);
            victim.sequence
        }
        Damage::Cut => cut(&cluster.nats.store(), &before),
    };
    cluster.nats.restart();
    let (code, said) = verify(&cluster);
    let line = said.lines().find(|line| line.contains(&LOG.stream(0))).unwrap_or_default();
    report.step(line);
    assert_eq!(code, Some(1), "the damage is not noticed: {said}");
    assert!(line.contains(&format!("differs at {first}")), "it must name sequence {first}: {said}");
    report.figure(&format!("named {} at {first} of {}", LOG.stream(0), before.len()));

    // The way back, as docs/operations.md has it: the writer of the log is stopped meanwhile.
    cluster.stop(LOG.name());
    let said = reseed(&cluster);
    let after = read_all(&*auditor, LOG).await;
    let same =
        |one: &Stored, other: &Stored| (one.sequence, &one.payload) == (other.sequence, &other.payload);
    let is_back =
        after.len() >= before.len() && before.iter().zip(&after).all(|(one, other)| same(one, other));
    assert!(is_back, "the log is not what it was: {said}");
    let (code, said) = verify(&cluster);
    assert_eq!(code, Some(0), "written back, the log is intact: {said}");
    report.figure("written back from the ledger, same bytes at the same sequences");
    report.held();
}

/// `millrace ledger reseed --replace`; what it said.
fn reseed(cluster: &Cluster) -> String {
    let seed = |identity| cluster.seed_file(identity).display().to_string();
    let (config, restorer, admin) =
        (cluster.path("millrace.toml").display().to_string(), seed("restorer"), seed("bootstrap"));
    let database = cluster.database_url();
    let arguments = ["ledger", "reseed", LOG.name(), "--replace", "--bootstrap-seed-file", &admin];
    let connection = ["--config", &config, "--seed-file", &restorer, "--database-url", &database];
    let output = millrace(&cluster.path(""), &[arguments.as_slice(), &connection].concat());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

fn down(cluster: &Cluster, end: NatsEnd) {
    match end {
        NatsEnd::Killed => cluster.nats.kill(),
        NatsEnd::Stopped => cluster.nats.stop(),
    }
}

/// Flips the lowest bit of the byte in the middle of an event.
fn flip(store: &Path, victim: &Stored) {
    for path in blocks(store) {
        let mut bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(victim.payload.len()).position(|window| window == victim.payload);
        if let Some(at) = found {
            bytes[at + victim.payload.len() / 2] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("sequence {} stands in no file of {}", victim.sequence, store.display());
}

/// Cuts 1 KiB off the last file. The first event that is not whole any more.
fn cut(store: &Path, events: &[Stored]) -> u64 {
    let path = blocks(store).pop().expect("a file");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 1_024);
    std::fs::write(&path, &bytes).unwrap();
    let is_whole = |event: &&Stored| bytes.windows(event.payload.len()).any(|window| window == event.payload);
    // A record ends with its checksum, behind the payload: the last whole payload may be without it.
    let whole = events.iter().take_while(is_whole).last().map_or(0, |event| event.sequence);
    let ends_with = events.iter().find(|event| event.sequence == whole).map(|event| &event.payload);
    let checksummed = ends_with.is_some_and(|payload| {
        let at = bytes.windows(payload.len()).position(|window| window == payload).unwrap();
        bytes.len() >= at + payload.len() + CHECKSUM
    });
    if checksummed { whole + 1 } else { whole }
}

/// Bytes of the checksum behind each record of a stream's file.
const CHECKSUM: usize = 8;

/// The files that hold the messages of the log, oldest first.
fn blocks(store: &Path) -> Vec<PathBuf> {
    let folder = folder(store, &LOG.stream(0)).expect("the stream's folder").join("msgs");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "blk"))
        .collect();
    found.sort_by_key(|path| path.file_stem().unwrap().to_string_lossy().parse::<u64>().unwrap_or(0));
    found
}

fn folder(below: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(below).ok()?;
    entries.flatten().filter(|entry| entry.path().is_dir()).find_map(|entry| {
        if entry.file_name() == name { Some(entry.path()) } else { folder(&entry.path(), name) }
    })
}
