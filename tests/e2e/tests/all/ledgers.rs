//! The ledger is the same whatever it is kept in, and can be proven from the logs.

use std::time::Duration;

use millrace_e2e::{Cluster, Options, Plan, millrace, spec};
use millrace_rpc::v1::TaskStatus;
use millrace_testkit::Postgres;

const BOUND: Duration = Duration::from_secs(90);

/// The same logs give the same ledger in SQLite and PostgreSQL, byte for byte, live or rebuilt.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_and_postgresql_ledgers_are_equal_for_the_same_logs() {
    let options = Options { database_url: Some(Postgres::start().database()), ..Options::default() };
    let cluster = Cluster::start_with(options).await;
    // Another file than the page, so that the two do not conflict whichever is merged first.
    let good = Plan { writes: vec![("notes.txt", "good\n".to_owned())], commands: vec![], without: vec![] };
    cluster.repository.add_spec("00080", spec("VTID-00080", &good));
    cluster.repository.add_spec("00081", spec("VTID-00081", &Plan::page("broken")));
    cluster.wait_for("VTID-00080", TaskStatus::Complete, BOUND).await;
    cluster.wait_for("VTID-00081", TaskStatus::Failed, BOUND).await;
    cluster.quiet().await;
    let live = millrace_ledger::Ledger::open(&cluster.database_url()).await.unwrap();
    let rebuilt_url = format!("sqlite://{}", cluster.path("rebuilt.db").display());
    let rebuilt = cluster.rebuild_into(&rebuilt_url).await;
    let (live, rebuilt) = (cluster.export(&live).await, cluster.export(&rebuilt).await);
    assert!(live.lines().count() > 30, "{live}");
    for (live, rebuilt) in live.lines().zip(rebuilt.lines()) {
        assert_eq!(live, rebuilt);
    }
    assert_eq!(live, rebuilt);
}

/// `millrace ledger verify` finds nothing to complain about in a healthy system, by its exit code.
#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_ledger_is_verified_against_the_streams() {
    let cluster = Cluster::start().await;
    cluster.repository.add_spec("00082", spec("VTID-00082", &Plan::page("good")));
    cluster.wait_for("VTID-00082", TaskStatus::Complete, BOUND).await;
    cluster.quiet().await;
    let (database, seed) = (cluster.database_url(), cluster.seed_file("auditor"));
    let (nats, seed) = (cluster.nats.client_url(), seed.display().to_string());
    let arguments =
        ["ledger", "verify", "--database-url", &database, "--nats-url", &nats, "--seed-file", &seed];
    let verified = millrace(&cluster.path(""), &arguments);
    let text =
        format!("{}{}", String::from_utf8_lossy(&verified.stdout), String::from_utf8_lossy(&verified.stderr));
    assert!(verified.status.success(), "{text}");
    // It can fail: a ledger that says something else about one event is found.
    let ledger = millrace_ledger::Ledger::open(&database).await.unwrap();
    ledger.execute_raw("DROP TRIGGER events_fixed").await.unwrap();
    let forged = "UPDATE events SET payload = x'00' WHERE stream = 'MILLRACE_WORKER_0' AND sequence = 1";
    ledger.execute_raw(forged).await.unwrap();
    let verified = millrace(&cluster.path(""), &arguments);
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(1), "{text}");
    assert!(text.contains("MILLRACE_WORKER_0") && text.contains("differs at 1"), "{text}");
    // And so does the service, for those who only reach it.
    let answer = cluster.query().await.verify_ledger(millrace_rpc::v1::VerifyLedgerRequest::default()).await;
    assert!(!answer.unwrap().into_inner().logs.is_empty());
}
