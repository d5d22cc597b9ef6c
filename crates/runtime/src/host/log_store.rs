//! The service's own log: load a key's state, append one decision.

use std::sync::Arc;

use millrace_decider::{Cause, Context, Decider, Recorded};
use millrace_events::v1::Failure;
use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope, Event, Key, LogEvent, event_id};
use millrace_telemetry::context::{set_error, traceparent_of};
use tracing::Instrument as _;

use super::spans;
use super::state_cache::Cached;
use crate::broker::{Append, AppendError, Broker, BrokerError, Stored, follows};
use crate::log_reader;

/// Messages read at once when a state is loaded.
const READ_BATCH: usize = 256;

pub(super) struct LogStore {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) service: &'static str,
    pub(super) partitions: u32,
}

/// What an event is written with, besides itself.
pub(super) struct Writing<'a> {
    pub(super) key: &'a Key,
    pub(super) context: &'a Context,
    /// How many events this input has led to so far.
    pub(super) index: u32,
    /// The trace context that came with the input, passed on where nothing is traced here.
    pub(super) traceparent: &'a str,
    pub(super) tracestate: &'a str,
}

impl LogStore {
    fn place<E: LogEvent>(&self, key: &Key) -> (String, String) {
        (E::LOG.stream(key.partition(self.partitions)), E::LOG.subject(key, self.partitions))
    }

    /// The place of the key's event at `sequence`; `None` for 0.
    pub(super) fn position<E: LogEvent>(&self, key: &Key, sequence: u64) -> Option<Cause> {
        (sequence > 0).then(|| Cause::new(E::LOG.stream(key.partition(self.partitions)), sequence))
    }

    /// The last sequence on the key's subject, from the leader.
    pub(super) async fn last_sequence<E: LogEvent>(&self, key: &Key) -> Result<u64, BrokerError> {
        let (stream, subject) = self.place::<E>(key);
        Ok(self.broker.last(&stream, &subject).await?.map_or(0, |stored| stored.sequence))
    }

    /// Folds the key's events up to the last that the leader knows.
    pub(super) async fn load<D>(&self, decider: &D, key: &Key) -> Result<Cached<D::State>, BrokerError>
    where
        D: Decider<Event: LogEvent>,
    {
        let (stream, subject) = self.place::<D::Event>(key);
        let mut state = D::State::default();
        let Some(newest) = self.broker.last(&stream, &subject).await? else {
            return Ok(Cached { state, last: 0 });
        };
        let (mut from, mut last) = (1, 0);
        while from < newest.sequence {
            let batch = self.broker.read(&stream, Some(&subject), from, READ_BATCH).await?;
            let older: Vec<&Stored> =
                batch.iter().filter(|stored| stored.sequence < newest.sequence).collect();
            let Some(read_to) = older.last().map(|stored| stored.sequence) else { break };
            for stored in &older {
                follows(stored, last)?;
                last = stored.sequence;
                apply(decider, &mut state, stored);
            }
            if older.len() < READ_BATCH {
                break;
            }
            from = read_to + 1;
        }
        follows(&newest, last)?;
        apply(decider, &mut state, &newest);
        Ok(Cached { state, last: newest.sequence })
    }

    /// Appends `event` after `cached.last` and applies it to the state.
    pub(super) async fn append<D>(
        &self,
        decider: &D,
        cached: &mut Cached<D::State>,
        event: D::Event,
        writing: Writing<'_>,
    ) -> Result<u64, AppendError>
    where
        D: Decider<Event: LogEvent>,
    {
        let (stream, subject) = self.place::<D::Event>(writing.key);
        let Context { now, cause } = writing.context;
        let mut wire: Event = event.into_event();
        // What it follows is part of its id: a process that stood still may come back to an input that another has
        // answered meanwhile, and find something else to say.
        let purpose = format!("{} after {}", wire.name(), cached.last);
        let id = event_id(cause, self.service, &purpose, writing.index);
        let source = format!("/{}/{}", millrace_events::catalogue::NAMESPACE, self.service);
        let mut envelope = Envelope::new(id.to_string(), source, writing.key.clone(), *now, &wire);
        envelope.cause = Some(cause.clone());
        envelope.run = wire.task_ref().map_or(0, |task| task.run);
        let sending = spans::send(self.service, writing.key, &envelope, &wire);
        (envelope.traceparent, envelope.tracestate) = traceparent_of(&sending)
            .unwrap_or_else(|| (writing.traceparent.to_owned(), writing.tracestate.to_owned()));
        if let Some(failure) = wire.failure_mut() {
            complete(failure, self.service, &envelope.traceparent);
            envelope.data = wire.encode();
        }
        let payload = envelope.encode();
        if payload.len() > millrace_events::MAX_EVENT_BYTES {
            return Err(AppendError::TooLarge { subject, bytes: payload.len() });
        }
        let append =
            Append::new(stream, subject, payload).content_type(CONTENT_TYPE_PROTOBUF).expecting(cached.last);
        let appended = self.broker.append(&append).instrument(sending.clone()).await;
        let appended = appended.inspect_err(|error| set_error(&sending, &error.to_string()))?;
        sending.in_scope(|| spans::consequence(&wire));
        // What is folded is what was written.
        let Some(event) = D::Event::from_event(wire) else { return Ok(appended.sequence) };
        let recorded =
            Recorded { event: &event, sequence: appended.sequence, time: *now, cause: Some(cause) };
        decider.evolve(&mut cached.state, &recorded);
        cached.last = appended.sequence;
        Ok(appended.sequence)
    }
}

/// Adds to a failure what only the host knows: who states it, unless it was passed on, and the trace.
fn complete(failure: &mut Failure, service: &str, traceparent: &str) {
    if failure.source.is_empty() {
        service.clone_into(&mut failure.source);
    }
    if failure.trace_id.is_empty() {
        failure.trace_id = millrace_telemetry::context::trace_id(traceparent).unwrap_or_default();
    }
}

/// Applies a stored message. What this version cannot read is skipped: the fold is total.
fn apply<D>(decider: &D, state: &mut D::State, stored: &Stored)
where
    D: Decider<Event: LogEvent>,
{
    let Some((envelope, event)) = log_reader::read(D::Event::LOG, stored) else { return };
    let Some(event) = D::Event::from_event(event) else { return };
    let cause: Option<&Cause> = envelope.cause.as_ref();
    decider.evolve(state, &Recorded { event: &event, sequence: stored.sequence, time: envelope.time, cause });
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_decider::{Due, Refusal, Timestamp};
    use millrace_events::DispatcherEvent;
    use millrace_events::v1::WorkOrderIssued;

    use super::*;
    use crate::bootstrap::{Declared, Installation};
    use crate::memory::{ManualClock, MemoryBroker};

    struct Silent;

    impl Decider for Silent {
        type State = ();
        type Input = ();
        type Event = DispatcherEvent;
        type Effect = ();
        type Alarm = ();

        fn decide(&self, (): &(), (): &(), _: &Context) -> Result<Option<DispatcherEvent>, Refusal> {
            Ok(None)
        }
        fn evolve(&self, (): &mut (), _: &Recorded<'_, DispatcherEvent>) {}
        fn due(&self, (): &(), (): &()) -> Vec<Due<(), ()>> {
            Vec::new()
        }
    }

    /// I2: one process answers an input; another, which stood still, comes back to it and says the next thing.
    #[tokio::test]
    async fn two_answers_to_one_input_have_ids_of_their_own() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_790_000_000_000)));
        let broker = Arc::new(MemoryBroker::new(clock, &Declared::of(&Installation::default())));
        let log = LogStore { broker: broker.clone(), service: "dispatcher", partitions: 1 };
        let key = Key::new("VTID-00001").unwrap();
        let context = Context { now: Timestamp::default(), cause: Cause::new("MILLRACE_WORKER_0", 6) };
        for _ in 0..2 {
            let mut cached = log.load(&Silent, &key).await.unwrap();
            let writing = Writing { key: &key, context: &context, index: 0, traceparent: "", tracestate: "" };
            log.append(&Silent, &mut cached, WorkOrderIssued::default().into(), writing).await.unwrap();
        }
        let stored = broker.read("MILLRACE_DISPATCHER_0", None, 1, 9).await.unwrap();
        let ids: Vec<String> =
            stored.iter().map(|stored| Envelope::decode(&stored.payload).unwrap().id).collect();
        assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
    }
}
