//! S0-1.b: every service answers `/readyz` and gRPC health on one port, and says why it is not ready.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use millrace_rpc::{HealthHandle, Routes, StatusCode, client, serve, serve_health, server::Stopped};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

async fn http(address: &str, path: &str) -> (u16, serde_json::Value) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(format!("{address}{path}").parse().unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn check(address: &str, service: &str) -> Result<ServingStatus, StatusCode> {
    let mut client = HealthClient::new(client::connect(address).await.unwrap());
    let request = HealthCheckRequest { service: service.to_owned() };
    client.check(request).await.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

#[tokio::test]
async fn s0_1b_readiness_over_http_and_grpc_on_one_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let health = HealthHandle::new();
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(serve_health(listener, health.clone(), shutdown.clone()));

    let (status, body) = http(&address, "/readyz").await;
    assert_eq!((status, body["reasons"].as_str()), (503, Some("starting")));
    assert_eq!(http(&address, "/livez").await.0, 200);

    health.set_ready("nats", true, "connected");
    assert_eq!(http(&address, "/readyz").await.0, 200);
    assert_eq!(check(&address, "").await, Ok(ServingStatus::Serving));

    health.set_ready("nats", false, "the connection is down");
    let (status, body) = http(&address, "/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(body["components"]["nats"]["reason"], "the connection is down");
    assert_eq!(check(&address, "").await, Ok(ServingStatus::NotServing));
    assert_eq!(check(&address, "nats").await, Ok(ServingStatus::NotServing));
    assert_eq!(check(&address, "moon").await, Err(StatusCode::NotFound));
    assert_eq!(http(&address, "/livez").await.0, 200, "not ready is not dead");

    shutdown.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_watcher_is_told_of_changes_and_cut_off_at_the_end_of_the_grace() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let health = HealthHandle::new();
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(
        listener,
        Routes::default(),
        health.clone(),
        shutdown.clone(),
        Duration::from_millis(10),
    ));

    let mut client = HealthClient::new(client::connect(&address).await.unwrap());
    let request = HealthCheckRequest { service: String::new() };
    let mut changes = client.watch(request).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    health.set_ready("ledger", true, "open");
    assert_eq!(changes.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    shutdown.cancel();
    assert_eq!(tasks.join_next().await.unwrap().unwrap().unwrap(), Stopped::CutOff);
}

#[tokio::test]
async fn reflection_names_the_services_and_their_files() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let grace = Duration::from_secs(5);
    tasks.spawn(serve(listener, Routes::default(), HealthHandle::new(), shutdown.clone(), grace));

    let ask = |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let requests = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("millrace.v1.Operator".to_owned())),
    ]);
    let mut client = ServerReflectionClient::new(client::connect(&address).await.unwrap());
    let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services")
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"millrace.v1.LedgerQuery"), "{names:?}");
    assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
    let file = answers.message().await.unwrap().unwrap().message_response;
    assert!(matches!(file, Some(MessageResponse::FileDescriptorResponse(_))), "{file:?}");
    drop((answers, client));

    shutdown.cancel();
    assert_eq!(tasks.join_next().await.unwrap().unwrap().unwrap(), Stopped::Drained);
}
