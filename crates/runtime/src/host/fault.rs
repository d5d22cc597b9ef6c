//! The world failed.

use std::error::Error;

use millrace_events::{Code, v1::Failure};

use crate::blobs::BlobError;
use crate::broker::{AppendError, BrokerError};

/// Why an effect could not be done. Never a decision: the host tries again, then gives up.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind of failure it is, should it last.
    pub code: Code,
    /// What happened to what.
    pub message: String,
    /// Whether trying again makes sense.
    pub retry: bool,
    /// It is NATS that does not answer. That is waited out and never counts as a try: an outage of the
    /// broker must not become a decision.
    pub waits: bool,
    /// The error underneath.
    #[source]
    pub cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A fault that may pass.
    pub fn transient(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry: true, waits: false, cause: None }
    }

    /// A fault that will not pass.
    pub fn lasting(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry: false, waits: false, cause: None }
    }

    /// With the error underneath.
    pub fn caused_by(mut self, error: impl Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Box::new(error));
        self
    }

    /// As a failure for an event.
    pub fn to_failure(&self, source: &str, stage: &str) -> Failure {
        let failure = Failure::new(self.code, &self.message).from_source(source).at_stage(stage);
        match &self.cause {
            Some(error) => failure.caused_by(error.as_ref()),
            None => failure,
        }
    }
}

impl From<BrokerError> for Fault {
    fn from(error: BrokerError) -> Self {
        let waits = is_outage(&error);
        let fault = Self::transient(Code::Internal, "NATS did not do what it was asked for");
        Self { waits, ..fault.caused_by(error) }
    }
}

impl From<BlobError> for Fault {
    fn from(error: BlobError) -> Self {
        let waits = match &error {
            BlobError::Broker(error) | BlobError::Append { source: AppendError::Broker(error), .. } => {
                is_outage(error)
            }
            BlobError::Append { source: AppendError::Timeout { .. }, .. } => true,
            _ => false,
        };
        let message = "the content-addressed store did not do what it was asked for";
        Self { waits, ..Self::transient(Code::Internal, message).caused_by(error) }
    }
}

/// Whether NATS is away. A server that is being stopped or has just started says that a stream is missing,
/// while its clients are still, or again, connected: an answer that is waited out like none.
fn is_outage(error: &BrokerError) -> bool {
    !matches!(error, BrokerError::Forbidden { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F13: a server that is stopped in order takes its streams away before it ends its connections.
    #[test]
    fn a_stream_that_is_missing_for_a_moment_is_waited_for_and_a_refusal_is_not() {
        let missing = || BrokerError::Missing { what: "stream S".to_owned() };
        assert!(Fault::from(missing()).waits);
        assert!(Fault::from(BlobError::Broker(missing())).waits);
        let source = AppendError::Broker(missing());
        assert!(Fault::from(BlobError::Append { digest: "d".to_owned(), source }).waits);
        assert!(!Fault::from(BrokerError::Forbidden { operation: "get".to_owned() }).waits);
    }
}
