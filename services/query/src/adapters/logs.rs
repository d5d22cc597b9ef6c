//! The logs over the broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::Timestamp;
use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope, Key, Log, MAX_EVENT_BYTES, wire_time};
use millrace_rpc::v1;
use millrace_runtime::broker::{Append, AppendError, Broker, BrokerError};
use millrace_runtime::kv::Kv;
use serde::Deserialize;

use crate::ports::{Logs, PortError};
use crate::rules::alarm;

/// Publishes through a [`Broker`], reads heartbeats from their bucket.
pub struct BrokerLogs {
    broker: Arc<dyn Broker>,
    heartbeats: Arc<dyn Kv>,
    partitions: u32,
}

impl BrokerLogs {
    /// Logs of that many partitions.
    pub fn new(broker: Arc<dyn Broker>, heartbeats: Arc<dyn Kv>, partitions: u32) -> Self {
        Self { broker, heartbeats, partitions }
    }
}

/// What a process says of itself.
#[derive(Debug, Deserialize)]
struct Heartbeat {
    service: String,
    instance: String,
    #[serde(default)]
    started: String,
    ready: bool,
    #[serde(default)]
    detail: String,
    /// When it was sent; empty from a process that does not say so.
    #[serde(default)]
    beat: String,
}

/// A process shows itself every 5 seconds; one that misses two of them is silent. Clocks that differ by
/// more make healthy processes look silent, and are worth being told of.
const SILENT_AFTER: Duration = Duration::from_secs(11);

#[async_trait]
impl Logs for BrokerLogs {
    async fn publish(&self, log: Log, envelope: &Envelope) -> Result<v1::Published, PortError> {
        let payload = envelope.encode();
        if payload.len() > MAX_EVENT_BYTES {
            let sentence =
                format!("the event has {} bytes, at most {MAX_EVENT_BYTES} are taken", payload.len());
            return Err(PortError::TooLarge(sentence));
        }
        let stream = log.stream(envelope.key.partition(self.partitions));
        let subject = log.subject(&envelope.key, self.partitions);
        // The message id makes a resend inside the stream's window the same message.
        let message = Append::new(&stream, subject, payload)
            .content_type(CONTENT_TYPE_PROTOBUF)
            .with_id(envelope.id.clone());
        let appended = self.broker.append(&message).await.map_err(not_published)?;
        Ok(v1::Published {
            key: envelope.key.to_string(),
            position: Some(v1::Position { stream, sequence: appended.sequence }),
            event_id: envelope.id.clone(),
            duplicate: appended.duplicate,
        })
    }

    async fn heads(&self) -> Result<BTreeMap<String, (Log, u64)>, PortError> {
        let mut heads = BTreeMap::new();
        for log in Log::ALL {
            for partition in 0..self.partitions {
                let stream = log.stream(partition);
                let last = match self.broker.stream_state(&stream).await {
                    Ok(state) => state.last,
                    // It was deleted: an alarm, and no reason to say nothing about the others.
                    Err(BrokerError::Missing { .. }) => 0,
                    Err(error) => return Err(unreadable(error)),
                };
                heads.insert(stream, (log, last));
            }
        }
        Ok(heads)
    }

    async fn alarms(&self) -> Result<Vec<v1::LogAlarm>, PortError> {
        let mut alarms = Vec::new();
        for log in Log::ALL {
            let Ok(key) = Key::new(log.name()) else { continue };
            let stream = Log::Projector.stream(key.partition(self.partitions));
            let said = match self.broker.last(&stream, &Log::Projector.subject(&key, self.partitions)).await {
                Ok(said) => said,
                // Nobody can say anything; `heads` shows that the log is gone.
                Err(BrokerError::Missing { .. }) => return Ok(alarms),
                Err(error) => return Err(unreadable(error)),
            };
            let said = said.and_then(|said| Envelope::decode(&said.payload).ok());
            alarms.extend(said.as_ref().and_then(alarm));
        }
        Ok(alarms)
    }

    async fn heartbeats(&self, now: Timestamp) -> Result<Vec<v1::ServiceHealth>, PortError> {
        let entries = self.heartbeats.entries().await.map_err(unreadable)?;
        Ok(entries.into_iter().map(|(key, entry)| process(&key, &entry.value, now)).collect())
    }
}

/// A heartbeat; one that cannot be read is shown as a process that is not ready.
fn process(key: &str, value: &[u8], now: Timestamp) -> v1::ServiceHealth {
    match serde_json::from_slice::<Heartbeat>(value) {
        Ok(beat) => {
            let silent = Timestamp::parse(&beat.beat)
                .map(|sent| now.since(sent))
                .filter(|silence| *silence > SILENT_AFTER)
                .map(|silence| format!("silent for {} s", silence.as_secs()));
            v1::ServiceHealth {
                service: beat.service,
                instance: beat.instance,
                started_at: Timestamp::parse(&beat.started).map(wire_time),
                ready: beat.ready && silent.is_none(),
                detail: silent.unwrap_or(beat.detail),
            }
        }
        Err(error) => v1::ServiceHealth {
            service: key.split('.').next().unwrap_or(key).to_owned(),
            instance: key.to_owned(),
            started_at: None,
            ready: false,
            detail: format!("its heartbeat cannot be read: {error}"),
        },
    }
}

fn not_published(error: AppendError) -> PortError {
    match error {
        AppendError::Timeout { .. } => PortError::Unknown(error.to_string()),
        AppendError::TooLarge { .. } => PortError::TooLarge(error.to_string()),
        error => PortError::unavailable("the event was not published", error),
    }
}

fn unreadable(error: BrokerError) -> PortError {
    PortError::unavailable("the logs cannot be read", error)
}
