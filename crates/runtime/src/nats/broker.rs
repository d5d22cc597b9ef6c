//! The seam [`Broker`] on the connection.

use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::NatsBroker;
use super::api::{ApiError, MESSAGE_NOT_FOUND, MESSAGE_TOO_LARGE, WRONG_LAST_SEQUENCE, failed, stream_error};
use super::connection::{RequestFailure, connected, refused};
use super::consumer::NatsConsumer;
use super::message::{RawMessage, from_direct};
use crate::broker::{
    Append, AppendError, Appended, Broker, BrokerError, Consumer, Stored, StreamState, wire,
};
use crate::inspect::Inspect;

/// Messages and bytes that one direct read asks for at a time: enough to be quick, little enough to hold.
const PAGE_MESSAGES: usize = 500;
const PAGE_BYTES: usize = 8 * 1024 * 1024;

#[async_trait]
impl Broker for NatsBroker {
    async fn append(&self, append: &Append) -> Result<Appended, AppendError> {
        let subject = || append.subject.clone();
        let mut headers = HeaderMap::new();
        for (name, value) in wire::headers(append) {
            headers.append(name, value);
        }
        let headers = (!headers.is_empty()).then_some(headers);
        let payload = Bytes::from(append.payload.clone());
        let answer = self.request(&append.subject, headers, payload).await;
        let answer = answer.map_err(|failure| match failure {
            RequestFailure::Timeout => AppendError::Timeout { subject: subject() },
            RequestFailure::Forbidden => AppendError::Forbidden { subject: subject() },
            RequestFailure::TooLarge => {
                AppendError::TooLarge { subject: subject(), bytes: append.payload.len() }
            }
            RequestFailure::NobodyListens => BrokerError::Missing {
                what: format!("a stream for {} (it should be {})", append.subject, append.stream),
            }
            .into(),
            RequestFailure::Other(message) => failed(&append_name(append), message).into(),
        })?;
        read_publish_ack(append, &answer.payload)
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<Option<Stored>, BrokerError> {
        self.leader_get(stream, &json!({ "last_by_subj": subject })).await
    }

    async fn get(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, BrokerError> {
        // Sequence 0 would ask for the last message.
        if sequence == 0 {
            return Ok(None);
        }
        self.leader_get(stream, &json!({ "seq": sequence })).await
    }

    async fn read(
        &self,
        stream: &str,
        subject: Option<&str>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, BrokerError> {
        let mut messages: Vec<Stored> = Vec::new();
        let mut next = from.max(1);
        while messages.len() < limit {
            let page = self.direct_read(stream, subject, next, limit - messages.len()).await?;
            let Some(last) = page.messages.last() else { break };
            next = last.sequence + 1;
            messages.extend(page.messages);
            if !page.has_more {
                break;
            }
        }
        Ok(messages)
    }

    async fn stream_state(&self, stream: &str) -> Result<StreamState, BrokerError> {
        #[derive(Deserialize)]
        struct Info {
            state: State,
        }
        #[derive(Deserialize)]
        struct State {
            messages: u64,
            first_seq: u64,
            last_seq: u64,
        }
        let verb = format!("STREAM.INFO.{stream}");
        let info = self.stream_api(&verb, stream, &Value::Null).await?;
        let Info { state } =
            serde_json::from_value(info).map_err(|error| failed(&verb, error.to_string()))?;
        Ok(StreamState { first: state.first_seq, last: state.last_seq, messages: state.messages })
    }

    async fn purge_subject(&self, stream: &str, subject: &str) -> Result<(), BrokerError> {
        let verb = format!("STREAM.PURGE.{stream}");
        self.stream_api(&verb, stream, &json!({ "filter": subject })).await?;
        Ok(())
    }

    async fn consumer(&self, stream: &str, durable: &str) -> Result<Box<dyn Consumer>, BrokerError> {
        Ok(Box::new(NatsConsumer::attach(self, stream, durable).await?))
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        Some(self)
    }
}

struct Page {
    messages: Vec<Stored>,
    has_more: bool,
}

impl NatsBroker {
    async fn stream_api(&self, verb: &str, stream: &str, body: &Value) -> Result<Value, BrokerError> {
        self.api(verb, body).await?.map_err(|error| stream_error(verb, stream, &error))
    }

    async fn leader_get(&self, stream: &str, body: &Value) -> Result<Option<Stored>, BrokerError> {
        let verb = format!("STREAM.MSG.GET.{stream}");
        let mut answer = match self.api(&verb, body).await? {
            Ok(answer) => answer,
            Err(error) if error.err_code == MESSAGE_NOT_FOUND => return Ok(None),
            Err(error) => return Err(stream_error(&verb, stream, &error)),
        };
        let message = answer.get_mut("message").map(Value::take).unwrap_or_default();
        let message: RawMessage =
            serde_json::from_value(message).map_err(|error| failed(&verb, error.to_string()))?;
        let stored = message.into_stored(stream);
        stored.map(Some).ok_or_else(|| failed(&verb, "a message that cannot be read"))
    }

    /// One batch of a direct read (NATS ADR-31): messages, then a status.
    async fn direct_read(
        &self,
        stream: &str,
        subject: Option<&str>,
        from: u64,
        limit: usize,
    ) -> Result<Page, BrokerError> {
        let mut body = json!({ "seq": from, "batch": limit.min(PAGE_MESSAGES), "max_bytes": PAGE_BYTES });
        if let (Some(subject), Some(fields)) = (subject, body.as_object_mut()) {
            fields.insert("next_by_subj".to_owned(), Value::from(subject));
        }
        let operation = format!("DIRECT.GET.{stream}");
        let asked = format!("$JS.API.{operation}");
        let mut refusals = self.refusals();
        let inbox = self.client.new_inbox();
        let send_failed = |error: &dyn std::fmt::Display| failed(&operation, error.to_string());
        let late = || BrokerError::Timeout { operation: operation.clone(), after: self.request_timeout };
        let deadline = Instant::now() + self.request_timeout;
        if !connected(&self.client, deadline).await {
            return Err(late());
        }
        let ask = async {
            let answers = self.client.subscribe(inbox.clone()).await.map_err(|error| send_failed(&error))?;
            self.client
                .publish_with_reply(asked.clone(), inbox, Bytes::from(body.to_string()))
                .await
                .map_err(|error| send_failed(&error))?;
            Ok::<_, BrokerError>(answers)
        };
        let mut answers = timeout_at(deadline, ask).await.map_err(|_| late())??;
        let mut messages = Vec::new();
        loop {
            let answer = tokio::select! {
                biased;
                answer = next(&mut answers, self.request_timeout) => answer,
                () = refused(&mut refusals, |subject| subject == asked) => {
                    return Err(BrokerError::Forbidden { operation });
                }
            };
            let Some(answer) = answer else {
                return Err(late());
            };
            match answer.status.map(|status| status.as_u16()) {
                None => messages.push(
                    from_direct(stream, &answer)
                        .ok_or_else(|| failed(&operation, "a message that cannot be read"))?,
                ),
                Some(204) => return Ok(Page { messages, has_more: has_more(&answer) }),
                Some(404) => return Ok(Page { messages, has_more: false }),
                Some(503) => return Err(BrokerError::Missing { what: format!("stream {stream}") }),
                Some(status) => {
                    let words = answer.description.unwrap_or_default();
                    return Err(failed(&operation, format!("{status} {words}")));
                }
            }
        }
    }
}

async fn next(answers: &mut Subscriber, within: Duration) -> Option<Message> {
    tokio::time::timeout(within, answers.next()).await.ok().flatten()
}

fn has_more(end: &Message) -> bool {
    let pending = end.headers.as_ref().and_then(|headers| headers.get_last("Nats-Num-Pending"));
    pending.is_some_and(|pending| pending.as_str() != "0")
}

fn append_name(append: &Append) -> String {
    format!("append on {}", append.subject)
}

/// What the stream says to a publish. It must be our stream: another one may have taken the subject.
fn read_publish_ack(append: &Append, answer: &[u8]) -> Result<Appended, AppendError> {
    #[derive(Deserialize)]
    struct PublishAck {
        #[serde(default)]
        stream: String,
        #[serde(default)]
        seq: u64,
        #[serde(default)]
        duplicate: bool,
        error: Option<ApiError>,
    }
    let subject = || append.subject.clone();
    let ack: PublishAck =
        serde_json::from_slice(answer).map_err(|error| failed(&append_name(append), error.to_string()))?;
    match ack.error {
        None if ack.stream == append.stream => Ok(Appended { sequence: ack.seq, duplicate: ack.duplicate }),
        None => {
            let message = format!("stream {} took it instead of {}", ack.stream, append.stream);
            Err(failed(&append_name(append), message).into())
        }
        Some(error) if WRONG_LAST_SEQUENCE.contains(&error.err_code) => {
            Err(AppendError::Conflict { subject: subject() })
        }
        Some(error) if error.err_code == MESSAGE_TOO_LARGE => {
            Err(AppendError::TooLarge { subject: subject(), bytes: append.payload.len() })
        }
        Some(error) => Err(failed(&append_name(append), error.to_string()).into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn both_codes_for_a_wrong_sequence_are_a_conflict() {
        let append = Append::new("S", "s.1", Vec::new());
        for code in [10_071, 10_164] {
            let answer = format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"x"}}}}"#);
            let answer = read_publish_ack(&append, answer.as_bytes());
            assert!(matches!(answer, Err(AppendError::Conflict { .. })), "{code}");
        }
    }

    #[test]
    fn the_wrong_stream_is_no_success() {
        let append = Append::new("S", "s.1", Vec::new());
        let right = read_publish_ack(&append, br#"{"stream":"S","seq":4}"#).unwrap();
        assert_eq!(right, Appended { sequence: 4, duplicate: false });
        let wrong = read_publish_ack(&append, br#"{"stream":"OTHER","seq":4}"#).unwrap_err();
        assert!(wrong.to_string().contains("OTHER took it instead of S"), "{wrong}");
    }
}
