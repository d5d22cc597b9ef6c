//! The JSON API of JetStream (`$JS.API.…`).

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::NatsBroker;
use super::connection::RequestFailure;
use crate::broker::BrokerError;

/// No message at that sequence or on that subject.
pub(super) const MESSAGE_NOT_FOUND: u32 = 10_037;
/// The payload is larger than the stream takes.
pub(super) const MESSAGE_TOO_LARGE: u32 = 10_054;
/// The expected sequence is not the last; the second is the same, found later on the way.
pub(super) const WRONG_LAST_SEQUENCE: [u32; 2] = [10_071, 10_164];
const STREAM_NOT_FOUND: u32 = 10_059;
const CONSUMER_NOT_FOUND: u32 = 10_014;
const STREAM_NAME_IN_USE: u32 = 10_058;
const CONSUMER_EXISTS: [u32; 3] = [10_013, 10_105, 10_148];

/// The server's reason for not doing something.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{description} (JetStream error {err_code})")]
pub struct ApiError {
    /// The stable number of the reason (nats-server `errors.json`).
    #[serde(default)]
    pub err_code: u32,
    /// In words.
    #[serde(default)]
    pub description: String,
}

impl ApiError {
    /// What was to be created is there already.
    pub(crate) fn says_it_exists(&self) -> bool {
        self.err_code == STREAM_NAME_IN_USE || CONSUMER_EXISTS.contains(&self.err_code)
    }

    pub(super) fn says_it_is_missing(&self) -> bool {
        matches!(self.err_code, STREAM_NOT_FOUND | CONSUMER_NOT_FOUND)
    }
}

impl NatsBroker {
    /// Asks `$JS.API.<verb>`. The inner result is the server's answer, the outer one the way to it.
    pub async fn api(&self, verb: &str, body: &Value) -> Result<Result<Value, ApiError>, BrokerError> {
        let subject = format!("$JS.API.{verb}");
        let payload = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let answer =
            self.request(&subject, None, payload).await.map_err(|failure| self.explain(failure, verb))?;
        let mut answer: Value = serde_json::from_slice(&answer.payload)
            .map_err(|error| failed(verb, format!("an answer that is no JSON: {error}")))?;
        match answer.get_mut("error").map(Value::take) {
            None => Ok(Ok(answer)),
            Some(error) => {
                let error = serde_json::from_value(error).map_err(|error| failed(verb, error.to_string()))?;
                Ok(Err(error))
            }
        }
    }

    /// The configuration of a stream as the server has it; `None` when there is no such stream.
    pub(crate) async fn stream_config(&self, stream: &str) -> Result<Option<Value>, BrokerError> {
        self.config(&format!("STREAM.INFO.{stream}")).await
    }

    /// The configuration of a consumer as the server has it; `None` when there is no such consumer.
    pub(crate) async fn consumer_config(
        &self,
        stream: &str,
        durable: &str,
    ) -> Result<Option<Value>, BrokerError> {
        self.config(&format!("CONSUMER.INFO.{stream}.{durable}")).await
    }

    /// Deliveries of a consumer that are unanswered just now; `None` when there is no such consumer.
    pub(crate) async fn unanswered(&self, stream: &str, durable: &str) -> Result<Option<u64>, BrokerError> {
        let info = self.info(&format!("CONSUMER.INFO.{stream}.{durable}")).await?;
        Ok(info.and_then(|info| info.get("num_ack_pending").and_then(Value::as_u64)))
    }

    async fn config(&self, verb: &str) -> Result<Option<Value>, BrokerError> {
        Ok(self.info(verb).await?.and_then(|mut info| info.get_mut("config").map(Value::take)))
    }

    async fn info(&self, verb: &str) -> Result<Option<Value>, BrokerError> {
        match self.api(verb, &Value::Null).await? {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.says_it_is_missing() => Ok(None),
            Err(error) => Err(failed(verb, error.to_string())),
        }
    }

    pub(super) fn explain(&self, failure: RequestFailure, operation: &str) -> BrokerError {
        match failure {
            RequestFailure::Timeout => {
                BrokerError::Timeout { operation: operation.to_owned(), after: self.request_timeout }
            }
            RequestFailure::Forbidden => BrokerError::Forbidden { operation: operation.to_owned() },
            RequestFailure::NobodyListens => {
                failed(operation, "JetStream does not answer: is it enabled, and ready?")
            }
            RequestFailure::TooLarge => failed(operation, "larger than the server takes"),
            RequestFailure::Other(message) => failed(operation, message),
        }
    }
}

pub(super) fn failed(operation: &str, message: impl Into<String>) -> BrokerError {
    BrokerError::Failed { operation: operation.to_owned(), message: message.into() }
}

/// What an API error on a stream means to the caller of the seam.
pub(super) fn stream_error(operation: &str, stream: &str, error: &ApiError) -> BrokerError {
    if error.says_it_is_missing() {
        BrokerError::Missing { what: format!("stream {stream}") }
    } else {
        failed(operation, error.to_string())
    }
}
