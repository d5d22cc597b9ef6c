//! The setup step (S4-D7, S4-D8) against a local file server that stands in for a registry.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_sandbox::{CommandSpec, Egress, Limits, Prepared, Setup, SetupError};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{Workspace, run, sandbox, text};

/// Serves `package-NAME` for any `/NAME`, and counts. It ends with the test's process.
struct Registry {
    port: u16,
    requests: Arc<AtomicUsize>,
}

impl Registry {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        std::thread::spawn(move || {
            for connection in listener.incoming().filter_map(Result::ok) {
                let _ = serve(connection, &counted);
            }
        });
        Self { port, requests }
    }

    fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut connection: TcpStream, counted: &AtomicUsize) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let Some(Ok(first)) = lines.next() else { return Ok(()) };
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    counted.fetch_add(1, Ordering::SeqCst);
    let name = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let body = format!("package {name}\n");
    let length = body.len();
    write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// Fetches every line of the lockfile by the proxy that it is told of.
const FETCH: &str = r#"python3 -c '
import os, sys, urllib.request
for url in open("deps.lock").read().split():
    text = urllib.request.urlopen(url, timeout=20).read()
    name = url.rsplit("/", 1)[1]
    open("/dependencies/" + name, "wb").write(text)
open("/workspace/changed", "w").write("only in the copy")
' 2>&1"#;

struct World {
    registry: Registry,
    workspace: Workspace,
    cache: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self {
            registry: Registry::start(),
            workspace: Workspace::new(),
            cache: tempfile::tempdir().unwrap(),
        };
        world.lock(&["one", "two"]);
        world
    }

    fn lock(&self, names: &[&str]) {
        let urls = names.iter().map(|name| format!("http://localhost:{}/{name}\n", self.registry.port));
        fs::write(self.workspace.path().join("deps.lock"), urls.collect::<String>()).unwrap();
    }

    fn setup(&self) -> Setup {
        let none: [&str; 0] = [];
        Setup {
            command: FETCH.to_owned(),
            lockfiles: vec![PathBuf::from("deps.lock")],
            env: BTreeMap::from([("DEPS".to_owned(), "/dependencies".to_owned())]),
            offline_env: BTreeMap::from([("OFFLINE".to_owned(), "yes".to_owned())]),
            egress: Egress::new(&none, &[format!("localhost:{}", self.registry.port)]).unwrap(),
            limits: Limits::default(),
        }
    }

    async fn ensure(&self, setup: &Setup) -> Result<Prepared, SetupError> {
        let cancel = CancellationToken::new();
        setup.ensure(sandbox().await, self.cache.path(), &self.workspace.path(), &cancel).await
    }

    /// Whatever is left in the cache but locks.
    fn kept(&self) -> Vec<String> {
        let names = fs::read_dir(self.cache.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| !name.ends_with(".lock"))
            .collect()
    }
}

#[tokio::test]
async fn s4_d7_dependencies_are_fetched_once_and_work_offline() {
    let world = World::new();
    let setup = world.setup();
    let prepared = world.ensure(&setup).await.unwrap();
    assert_eq!(world.registry.count(), 2);
    assert_eq!(world.kept(), std::slice::from_ref(&prepared.key));
    assert!(!world.workspace.path().join("changed").exists(), "it worked in a copy");
    // Again: nothing is fetched.
    assert_eq!(world.ensure(&setup).await.unwrap(), prepared);
    assert_eq!(world.registry.count(), 2);
    assert!(prepared.is_intact().unwrap());
    // A later command sees it, cannot change it and has no way out.
    let mut spec: CommandSpec = world.workspace.spec(&format!(
        "cat $DEPS/one; echo $OFFLINE; echo evil > $DEPS/one; rm -f $DEPS/two; mkdir $DEPS/x; env | grep -ci proxy; \
         python3 -c 'import urllib.request as u; u.urlopen(\"http://localhost:{}/x\")' 2>&1 | tail -1",
        world.registry.port
    ));
    spec.mounts.push(prepared.mount());
    spec.env = prepared.env.clone();
    let seen = text(&run(&spec).await);
    assert!(seen.starts_with("package one\nyes\n") && seen.contains("\n0\n"), "{seen}");
    assert!(seen.contains("Read-only file system") && seen.contains("URLError"), "{seen}");
    assert_eq!(world.registry.count(), 2);
    assert!(prepared.is_intact().unwrap());
}

#[tokio::test]
async fn s4_d7_the_same_input_gives_the_same_result_and_another_lockfile_another() {
    let world = World::new();
    let first = world.ensure(&world.setup()).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let cancel = CancellationToken::new();
    let again = world.setup();
    let again =
        again.ensure(sandbox().await, elsewhere.path(), &world.workspace.path(), &cancel).await.unwrap();
    assert_eq!((&again.key, &again.content_sha256), (&first.key, &first.content_sha256));
    world.lock(&["one", "three"]);
    let other = world.ensure(&world.setup()).await.unwrap();
    assert_ne!(other.key, first.key);
    assert_ne!(other.content_sha256, first.content_sha256);
    let command = Setup { command: format!("{FETCH} "), ..world.setup() };
    assert_ne!(command.key(sandbox().await, &world.workspace.path()).unwrap(), other.key);
}

#[tokio::test]
async fn s4_d7_workers_that_need_the_same_share_one() {
    let world = World::new();
    let setup = world.setup();
    let (a, b, c) = tokio::join!(world.ensure(&setup), world.ensure(&setup), world.ensure(&setup));
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert!(a == b && b == c);
    assert_eq!(world.registry.count(), 2, "fetched by one of them");
}

#[tokio::test]
async fn s4_d8_a_host_that_is_not_listed_is_refused_and_named() {
    let world = World::new();
    let none: [&str; 0] = [];
    let port = world.registry.port;
    for (egress, reason) in [
        (Egress::new(&["index.example"], &none).unwrap(), "not on the allow-list"),
        // Listed, but it turns out to be this machine.
        (Egress::new(&[format!("localhost:{port}")], &none).unwrap(), "inner network"),
    ] {
        let error = world.ensure(&Setup { egress, ..world.setup() }).await.unwrap_err();
        let SetupError::Failed { output, refused, .. } = &error else { panic!("{error}") };
        assert_eq!(refused.len(), 1, "{error}");
        assert!(
            refused[0].starts_with(&format!("localhost:{port}: ")) && refused[0].contains(reason),
            "{error}"
        );
        assert!(String::from_utf8_lossy(output).contains("403"), "{error}");
    }
    assert_eq!(world.registry.count(), 0);
    assert!(world.kept().is_empty(), "{:?}", world.kept());
    // Nobody listed: not even a proxy.
    let error = world.ensure(&Setup { egress: Egress::default(), ..world.setup() }).await.unwrap_err();
    assert!(matches!(error, SetupError::Failed { .. }), "{error}");
    // And what failed once is tried again.
    world.ensure(&world.setup()).await.unwrap();
}

#[tokio::test]
async fn s4_d8_the_proxy_is_the_only_way_out_of_a_step() {
    let world = World::new();
    let port = world.registry.port;
    let command = format!(
        "python3 -c '
import socket
def reach(family, kind, address):
    try:
        s = socket.socket(family, kind); s.settimeout(3); s.connect(address); s.send(b\"x\"); return s.recv(1)
    except OSError: return None
print(reach(socket.AF_INET, socket.SOCK_STREAM, (\"127.0.0.1\", {port})))
print(reach(socket.AF_INET, socket.SOCK_DGRAM, (\"192.0.2.1\", 53)))
def ask(request):
    s = socket.create_connection((\"127.0.0.1\", 3128)); s.sendall(request.encode() + b\"\\r\\n\\r\\n\"); return s.recv(12)
print(ask(\"CONNECT localhost:{port} HTTP/1.1\"))
print(ask(\"CONNECT 127.0.0.1:{port} HTTP/1.1\"))
print(ask(\"CONNECT localhost:22 HTTP/1.1\"))
print(ask(\"nonsense\"))
' > /dependencies/seen 2>&1; env | cut -d= -f1 | sort > /dependencies/names"
    );
    let prepared = world.ensure(&Setup { command, ..world.setup() }).await.unwrap();
    let seen = fs::read_to_string(prepared.folder.join("seen")).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..2], ["None", "None"], "{seen}");
    assert_eq!(
        lines[2..],
        ["b'HTTP/1.1 200'", "b'HTTP/1.1 403'", "b'HTTP/1.1 403'", "b'HTTP/1.1 400'"],
        "{seen}"
    );
    let names = fs::read_to_string(prepared.folder.join("names")).unwrap();
    assert!(!names.contains("CARGO_MANIFEST"), "no variable of ours: {names}");
}

#[tokio::test]
async fn a_failed_step_says_so_with_its_output_and_leaves_nothing() {
    let world = World::new();
    let failing = Setup {
        command: "echo no such package; touch /dependencies/half; exit 7".to_owned(),
        ..world.setup()
    };
    let error = world.ensure(&failing).await.unwrap_err();
    let SetupError::Failed { output, .. } = &error else { panic!("{error}") };
    assert_eq!(output, b"no such package\n");
    assert!(error.to_string().contains("Code(7)"), "{error}");
    assert!(world.kept().is_empty(), "{:?}", world.kept());
    let missing = Setup { lockfiles: vec![PathBuf::from("other.lock")], ..world.setup() };
    assert!(world.ensure(&missing).await.unwrap_err().to_string().contains("other.lock"));
    std::os::unix::fs::symlink("/etc/shadow", world.workspace.path().join("linked.lock")).unwrap();
    let linked = Setup { lockfiles: vec![PathBuf::from("linked.lock")], ..world.setup() };
    assert!(matches!(world.ensure(&linked).await, Err(SetupError::Lockfile { .. })));
    let cancel = CancellationToken::new();
    cancel.cancel();
    let slow = Setup { command: "sleep 100".to_owned(), ..world.setup() };
    let stopped = slow.ensure(sandbox().await, world.cache.path(), &world.workspace.path(), &cancel).await;
    assert!(matches!(stopped, Err(SetupError::Cancelled)));
}
