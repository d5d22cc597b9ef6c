//! The wire contract of Millrace: which logs there are and who may touch them, what stands in them, in
//! which envelope, and what every error code means.
//!
//! Source of the messages: `proto/`. The Rust in `generated/` is committed; a test makes it anew and
//! compares.

pub mod catalogue;
mod envelope;
mod error_code;
mod event;
mod event_id;
mod failure;
mod generated;
mod json;
mod key;
mod message;
mod scrub;

pub use catalogue::{Log, Service};
pub use envelope::{CONTENT_TYPE_JSON, CONTENT_TYPE_PROTOBUF, Envelope, EnvelopeError, JsonEventError};
pub use error_code::{Class, Code, StatusOnFailure};
pub use event::{
    DeadLetterEvent, DeployerEvent, DispatcherEvent, Event, FailureAnalyzerEvent, IntakeEvent, LogEvent,
    OperatorEvent, ProjectorEvent, SpecRegistryEvent, ValidatorEvent, WorkerEvent,
};
pub use event_id::{event_id, submission_id};
pub use generated::v1;
pub use json::{descriptors, message_to_json};
pub use prost_types::Timestamp as WireTimestamp;

pub use message::{MessageError, key_in_subject, read_message};
pub use scrub::{TOKEN_MAKES, TokenMake, is_part_of_token, scrub};

pub use key::{Key, KeyError, TaskId, TaskIdError};

/// A point in time as the events have it.
pub fn wire_time(time: millrace_decider::Timestamp) -> prost_types::Timestamp {
    envelope::to_wire_time(time)
}

/// A point in time from an event; the epoch when it has none.
pub fn from_wire_time(time: Option<&prost_types::Timestamp>) -> millrace_decider::Timestamp {
    time.map(envelope::from_wire_time).unwrap_or_default()
}

/// Largest event, envelope included, in bytes. DESIGN section 3.
pub const MAX_EVENT_BYTES: usize = 768 * 1024;
/// Largest spec, in bytes. DESIGN section 3.
pub const MAX_SPEC_BYTES: usize = 512 * 1024;
/// Largest plan beside a spec, in bytes.
pub const MAX_PLAN_BYTES: usize = 128 * 1024;
