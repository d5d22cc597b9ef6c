//! The sandbox's end of the way out: a listener on its own loopback whose connections go to the proxy's socket.

use std::io::{self, BufRead, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinSet;

use super::ASKED;
use crate::egress::{BRIDGE_PORT, SOCKET};

const CONNECTIONS: usize = 64;
const READY: &str = "listening";

/// Starts the bridge as a process of its own and waits until it listens.
pub(super) fn start() -> io::Result<()> {
    let mut child = Command::new("/proc/self/exe")
        .args([ASKED, "bridge"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        io::BufReader::new(stdout).read_line(&mut line)?;
    }
    if line.trim() == READY { Ok(()) } else { Err(io::Error::other("it does not listen")) }
}

/// Serves until the sandbox ends.
pub(super) fn serve() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, BRIDGE_PORT)).await?;
        {
            let mut out = io::stdout().lock();
            writeln!(out, "{READY}")?;
            out.flush()?;
        }
        let mut connections = JoinSet::new();
        loop {
            while connections.len() >= CONNECTIONS {
                connections.join_next().await;
            }
            let (mut client, _) = listener.accept().await?;
            connections.spawn(async move {
                if let Ok(mut proxy) = UnixStream::connect(Path::new(SOCKET)).await {
                    // Either side may end it at any time.
                    let _ended = copy_bidirectional(&mut client, &mut proxy).await;
                }
            });
        }
    })
}
