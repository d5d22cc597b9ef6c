use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_runtime::preflight::{PreflightError, preflight};
use millrace_testkit::NatsServer;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// Says hello as a server of that kind, answers pings, and nothing else.
async fn connect_to_a_server_that_says(info: &str) -> NatsBroker {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let greeting = format!("INFO {info}\r\n");
    let serve = async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (reading, mut writing) = stream.into_split();
        writing.write_all(greeting.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(reading).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line.starts_with("PING") && writing.write_all(b"PONG\r\n").await.is_err() {
                break;
            }
        }
    };
    // Ends with the test's runtime.
    tokio::spawn(serve);
    NatsBroker::connect(ConnectOptions::new(url, "tester")).await.unwrap()
}

fn declared() -> Declared {
    Declared::of(&Installation::default())
}

#[tokio::test]
async fn an_old_server_is_refused_in_one_line() {
    let info = r#"{"server_id":"x","version":"2.11.9","go":"go1","host":"127.0.0.1","port":1,"headers":true,"max_payload":1048576,"proto":1,"jetstream":true}"#;
    let error = preflight(&connect_to_a_server_that_says(info).await, &declared()).await.unwrap_err();
    assert!(matches!(error, PreflightError::TooOld { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("2.11.9") && text.contains("2.12 or newer") && !text.contains('\n'), "{text}");
}

#[tokio::test]
async fn a_server_without_jetstream_is_refused_in_one_line() {
    let info = r#"{"server_id":"x","version":"2.15.1","go":"go1","host":"127.0.0.1","port":1,"headers":true,"max_payload":1048576,"proto":1}"#;
    let error = preflight(&connect_to_a_server_that_says(info).await, &declared()).await.unwrap_err();
    assert!(matches!(error, PreflightError::NoJetStream), "{error}");
    assert!(!error.to_string().contains('\n'));
}

#[tokio::test]
async fn an_account_without_jetstream_is_refused() {
    let server =
        NatsServer::start_with("accounts { A { users: [ { user: a, password: b } ] } }\nno_auth_user: a");
    let broker = NatsBroker::connect(ConnectOptions::new(server.client_url(), "tester")).await.unwrap();
    let error = preflight(&broker, &declared()).await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("jetstream not enabled"), "{error}");
}

#[tokio::test]
async fn an_empty_server_wants_a_bootstrap() {
    let server = NatsServer::start();
    let broker = NatsBroker::connect(ConnectOptions::new(server.client_url(), "tester")).await.unwrap();
    let error = preflight(&broker, &declared()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("millrace bootstrap") && text.contains("MILLRACE_INTAKE_0"), "{text}");
    assert!(text.len() < 600 && !text.contains('\n'), "{text}");
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error_and_no_wait() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = NatsBroker::connect(ConnectOptions::new(url.clone(), "tester")).await.unwrap_err();
    assert!(error.to_string().contains(&url), "{error}");
}
