//! The connection: made once, kept for ever, and listened to for refusals.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, Event, HeaderMap, Message, Request, ServerError};
use bytes::Bytes;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

/// Refusals that wait to be seen. Only those who wait for an answer at that moment look at them.
const REFUSALS: usize = 256;
/// Longest pause between attempts to reconnect.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How often the server is asked whether it still lives; two unanswered questions end the connection.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How often a lost connection is looked at by whoever waits for it.
const LOOK_FOR_CONNECTION: Duration = Duration::from_millis(20);
/// How long to wait for the event of the first connection, which follows it at once.
const FIRST_EVENT: Duration = Duration::from_secs(1);

/// How to connect.
#[derive(Clone)]
pub struct ConnectOptions {
    /// One or more addresses, `nats://host:port`, separated by commas.
    pub url: String,
    /// What the server calls this connection in its own reports.
    pub name: String,
    /// Seed of the identity's nkey (`SU…`); `None` where the server wants no credentials.
    pub nkey_seed: Option<String>,
    /// First part of the subjects on which answers arrive. Permissions allow an identity its own only.
    pub inbox_prefix: String,
    /// How long the first connection may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub request_timeout: Duration,
}

impl ConnectOptions {
    /// As `identity`, such as `worker`, without credentials.
    pub fn new(url: impl Into<String>, identity: &str) -> Self {
        Self {
            url: url.into(),
            name: format!("millrace-{identity}"),
            nkey_seed: None,
            inbox_prefix: format!("_INBOX_{identity}"),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(2),
        }
    }

    /// With the seed of its nkey.
    pub fn seed(mut self, seed: impl Into<String>) -> Self {
        self.nkey_seed = Some(seed.into());
        self
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("url", &self.url)
            .field("name", &self.name)
            .field("nkey_seed", &self.nkey_seed.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

/// There is no connection.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to NATS at {url}")]
pub struct ConnectError {
    /// The address.
    pub url: String,
    /// Why.
    pub source: async_nats::ConnectError,
}

/// [`crate::broker::Broker`] on a nats-server. Cheap to clone; all clones share the connection.
#[derive(Clone)]
pub struct NatsBroker {
    pub(super) client: Client,
    pub(super) request_timeout: Duration,
    link: Arc<Link>,
}

impl fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBroker").field("server", &self.client.server_info().server_name).finish()
    }
}

/// What the connection tells of itself.
struct Link {
    /// Grows with every connection made: whatever was asked of the one before is lost.
    connections: watch::Sender<u64>,
    /// Subjects that the server has just refused.
    refusals: broadcast::Sender<String>,
}

/// What the server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its version, such as `2.15.1`.
    pub version: String,
    /// Whether JetStream is switched on.
    pub has_jetstream: bool,
    /// Largest message that it takes, in bytes.
    pub max_payload: usize,
}

/// A request that got no proper answer.
#[derive(Debug)]
pub(super) enum RequestFailure {
    Timeout,
    NobodyListens,
    Forbidden,
    TooLarge,
    Other(String),
}

impl NatsBroker {
    /// Connects. Fails when the server cannot be reached or does not let us in; once connected, it
    /// reconnects for ever.
    pub async fn connect(options: ConnectOptions) -> Result<Self, ConnectError> {
        let link =
            Arc::new(Link { connections: watch::Sender::new(0), refusals: broadcast::Sender::new(REFUSALS) });
        let listener = Arc::clone(&link);
        let mut client_options = async_nats::ConnectOptions::new()
            .name(&options.name)
            .custom_inbox_prefix(&options.inbox_prefix)
            .connection_timeout(options.connect_timeout)
            .request_timeout(Some(options.request_timeout))
            .ping_interval(PING_EVERY)
            .max_reconnects(None)
            .reconnect_delay_callback(pause_before)
            .event_callback(move |event| {
                listener.hear(event);
                std::future::ready(())
            });
        if let Some(seed) = &options.nkey_seed {
            client_options = client_options.nkey(seed.clone());
        }
        let servers: Vec<String> = options.url.split(',').map(|url| url.trim().to_owned()).collect();
        let client = client_options
            .connect(servers)
            .await
            .map_err(|source| ConnectError { url: options.url.clone(), source })?;
        // So that the event of this connection is not taken for a new one by the first consumer.
        let mut connections = link.connections.subscribe();
        let _ = tokio::time::timeout(FIRST_EVENT, connections.wait_for(|count| *count > 0)).await;
        Ok(Self { client, request_timeout: options.request_timeout, link })
    }

    /// What the server says of itself.
    pub fn server_info(&self) -> ServerInfo {
        let info = self.client.server_info();
        ServerInfo { version: info.version, has_jetstream: info.jetstream, max_payload: info.max_payload }
    }

    /// Counts connections, for whoever has to ask again after a loss.
    pub(super) fn connections(&self) -> watch::Receiver<u64> {
        self.link.connections.subscribe()
    }

    /// Listens for refusals from now on.
    pub(super) fn refusals(&self) -> broadcast::Receiver<String> {
        self.link.refusals.subscribe()
    }

    /// Sends a request and waits for its one answer. A refusal by the server's permissions, which sends no
    /// answer, comes back as [`RequestFailure::Forbidden`] at once.
    pub(super) async fn request(
        &self,
        subject: &str,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Message, RequestFailure> {
        let deadline = Instant::now() + self.request_timeout;
        if !connected(&self.client, deadline).await {
            return Err(RequestFailure::Timeout);
        }
        let mut refusals = self.refusals();
        let request = Request { payload: Some(payload), headers, ..Request::new() };
        tokio::select! {
            biased;
            answer = self.client.send_request(subject.to_owned(), request) => {
                answer.map_err(|error| match error.kind() {
                    RequestErrorKind::TimedOut => RequestFailure::Timeout,
                    RequestErrorKind::NoResponders => RequestFailure::NobodyListens,
                    RequestErrorKind::MaxPayloadExceeded => RequestFailure::TooLarge,
                    RequestErrorKind::InvalidSubject | RequestErrorKind::Other => {
                        RequestFailure::Other(error.to_string())
                    }
                })
            }
            () = refused(&mut refusals, |found| found == subject) => Err(RequestFailure::Forbidden),
            // The client counts from when the request has left its queue, which may be full.
            () = tokio::time::sleep_until(deadline + self.request_timeout) => Err(RequestFailure::Timeout),
        }
    }
}

/// Waits until there is a connection; `false`: there was none by the deadline. Without one nothing is handed
/// to the client: its queue is short, and once it is full whoever publishes waits without end.
pub(super) async fn connected(client: &Client, deadline: Instant) -> bool {
    while client.connection_state() != async_nats::connection::State::Connected {
        let now = Instant::now();
        if now >= deadline {
            return false;
        }
        tokio::time::sleep_until(deadline.min(now + LOOK_FOR_CONNECTION)).await;
    }
    true
}

/// Returns when the server refuses a subject that `is_ours`.
pub(super) async fn refused(refusals: &mut broadcast::Receiver<String>, is_ours: impl Fn(&str) -> bool) {
    loop {
        match refusals.recv().await {
            Ok(subject) if is_ours(&subject) => return,
            // After a flood of refusals ours may have been dropped: the time-out is the second line.
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Link {
    fn hear(&self, event: Event) {
        match event {
            Event::Connected => {
                tracing::info!("connected to NATS");
                self.connections.send_modify(|count| *count += 1);
            }
            Event::Disconnected => tracing::warn!("the connection to NATS is lost; reconnecting"),
            Event::ServerError(ServerError::Other(text)) => match refused_subject(&text) {
                Some(subject) => {
                    tracing::error!(
                        subject,
                        "NATS refuses this identity a subject: {text}; \
                         its permissions do not come from this version's catalogue"
                    );
                    let _ = self.refusals.send(subject.to_owned());
                }
                None => tracing::warn!("NATS reports: {text}"),
            },
            other => tracing::warn!("NATS connection: {other}"),
        }
    }
}

/// The subject in `Permissions Violation for Publish to "<subject>"` (or `Subscription to`).
fn refused_subject(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("ermissions Violation for ")?;
    rest.split('"').nth(1)
}

/// Short pauses: a service without its broker has nothing else to do.
fn pause_before(attempt: usize) -> Duration {
    let doubled = 1_u64 << attempt.clamp(1, 10);
    Duration::from_millis(doubled).min(LONGEST_PAUSE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_subject_is_read_from_the_servers_words() {
        let text = r#"Permissions Violation for Publish to "millrace.worker.0.VTID-1""#;
        assert_eq!(refused_subject(text).unwrap(), "millrace.worker.0.VTID-1");
        let text = r#"Permissions Violation for Subscription to "a.>" using queue "q""#;
        assert_eq!(refused_subject(text).unwrap(), "a.>");
        assert_eq!(refused_subject("Invalid Publish Subject"), None);
    }

    #[test]
    fn pauses_stay_short() {
        assert_eq!(pause_before(1), Duration::from_millis(2));
        assert_eq!(pause_before(1_000), LONGEST_PAUSE);
    }

    #[test]
    fn a_seed_is_never_shown() {
        let options = ConnectOptions::new("nats://127.0.0.1:4222", "worker").seed("SUSECRET");
        assert!(!format!("{options:?}").contains("SECRET"));
    }
}
