//! One bounded GET, and the commit in its answer.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The most that is read of an answer.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// How much of an answer is shown to people.
const EXCERPT_CHARACTERS: usize = 120;

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("nothing listens: {0}")]
    Connect(#[source] std::io::Error),
    #[error("not HTTP as expected: {0}")]
    Protocol(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("nothing within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

pub(super) async fn get(host: &str, port: u16, path: &str, deadline: Duration) -> Result<Answer, HttpError> {
    tokio::time::timeout(deadline, exchange(host, port, path))
        .await
        .unwrap_or(Err(HttpError::TimedOut(deadline)))
}

async fn exchange(host: &str, port: u16, path: &str) -> Result<Answer, HttpError> {
    let stream = TcpStream::connect((host, port)).await.map_err(HttpError::Connect)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(protocol)?;
    let request = Request::get(path)
        .header("host", format!("{host}:{port}"))
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(protocol)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(protocol)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_BODY_BYTES)
            .collect()
            .await
            .map_err(HttpError::Protocol)?;
        Ok(Answer { status, body: body.to_bytes().into() })
    };
    // The connection is driven here, not in a task that could outlive the deadline. Its own error is
    // the answer's error, too.
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

/// The commit that an answer names: bare, or a JSON object's `commit`, `sha` or `version`. Anything that
/// is not 7 to 64 hexadecimal digits is not a commit.
pub(super) fn reported_sha(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    if let Some(sha) = as_sha(text) {
        return Some(sha);
    }
    let object: serde_json::Value = serde_json::from_str(text).ok()?;
    ["commit", "sha", "version"].iter().find_map(|field| as_sha(object.get(field)?.as_str()?))
}

/// The beginning of an answer, on one line.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(EXCERPT_CHARACTERS).collect()
}

fn as_sha(text: &str) -> Option<String> {
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hexadecimal && (7..=64).contains(&text.len())).then(|| text.to_ascii_lowercase())
}

fn protocol(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> HttpError {
    HttpError::Protocol(error.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_found_bare_and_in_json() {
        let sha = "a".repeat(40);
        for body in [
            format!("{sha}\n"),
            sha.to_uppercase(),
            format!(r#"{{"commit":"{sha}"}}"#),
            format!(r#"{{"name":"x","sha":"{sha}"}}"#),
            format!(r#"{{"version":"{sha}"}}"#),
            format!(r#"{{"version":"1.2.3","commit":"{sha}"}}"#),
        ] {
            assert_eq!(reported_sha(body.as_bytes()), Some(sha.clone()), "{body}");
        }
    }

    #[test]
    fn anything_else_is_no_commit() {
        for body in ["", "1.2.3", "null", "{}", r#"{"version":"1.2.3"}"#, "<html>", "\u{fffd}"] {
            assert_eq!(reported_sha(body.as_bytes()), None, "{body}");
        }
        assert_eq!(reported_sha(&[0xff, 0xfe]), None);
    }
}
