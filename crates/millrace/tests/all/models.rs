//! `millrace models`: the switch on a real server, and crew files that are checked without one.

use std::path::Path;

use millrace_runtime::bootstrap::{Declared, Installation, OnDifference, bootstrap};
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_testkit::NatsServer;
use serde_json::Value;
use tokio::process::Command;

async fn millrace(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command
        .arg("models")
        .args(arguments)
        .current_dir(folder)
        .env("MILLRACE_OPERATOR", "ada")
        .kill_on_drop(true);
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn the_switch_is_thrown_and_says_who_did_it_and_why() {
    let server = NatsServer::start();
    let broker = NatsBroker::connect(ConnectOptions::new(server.client_url(), "tester")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = server.client_url().to_string();
    let models = async |arguments: &[&str]| {
        let arguments: Vec<&str> =
            arguments.iter().copied().chain(["--nats-url", &url, "--output", "json"]).collect();
        let (exit, out, err) = millrace(folder.path(), &arguments).await;
        (exit, serde_json::from_str::<Value>(&out).unwrap_or_default(), err)
    };
    let (exit, _, error) = models(&["status"]).await;
    assert!(exit == Some(4) && error.contains("millrace bootstrap"), "{error}");
    bootstrap(&broker, &Declared::of(&Installation::default()), OnDifference::Report).await.unwrap();

    let (exit, told, _) = models(&["status"]).await;
    assert_eq!((exit, told["models"].as_str()), (Some(0), Some("on")));
    assert_eq!(models(&["off"]).await.0, Some(2), "a reason is needed");
    assert_eq!(models(&["off", "--reason", " "]).await.0, Some(2), "a reason that says something");
    assert_eq!(models(&["off", "--reason", "a leak"]).await.0, Some(0));
    let (exit, told, _) = models(&["status"]).await;
    assert_eq!((exit, told["models"].as_str()), (Some(1), Some("off")));
    assert_eq!((told["by"].as_str(), told["reason"].as_str()), (Some("ada"), Some("a leak")));
    assert_eq!(models(&["on"]).await.0, Some(0));
    assert_eq!(models(&["status"]).await.0, Some(0));
}

#[tokio::test]
async fn a_crew_file_is_checked_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let good = "version: \"3\"\nmodels: {m: {provider: anthropic, model_id: x-1, price: {input: 0.000001, output: 0.000002}}}\n\
                roles: {planner: {candidates: [m]}}\n";
    write("crew.yaml", good);
    let (exit, out, _) = millrace(folder.path(), &["check", "crew.yaml"]).await;
    assert!(exit == Some(0) && out.contains("planner") && out.contains("m (anthropic/x-1)"), "{out}");
    for (from, to, named) in [
        ("[m]", "[n]", "`roles.planner.candidates`: `n` is not a key of `models`"),
        ("anthropic", "acme", "there is no provider `acme`"),
        ("{candidates", "{contract: poem, candidates", "there is no contract `poem`"),
    ] {
        write("crew.yaml", &good.replace(from, to));
        let (exit, _, error) = millrace(folder.path(), &["check", "crew.yaml"]).await;
        assert!(exit == Some(1) && error.contains("crew.yaml") && error.contains(named), "{error}");
    }
    write("crew.yaml", good);
    write("other.yaml", &good.replace("x-1", "x-2"));
    let (exit, _, error) = millrace(folder.path(), &["check", "."]).await;
    assert!(exit == Some(1) && error.contains("crew.yaml") && error.contains("other.yaml"), "{error}");
    let (exit, _, error) = millrace(folder.path(), &["check"]).await;
    assert!(exit == Some(3) && error.contains("names no crew file"), "{error}");
}
