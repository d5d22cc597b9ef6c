//! A program that hands in specs, as the command line or a webhook does, and keeps its own journal of it.

use std::sync::Arc;
use std::time::Duration;

use millrace_events::v1::SpecSource;
use millrace_runtime::blobs::digest_of;
use millrace_runtime::broker::{AppendError, Broker};
use millrace_runtime::clock::{Clock as _, System};
use millrace_runtime::nats::NatsBroker;
use millrace_spec_registry::intake::{Document, HandIn, append, submission};
use tokio::time::{Instant, sleep};

use crate::journal::{Journal, Kind};

/// The identity `producer`, under a name of its own.
#[derive(Clone)]
pub struct Producer {
    name: String,
    broker: NatsBroker,
    journal: Arc<Journal>,
    /// How long it waits before it sends again what nobody answered.
    pub pause: Duration,
}

impl Producer {
    /// On this connection.
    pub fn new(name: &str, broker: NatsBroker, journal: Arc<Journal>) -> Self {
        Self { name: name.to_owned(), broker, journal, pause: Duration::from_millis(200) }
    }

    /// Hands in a spec and sends it again until it is acknowledged. Each time the same bytes under the same
    /// key, after nothing: whatever got lost on the way, the log takes it once. Panics after `within`.
    pub async fn submit(&self, repository: &str, path: &str, text: &str, within: Duration) {
        let hand_in = HandIn {
            producer: "/tests/producer",
            repository,
            path,
            commit: "",
            source: SpecSource::Intake,
            submitted_by: &self.name,
            spec: Document::Inline(text.as_bytes().to_vec()),
            plan: None,
        };
        let (key, envelope) = submission(hand_in, System.now()).expect("a submission");
        let message = append(&key, &envelope, 1).expecting(0);
        let value = digest_of(&message.payload);
        let deadline = Instant::now() + within;
        let note = |kind| self.journal.note(&self.name, "append", key.as_str(), &value, kind);
        loop {
            note(Kind::Invoke);
            match self.broker.append(&message).await {
                // A conflict: it stands there already, for the key follows from the bytes.
                Ok(_) | Err(AppendError::Conflict { .. }) => return note(Kind::Ok),
                Err(AppendError::Timeout { .. } | AppendError::Broker(_)) => note(Kind::Info),
                Err(error) => {
                    note(Kind::Fail);
                    panic!("{path}: {error}");
                }
            }
            assert!(Instant::now() < deadline, "{path} was not acknowledged within {within:?}");
            sleep(self.pause).await;
        }
    }
}
