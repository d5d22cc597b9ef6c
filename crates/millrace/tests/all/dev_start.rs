//! What keeps a development server from starting has an exit code and advice of its own.

use tokio::net::TcpListener;

use crate::support::{err, millrace};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_put_right_before_the_next_start_is_exit_code_3() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let free = ["dev", "--listen", "127.0.0.1:0"];
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("scheme.toml", "database_url = \"mysql://me:secret@db/x\"");
    write("traces.toml", "[telemetry]\notlp_endpoint = \"not an address\"");
    write("file", "not a folder");
    for (arguments, message) in [
        (vec!["dev", "--listen", &port], "cannot listen on"),
        ([&free[..], &["--directory", "file"]].concat(), "file"),
        ([&free[..], &["--example", "nowhere"]].concat(), "there is no example"),
        ([&free[..], &["--config", "nowhere.toml"]].concat(), "nowhere.toml"),
        ([&free[..], &["--config", "scheme.toml"]].concat(), "database_url"),
        ([&free[..], &["--config", "traces.toml"]].concat(), "otlp"),
    ] {
        let ended = millrace(folder.path(), &arguments).await;
        let said = err(&ended);
        assert_eq!(ended.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.to_lowercase().contains(message) && !said.contains("secret"), "{arguments:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_server_that_does_not_answer_is_exit_code_4() {
    let folder = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", closed.local_addr().unwrap());
    drop(closed);
    let ended = millrace(folder.path(), &["dev", "--listen", "127.0.0.1:0", "--nats-url", &url]).await;
    assert_eq!(ended.status.code(), Some(4), "{}", err(&ended));
    assert!(err(&ended).contains("leave both out"), "{}", err(&ended));
}
