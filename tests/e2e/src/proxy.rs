//! A TCP proxy between one process and NATS that does to the line what lines do: it delays, goes silent in one
//! direction, loses answers to what was delivered, and breaks.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How the line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// As it should be.
    Good,
    /// Whatever passes takes so long.
    Slow(Duration),
    /// What the process says arrives; the answers are lost.
    LosesAnswers,
    /// What the process says is lost; what it is sent arrives.
    LosesRequests,
    /// Nothing passes, and no connection ends.
    Silent,
}

impl Line {
    fn loses(self, direction: Direction) -> bool {
        match self {
            Self::Good | Self::Slow(_) => false,
            Self::LosesAnswers => direction == Direction::ToProcess,
            Self::LosesRequests => direction == Direction::ToServer,
            Self::Silent => true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToProcess,
}

/// A proxy on a port of its own. It ends with this value.
pub struct Proxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
    /// Grows with each cut: connections of before end.
    cuts: watch::Sender<u64>,
    _listening: JoinSet<()>,
}

impl Proxy {
    /// Between whoever connects and `server`.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (line, cuts) = (watch::Sender::new(Line::Good), watch::Sender::new(0));
        let (of_line, of_cuts) = (line.subscribe(), cuts.subscribe());
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((process, _)) = listener.accept().await {
                // Nobody answers here either: the process sees that the server is away.
                let Ok(server) = TcpStream::connect(server).await else { continue };
                connections.spawn(carry(process, server, of_line.clone(), of_cuts.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, line, cuts, _listening: listening }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the line. Bytes that were lost are lost for good: the connections that lost some are cut as
    /// soon as the line is good again.
    pub fn set(&self, line: Line) {
        let before = self.line.send_replace(line);
        let lost = before.loses(Direction::ToServer) || before.loses(Direction::ToProcess);
        if lost && line != before {
            self.cut();
        }
    }

    /// Breaks every connection.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(
    process: TcpStream,
    server: TcpStream,
    line: watch::Receiver<Line>,
    mut cuts: watch::Receiver<u64>,
) {
    for stream in [&process, &server] {
        let _faster = stream.set_nodelay(true);
    }
    let (from_process, to_process) = process.into_split();
    let (from_server, to_server) = server.into_split();
    cuts.mark_unchanged();
    tokio::select! {
        () = pump(from_process, to_server, line.clone(), Direction::ToServer) => {}
        () = pump(from_server, to_process, line, Direction::ToProcess) => {}
        _cut = cuts.changed() => {}
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    line: watch::Receiver<Line>,
    direction: Direction,
) {
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let now = *line.borrow();
        if now.loses(direction) {
            continue;
        }
        if let Line::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every byte with the same byte.
    async fn echo() -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ended = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (address, serving)
    }

    async fn answers(stream: &mut TcpStream) -> bool {
        stream.write_all(b"x").await.unwrap();
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(300), stream.read_exact(&mut byte)).await;
        matches!(read, Ok(Ok(_)))
    }

    #[tokio::test]
    async fn the_line_loses_what_it_is_told_to_and_is_cut_when_it_is_good_again() {
        let (server, _serving) = echo().await;
        let proxy = Proxy::start(server).await;
        let connect = async || TcpStream::connect(proxy.address()).await.unwrap();
        let mut stream = connect().await;
        assert!(answers(&mut stream).await);
        proxy.set(Line::Slow(Duration::from_millis(20)));
        let asked = std::time::Instant::now();
        assert!(answers(&mut stream).await && asked.elapsed() >= Duration::from_millis(40));
        for line in [Line::LosesAnswers, Line::LosesRequests, Line::Silent] {
            proxy.set(Line::Good);
            let mut stream = connect().await;
            assert!(answers(&mut stream).await);
            proxy.set(line);
            assert!(!answers(&mut stream).await, "{line:?}");
            proxy.set(Line::Good);
            let mut rest = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
            assert!(ended.is_ok(), "a connection that lost bytes ends: {line:?}");
        }
    }
}
