//! As much HTTP/1.1 as it takes, by hand, so that it can be broken on purpose.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::replies::{Response, Sending};
use super::wire::Wire;
use super::{Recorded, State, contract_of, lock, replies};

pub(super) async fn serve(listener: std::net::TcpListener, state: Arc<Mutex<State>>) {
    let listener = TcpListener::from_std(listener).expect("a listener for tokio");
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move { converse(stream, &state).await });
    }
}

/// One request, one answer, end of connection.
async fn converse(mut stream: TcpStream, state: &Mutex<State>) {
    let Some(request) = read(&mut stream).await else { return };
    let (wire, reply) = lock(state).take(request);
    let key = lock(state).key.clone();
    let response = match (wire, reply) {
        (Some(wire), Ok(reply)) => replies::response(wire, &reply, &key),
        (wire, Err(refusal)) => replies::refused(wire, &refusal),
        (None, Ok(_)) => return,
    };
    // Whoever asked may be gone already.
    let _gone = send(stream, &response).await;
}

async fn send(mut stream: TcpStream, response: &Response) -> std::io::Result<()> {
    if response.sending == Sending::Never {
        std::future::pending::<()>().await;
    }
    let mut head =
        format!("HTTP/1.1 {} Scripted\r\ncontent-length: {}\r\n", response.status, response.body.len());
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    if response.sending == Sending::Broken {
        let half = &response.body.as_bytes()[..response.body.len() / 2];
        stream.write_all(half).await?;
        stream.flush().await?;
        // With a reset, not with an orderly end.
        stream.set_zero_linger()?;
        return Ok(());
    }
    stream.write_all(response.body.as_bytes()).await?;
    stream.shutdown().await
}

async fn read(stream: &mut TcpStream) -> Option<Recorded> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?, first.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let wire = if method == "POST" { Wire::of(&path) } else { None };
    let schema = wire.and_then(|wire| wire.schema(&body));
    let contract = wire.map(|wire| contract_of(wire, &body)).unwrap_or_default();
    Some(Recorded { wire, path, headers, body, contract, schema, refusal: None })
}
