//! On a real nats-server and a real PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use millrace_events::Log;
use millrace_ledger::{Ledger, Status, verify};
use millrace_projector::adapters::BrokerReader;
use millrace_projector::{Options, Projector};
use millrace_runtime::bootstrap::{Declared, Installation, OnDifference, bootstrap};
use millrace_runtime::clock::System;
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_testkit::{NatsServer, Postgres, eventually};
use tokio_util::sync::CancellationToken;

use super::support::{acknowledged, append, scheduled};

const BOUND: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn i4_i5_the_ledger_is_whole_after_the_broker_was_killed_and_restarted() {
    let server = NatsServer::start();
    let broker = NatsBroker::connect(ConnectOptions::new(server.client_url(), "projector")).await.unwrap();
    let declared = Declared::of(&Installation::default());
    let _ = bootstrap(&broker, &declared, OnDifference::Report).await.unwrap();
    let broker = Arc::new(broker);
    let ledger = Ledger::open(&Postgres::start().database()).await.unwrap();
    let projector = Projector::new(broker.clone(), Arc::new(System), ledger.clone(), Options::default());
    let stop = CancellationToken::new();
    #[allow(clippy::disallowed_methods)]
    let task = tokio::spawn(projector.clone().run(stop.clone()));
    eventually!(BOUND, projector.status().borrow().started);

    let mut last = None;
    for number in 0..60 {
        let name = format!("VTID-{number:05}");
        let cause = append(broker.as_ref(), &name, None, scheduled(&name)).await;
        last = Some(append(broker.as_ref(), &name, Some(&cause), acknowledged(&name)).await);
        if number == 30 {
            server.kill();
            server.restart();
            // What was stored is there again; go on when the server answers.
            eventually!(BOUND, projector.lag().await.is_ok());
        }
    }
    let last = last.unwrap();
    assert!(ledger.wait_for(&last.stream, last.sequence, BOUND).await.unwrap());
    eventually!(BOUND, projector.status().borrow().is_healthy());
    assert!(projector.lag().await.unwrap().values().all(|behind| *behind == 0));
    stop.cancel();
    task.await.unwrap().unwrap();

    assert_eq!(ledger.last_row().await.unwrap(), 120, "each event once");
    assert_eq!(ledger.applied().await.unwrap()[&Log::Dispatcher.stream(0)], 60);
    assert_eq!(ledger.get_task("VTID-00059").await.unwrap().unwrap().status, Status::Active);
    let verified = verify(&ledger, &BrokerReader::new(broker)).await.unwrap();
    assert_eq!((verified.events, verified.difference), (120, None));
}
