//! The proxy itself: CONNECT for what is encrypted, a rewritten request for what is not.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener, UnixStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::rules::Egress;

/// So many refusals are kept for the report.
pub(super) const REFUSALS: usize = 20;
const CONNECTIONS: usize = 64;
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_WAIT: Duration = Duration::from_secs(15);
const CONNECT_WAIT: Duration = Duration::from_secs(15);
/// The longest that one connection may last; the step has a limit of its own.
const CONNECTION_WAIT: Duration = Duration::from_secs(30 * 60);

/// Serves until it is dropped.
pub(super) async fn serve(listener: UnixListener, rules: Egress, refused: Arc<Mutex<BTreeSet<String>>>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let (rules, refused) = (rules.clone(), Arc::clone(&refused));
                connections.spawn(async move {
                    // What fails here is seen by the client, whose connection ends.
                    let _ended = timeout(CONNECTION_WAIT, one(client, &rules, &refused)).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn one(mut client: UnixStream, rules: &Egress, refused: &Mutex<BTreeSet<String>>) -> io::Result<()> {
    let Ok(head) = timeout(HEAD_WAIT, read_head(&mut client)).await else {
        return answer(&mut client, "408 Request Timeout", "the request did not end").await;
    };
    let (head, surplus) = head?;
    let Some(request) = Request::read(&head) else {
        return answer(&mut client, "400 Bad Request", "only CONNECT and http are spoken here").await;
    };
    match reach(&request, rules).await {
        Ok(mut server) => {
            if request.is_tunnel {
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            } else {
                server.write_all(request.rewritten(&head).as_bytes()).await?;
            }
            server.write_all(&surplus).await?;
            copy_bidirectional(&mut client, &mut server).await.map(drop)
        }
        Err(reason) => {
            note(refused, format!("{}:{}: {reason}", request.host, request.port));
            answer(&mut client, "403 Forbidden", &reason).await
        }
    }
}

fn note(refused: &Mutex<BTreeSet<String>>, what: String) {
    let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.len() < REFUSALS {
        refused.insert(what);
    }
}

async fn answer(client: &mut UnixStream, status: &str, reason: &str) -> io::Result<()> {
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{reason}\n",
        reason.len() + 1
    );
    client.write_all(text.as_bytes()).await?;
    client.shutdown().await
}

/// The head without its empty line, and what came after it.
async fn read_head(client: &mut UnixStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let surplus = bytes.split_off(end + 4);
            bytes.truncate(end);
            let head = String::from_utf8(bytes).map_err(io::Error::other)?;
            return Ok((head, surplus));
        }
        if bytes.len() > HEAD_BYTES || client.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::other("no request"));
        }
    }
}

/// Connects to an address that the name has now; it is not resolved a second time.
async fn reach(request: &Request, rules: &Egress) -> Result<TcpStream, String> {
    let (host, port) = (request.host.as_str(), request.port);
    if !rules.allows(host, port) {
        return Err("not on the allow-list".to_owned());
    }
    let resolved = match timeout(CONNECT_WAIT, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.collect::<Vec<SocketAddr>>(),
        Ok(Err(error)) => return Err(format!("its name cannot be resolved: {error}")),
        Err(_) => return Err("its name is not resolved in time".to_owned()),
    };
    let allowed = resolved.iter().filter(|address| rules.allows_address(host, port, address.ip()));
    let mut problem = "it has only addresses of an inner network".to_owned();
    for address in allowed {
        match timeout(CONNECT_WAIT, TcpStream::connect(address)).await {
            Ok(Ok(server)) => return Ok(server),
            Ok(Err(error)) => problem = format!("it cannot be reached: {error}"),
            Err(_) => problem = "it does not answer".to_owned(),
        }
    }
    Err(problem)
}

struct Request {
    host: String,
    port: u16,
    is_tunnel: bool,
    method: String,
    /// What the server is asked for.
    path: String,
}

impl Request {
    fn read(head: &str) -> Option<Self> {
        let mut words = head.lines().next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if !version.starts_with("HTTP/1.") || words.next().is_some() {
            return None;
        }
        let is_tunnel = method == "CONNECT";
        let (authority, path) = if is_tunnel {
            (target, "")
        } else {
            let (scheme, rest) = target.split_once("://")?;
            if !scheme.eq_ignore_ascii_case("http") {
                return None;
            }
            rest.find('/').map_or((rest, "/"), |at| rest.split_at(at))
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None if is_tunnel => return None,
            None => (authority, 80),
        };
        // A name with credentials before it is no name.
        let is_name = !host.is_empty() && !host.contains(['@', '[', ']', '/']);
        is_name.then(|| Self {
            host: host.to_owned(),
            port,
            is_tunnel,
            method: method.to_owned(),
            path: path.to_owned(),
        })
    }

    /// The head as the server wants it: the path alone, its own name, one request per connection.
    fn rewritten(&self, head: &str) -> String {
        let port = if self.port == 80 { String::new() } else { format!(":{}", self.port) };
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {}{port}\r\n", self.method, self.path, self.host);
        for line in head.lines().skip(1) {
            let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
            let ours = ["host", "connection", "proxy-connection", "proxy-authorization", "keep-alive"];
            if !ours.contains(&name.as_str()) {
                text.push_str(line);
                text.push_str("\r\n");
            }
        }
        text.push_str("Connection: close\r\n\r\n");
        text
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_or_refused() {
        let request = Request::read("CONNECT index.example:443 HTTP/1.1\r\nHost: x").unwrap();
        assert_eq!((request.host.as_str(), request.port, request.is_tunnel), ("index.example", 443, true));
        let head =
            "GET http://index.example/a?b HTTP/1.1\r\nHost: other\r\nAccept: */*\r\nProxy-Connection: k";
        let request = Request::read(head).unwrap();
        assert_eq!(
            request.rewritten(head),
            "GET /a?b HTTP/1.1\r\nHost: index.example\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        for bad in [
            "GET / HTTP/1.1",
            "CONNECT index.example HTTP/1.1",
            "GET ftp://x/ HTTP/1.1",
            "GET http://x/ SPDY",
            "CONNECT u@x:443 HTTP/1.1",
            "CONNECT x:99999 HTTP/1.1",
            "",
        ] {
            assert!(Request::read(bad).is_none(), "{bad}");
        }
    }
}
