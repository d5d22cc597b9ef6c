use millrace_runtime::bootstrap::{
    BootstrapError, Declared, Installation, OnDifference, Report, StreamDeclaration, bootstrap,
};
use millrace_runtime::inspect::Inspect;
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_runtime::preflight::{PreflightError, preflight};
use millrace_testkit::NatsServer;

async fn connect(server: &NatsServer) -> NatsBroker {
    NatsBroker::connect(ConnectOptions::new(server.client_url(), "bootstrap")).await.unwrap()
}

#[tokio::test]
async fn a_second_bootstrap_changes_nothing() {
    let server = NatsServer::start();
    let broker = connect(&server).await;
    let declared = Declared::of(&Installation { partitions: 2, ..Installation::default() });
    let objects = declared.streams.len() + declared.consumers.len();

    let first = bootstrap(&broker, &declared, OnDifference::Report).await.unwrap();
    assert_eq!((first.created.len(), first.differs.len()), (objects, 0));
    for on_difference in [OnDifference::Report, OnDifference::Update] {
        let again = bootstrap(&broker, &declared, on_difference).await.unwrap();
        assert_eq!(again, Report { unchanged: first.created.clone(), ..Report::default() });
    }
    preflight(&broker, &declared).await.unwrap();
}

#[tokio::test]
async fn two_bootstraps_at_once_agree() {
    let server = NatsServer::start();
    let (one, two) = (connect(&server).await, connect(&server).await);
    let declared = Declared::of(&Installation::default());
    let (one, two) = tokio::join!(
        bootstrap(&one, &declared, OnDifference::Report),
        bootstrap(&two, &declared, OnDifference::Report),
    );
    assert!(one.unwrap().differs.is_empty() && two.unwrap().differs.is_empty());
}

#[tokio::test]
async fn a_changed_stream_is_noticed_and_changed_back_only_when_asked() {
    let server = NatsServer::start();
    let broker = connect(&server).await;
    let declared = Declared::of(&Installation::default());
    bootstrap(&broker, &declared, OnDifference::Report).await.unwrap();

    // Somebody lets the worker's log forget, and its consumer give up.
    let client = async_nats::connect(server.client_url()).await.unwrap();
    let forgetful = r#"{"name":"MILLRACE_WORKER_0","subjects":["millrace.worker.0.>"],"max_age":3600000000000,
        "storage":"file","discard":"new","deny_delete":true,"allow_direct":true,"allow_atomic":true,
        "max_msg_size":851968,"duplicate_window":100000000}"#;
    let answer = client.request("$JS.API.STREAM.UPDATE.MILLRACE_WORKER_0", forgetful.into()).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer.payload).contains("\"error\""), "{answer:?}");

    let found = preflight(&broker, &declared).await.unwrap_err();
    let PreflightError::Differs(differences) = &found else { panic!("{found}") };
    let [difference] = differences.0.as_slice() else { panic!("{found}") };
    assert_eq!((difference.object.as_str(), difference.field.as_str()), ("MILLRACE_WORKER_0", "max_age"));
    assert!(found.to_string().contains("run `millrace bootstrap`"), "{found}");

    let report = bootstrap(&broker, &declared, OnDifference::Report).await.unwrap();
    assert_eq!(report.differs, differences.0);
    let report = bootstrap(&broker, &declared, OnDifference::Update).await.unwrap();
    assert_eq!((report.updated, report.differs), (vec!["MILLRACE_WORKER_0".to_owned()], vec![]));
    preflight(&broker, &declared).await.unwrap();
}

#[tokio::test]
async fn an_installation_from_before_gets_room_for_more_held_runs_by_an_update() {
    let server = NatsServer::start();
    let broker = connect(&server).await;
    let before = Declared::of(&Installation { max_ack_pending: 1_024, ..Installation::default() });
    bootstrap(&broker, &before, OnDifference::Report).await.unwrap();
    let declared = Declared::of(&Installation::default());
    let PreflightError::Differs(found) = preflight(&broker, &declared).await.unwrap_err() else {
        panic!("differs")
    };
    assert!(found.0.iter().all(|difference| difference.field == "max_ack_pending"), "{found}");
    assert_eq!(found.0.len(), declared.consumers.len());
    let report = bootstrap(&broker, &declared, OnDifference::Update).await.unwrap();
    assert_eq!((report.updated.len(), report.differs), (declared.consumers.len(), vec![]));
    preflight(&broker, &declared).await.unwrap();
    let consumer = &declared.consumers[0];
    assert_eq!(Inspect::unanswered(&broker, &consumer.stream, &consumer.durable).await.unwrap(), Some(0));
    assert_eq!(Inspect::unanswered(&broker, &consumer.stream, "nobody").await.unwrap(), None);
}

#[tokio::test]
async fn a_changed_consumer_and_a_missing_stream_are_noticed() {
    let server = NatsServer::start();
    let broker = connect(&server).await;
    let mut declared = Declared::of(&Installation::default());
    bootstrap(&broker, &declared, OnDifference::Report).await.unwrap();
    declared.consumers[0].max_ack_pending = 7;
    declared.streams.push(StreamDeclaration::new("MILLRACE_NEW", vec!["millrace.new.>".to_owned()]));
    let PreflightError::Differs(found) = preflight(&broker, &declared).await.unwrap_err() else {
        panic!("differs")
    };
    let fields: Vec<_> = found.0.iter().map(|difference| difference.field.as_str()).collect();
    assert_eq!(fields, ["(exists)", "max_ack_pending"]);
    let report = bootstrap(&broker, &declared, OnDifference::Update).await.unwrap();
    assert_eq!((report.created.len(), report.updated.len()), (1, 1));
    preflight(&broker, &declared).await.unwrap();
}

#[tokio::test]
async fn what_the_server_refuses_is_reported_with_its_words() {
    let server = NatsServer::start();
    let broker = connect(&server).await;
    let overlapping = Declared {
        streams: vec![
            StreamDeclaration::new("ONE", vec!["same.>".to_owned()]),
            StreamDeclaration::new("TWO", vec!["same.>".to_owned()]),
        ],
        consumers: Vec::new(),
    };
    let error = bootstrap(&broker, &overlapping, OnDifference::Report).await.unwrap_err();
    assert!(matches!(error, BootstrapError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("TWO") && error.to_string().contains("overlap"), "{error}");
}
