//! What could not be handled is recorded, so that it blocks nothing and can be replayed. The log that it
//! stands in keeps its bytes.
//!
//! All records about one message and one service stand under one key: the first failure, and what came of
//! each replay.

use millrace_decider::Cause;
use millrace_events::{
    CONTENT_TYPE_PROTOBUF, DeadLetterEvent, Envelope, Event, Key, Log, event_id,
    v1::{DeadLetterReplayed, DeadLettered, Failure},
};

use super::Hosted;
use super::pump::{Host, HostError};
use super::replay::Request;
use crate::broker::{Append, AppendError, BrokerError, Stored};

/// Longest subject that is recorded.
const MAX_SUBJECT_CHARS: usize = 256;
/// Pauses while the log of dead letters cannot be written.
const PAUSES: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_millis(50), std::time::Duration::from_secs(2));

/// The last record about a message.
pub(super) struct Last {
    /// Its sequence.
    pub(super) sequence: u64,
    /// What it says; `None` where this version cannot read it.
    pub(super) event: Option<DeadLetterEvent>,
}

impl<H: Hosted> Host<H> {
    /// Records a dead letter, once: a redelivery finds the record. Keeps trying, for what is not recorded
    /// must not be acknowledged.
    pub(super) async fn bury(
        &self,
        message: &Stored,
        failure: Failure,
        attempts: u32,
    ) -> Result<(), HostError> {
        self.counters.dead_lettered.one_more();
        let place = Cause::new(message.stream.clone(), message.sequence);
        let event = given_up::<H>(&place, &message.subject, failure, attempts, 0);
        let mut backoff = self.backoff(PAUSES.0, PAUSES.1);
        loop {
            match self.append_record(&place, &place, &event, 0).await {
                Ok(_) => return Ok(()),
                Err(AppendError::Forbidden { subject }) => return Err(HostError::Forbidden { subject }),
                Err(error) => tracing::warn!(%error, "cannot record a dead letter; trying again"),
            }
            self.clock.sleep(backoff.pause()).await;
        }
    }

    /// Records what came of a replay after the record `last`. `false`: another record came in between.
    pub(super) async fn record_replay(
        &self,
        request: &Request,
        subject: &str,
        outcome: Result<(), (Failure, u32)>,
        last: u64,
    ) -> Result<bool, HostError> {
        let replay = request.position.sequence;
        let event: Event = match outcome {
            Ok(()) => DeadLetterReplayed {
                stream: request.message.stream.clone(),
                sequence: request.message.sequence,
                service: H::SERVICE.name().to_owned(),
                replay,
            }
            .into(),
            Err((failure, attempts)) => given_up::<H>(&request.message, subject, failure, attempts, replay),
        };
        let mut backoff = self.backoff(PAUSES.0, PAUSES.1);
        loop {
            match self.append_record(&request.message, &request.position, &event, last).await {
                Ok(recorded) => return Ok(recorded),
                Err(AppendError::Forbidden { subject }) => return Err(HostError::Forbidden { subject }),
                Err(error) => tracing::warn!(%error, "cannot record a replay; trying again"),
            }
            self.clock.sleep(backoff.pause()).await;
        }
    }

    /// The last record about a message of this service.
    pub(super) async fn last_record(&self, message: &Cause) -> Result<Option<Last>, BrokerError> {
        let (stream, subject) = self.place_of_records(message);
        let Some(stored) = self.log.broker.last(&stream, &subject).await? else { return Ok(None) };
        let event = Envelope::decode(&stored.payload).ok().and_then(|envelope| envelope.event().ok()?);
        let event = match event {
            Some(Event::DeadLetter(event)) => Some(event),
            _ => None,
        };
        Ok(Some(Last { sequence: stored.sequence, event }))
    }

    /// Appends a record if `last` is the last one. `false`: it is not.
    async fn append_record(
        &self,
        message: &Cause,
        cause: &Cause,
        event: &Event,
        last: u64,
    ) -> Result<bool, AppendError> {
        let id = event_id(cause, H::SERVICE.name(), event.name(), 0);
        let key = Key::dead_letter(message, H::SERVICE.name());
        let mut envelope = Envelope::new(id.to_string(), H::SERVICE.source(), key, self.clock.now(), event);
        envelope.cause = Some(cause.clone());
        let (stream, subject) = self.place_of_records(message);
        let append = Append::new(stream, subject, envelope.encode())
            .content_type(CONTENT_TYPE_PROTOBUF)
            .expecting(last);
        match self.log.broker.append(&append).await {
            Ok(_) => Ok(true),
            Err(AppendError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn place_of_records(&self, message: &Cause) -> (String, String) {
        let key = Key::dead_letter(message, H::SERVICE.name());
        let partitions = self.log.partitions;
        (Log::DeadLetter.stream(key.partition(partitions)), Log::DeadLetter.subject(&key, partitions))
    }
}

fn given_up<H: Hosted>(
    message: &Cause,
    subject: &str,
    failure: Failure,
    attempts: u32,
    replay: u64,
) -> Event {
    DeadLettered {
        stream: message.stream.clone(),
        sequence: message.sequence,
        subject: subject.chars().take(MAX_SUBJECT_CHARS).collect(),
        service: H::SERVICE.name().to_owned(),
        failure: Some(failure.from_source(H::SERVICE.name())),
        attempts,
        replay,
    }
    .into()
}
