use millrace_testkit::NatsServer;
use millrace_testkit::nats::Options;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The INFO line, or the error that a connection met.
fn greeting(server: &NatsServer) -> std::io::Result<String> {
    let stream = TcpStream::connect(server.address())?;
    stream.set_read_timeout(Some(Duration::from_millis(300)))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

/// One request to the JetStream API over the plain protocol, and the server's answer up to `needle`.
fn request(server: &NatsServer, subject: &str, body: &str, needle: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let length = body.len();
    write!(
        stream,
        "CONNECT {{\"verbose\":false}}\r\nSUB inbox 1\r\nPUB {subject} inbox {length}\r\n{body}\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    let mut buffer = [0_u8; 4096];
    while !answer.contains(needle) {
        let count = stream.read(&mut buffer).expect("an answer from the server");
        assert!(count > 0, "the server hung up after: {answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    answer
}

#[test]
fn each_server_is_its_own_and_has_jetstream() {
    let (one, two) = (NatsServer::start(), NatsServer::start());
    assert_ne!(one.address(), two.address());
    assert!(greeting(&one).unwrap().contains("\"jetstream\":true"));
    assert!(greeting(&two).unwrap().contains("\"jetstream\":true"));
}

#[test]
fn a_killed_server_is_gone_and_comes_back_on_its_store_and_port() {
    let server = NatsServer::start();
    let address = server.address();
    let stream = r#"{"name":"KEPT","subjects":["kept.>"],"storage":"file"}"#;
    let created = request(&server, "$JS.API.STREAM.CREATE.KEPT", stream, "stream_create_response");
    assert!(!created.contains("\"error\""), "{created}");

    server.kill();
    assert_eq!(server.pid(), None);
    assert!(greeting(&server).is_err(), "a killed server must not answer");

    server.restart();
    assert_eq!(server.address(), address);
    let info = request(&server, "$JS.API.STREAM.INFO.KEPT", "", "stream_info_response");
    assert!(info.contains("\"name\":\"KEPT\""), "{info}");
}

#[test]
fn a_paused_server_says_nothing_until_it_is_resumed() {
    let server = NatsServer::start();
    server.pause();
    assert!(greeting(&server).is_err(), "a stopped process cannot greet");
    server.resume();
    assert!(greeting(&server).unwrap().starts_with("INFO "));
}

#[test]
fn more_configuration_is_used() {
    let server = NatsServer::start_with("authorization { users: [ { user: one, password: two } ] }");
    assert!(greeting(&server).unwrap().contains("\"auth_required\":true"));
}

#[test]
#[should_panic(expected = "nats-server ended")]
fn a_server_that_refuses_its_configuration_fails_the_test_with_its_log() {
    let _ =
        NatsServer::start_options(Options { sync_interval: "sometimes".to_owned(), ..Options::default() });
}

#[test]
fn a_dropped_server_leaves_nothing() {
    let server = NatsServer::start();
    let (address, pid) = (server.address(), server.pid().unwrap());
    drop(server);
    assert!(TcpStream::connect(address).is_err());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}
