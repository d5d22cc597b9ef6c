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
    cluster.repository.add_spec("00080", spec("VTID-00080", &Plan::page("good")));
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
    let verified = millrace(&cluster.path(""), &["ledger", "verify", "--server", &cluster.address()]);
    let text = format!("{}{}", String::from_utf8_lossy(&verified.stdout), String::from_utf8_lossy(&verified.stderr));
    assert!(verified.status.success(), "{text}");
}
