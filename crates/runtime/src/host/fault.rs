//! The world failed.

use std::error::Error;

use millrace_events::{Code, v1::Failure};

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
    /// The error underneath.
    #[source]
    pub cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A fault that may pass.
    pub fn transient(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry: true, cause: None }
    }

    /// A fault that will not pass.
    pub fn lasting(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry: false, cause: None }
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

impl From<crate::broker::BrokerError> for Fault {
    fn from(error: crate::broker::BrokerError) -> Self {
        Self::transient(Code::Internal, "NATS did not do what it was asked for").caused_by(error)
    }
}

impl From<crate::blobs::BlobError> for Fault {
    fn from(error: crate::blobs::BlobError) -> Self {
        Self::transient(Code::Internal, "the content-addressed store did not do what it was asked for")
            .caused_by(error)
    }
}
