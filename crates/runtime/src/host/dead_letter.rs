//! What could not be handled is recorded, so that it blocks nothing and can be replayed. The log that it
//! stands in keeps its bytes.

use millrace_decider::Timestamp;
use millrace_events::{
    CONTENT_TYPE_PROTOBUF, Envelope, Event, Key, Log, Service, event_id,
    v1::{DeadLettered, Failure},
};

use crate::broker::{Append, AppendError, Broker, Stored};

/// Longest subject that is recorded.
const MAX_SUBJECT_CHARS: usize = 256;

/// Records that `service` could not handle `message`. Recording it twice is one record.
pub(super) async fn record(
    broker: &dyn Broker,
    service: Service,
    partitions: u32,
    message: &Stored,
    failure: Failure,
    attempts: u32,
    now: Timestamp,
) -> Result<(), AppendError> {
    let cause = millrace_decider::Cause::new(message.stream.clone(), message.sequence);
    let id = event_id(&cause, service.name(), "DeadLettered", 0);
    let event: Event = DeadLettered {
        stream: message.stream.clone(),
        sequence: message.sequence,
        subject: message.subject.chars().take(MAX_SUBJECT_CHARS).collect(),
        service: service.name().to_owned(),
        failure: Some(failure.from_source(service.name())),
        attempts,
        replay: 0,
    }
    .into();
    // The id is a UUID, which is a key.
    let Ok(key) = Key::new(id.to_string()) else { return Ok(()) };
    let mut envelope = Envelope::new(id.to_string(), service.source(), key.clone(), now, &event);
    envelope.cause = Some(cause);
    let stream = Log::DeadLetter.stream(key.partition(partitions));
    let append = Append::new(stream, Log::DeadLetter.subject(&key, partitions), envelope.encode())
        .content_type(CONTENT_TYPE_PROTOBUF)
        .expecting(0);
    match broker.append(&append).await {
        Ok(_) | Err(AppendError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
