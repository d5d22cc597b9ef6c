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
        let waits = matches!(error, BrokerError::Timeout { .. } | BrokerError::Failed { .. });
        let fault = Self::transient(Code::Internal, "NATS did not do what it was asked for");
        Self { waits, ..fault.caused_by(error) }
    }
}

impl From<BlobError> for Fault {
    fn from(error: BlobError) -> Self {
        let outage =
            |error: &BrokerError| matches!(error, BrokerError::Timeout { .. } | BrokerError::Failed { .. });
        let waits = match &error {
            BlobError::Broker(error) | BlobError::Append { source: AppendError::Broker(error), .. } => {
                outage(error)
            }
            BlobError::Append { source: AppendError::Timeout { .. }, .. } => true,
            _ => false,
        };
        let message = "the content-addressed store did not do what it was asked for";
        Self { waits, ..Self::transient(Code::Internal, message).caused_by(error) }
    }
}
