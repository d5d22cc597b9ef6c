//! What the nats-server says about its consumers, over its monitoring port: nothing of Millrace is asked.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

/// A durable consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// Its stream.
    pub stream: String,
    /// Its name.
    pub durable: String,
    /// Messages that it has not been given.
    pub pending: u64,
    /// Messages that it has been given and that nobody answered.
    pub unanswered: u64,
}

impl Lag {
    /// Nothing waits for it.
    pub fn is_zero(&self) -> bool {
        self.pending == 0 && self.unanswered == 0
    }
}

/// Every consumer of every stream; `None` while the server does not answer.
pub fn consumers(monitor: SocketAddr) -> Option<Vec<Lag>> {
    let answer = get(monitor, "/jsz?accounts=true&streams=true&consumers=true")?;
    let mut consumers = Vec::new();
    for account in answer["account_details"].as_array()? {
        for stream in account["stream_detail"].as_array().into_iter().flatten() {
            for consumer in stream["consumer_detail"].as_array().into_iter().flatten() {
                consumers.push(Lag {
                    stream: stream["name"].as_str()?.to_owned(),
                    durable: consumer["name"].as_str()?.to_owned(),
                    pending: consumer["num_pending"].as_u64()?,
                    unanswered: consumer["num_ack_pending"].as_u64()?,
                });
            }
        }
    }
    (!consumers.is_empty()).then_some(consumers)
}

fn get(address: SocketAddr, path: &str) -> Option<Value> {
    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer);
    let (_, body) = text.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}
