//! One delivery, from its bytes to its acknowledgement.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use millrace_decider::Cause;
use millrace_events::{Code, Envelope, Event, Log, OperatorEvent, key_in_subject, read_message, v1::Failure};
use tracing::Instrument as _;

use super::pump::{Host, HostError, Origin};
use super::replay::Request;
use super::settle::{Chain, Settled, chain_of};
use super::{Hosted, Incoming, Received, spans};
use crate::broker::{Delivery, Stored};

/// How long telling the broker about progress may take.
const PROGRESS_LIMIT: std::time::Duration = std::time::Duration::from_millis(200);

/// What is done with a delivery.
pub(super) enum Answer {
    Acknowledge,
    Hold,
}

/// What came of a message.
pub(super) enum Outcome {
    /// Nothing is due, or it does not concern this service.
    Done,
    /// It comes too early.
    Hold,
    /// It cannot be handled.
    Failed(Box<Failure>, u32),
    /// It asks for a dead letter of this service to be read again.
    Replay(Request),
}

impl<H: Hosted> Host<H> {
    /// Handles a delivery and answers it. While that lasts, the broker is told that it does.
    pub(super) async fn handle(&self, delivery: &dyn Delivery, origin: Origin) -> Result<(), HostError> {
        let begun = self.clock.now();
        let work = self.answer(delivery.message(), origin);
        tokio::pin!(work);
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut work => break answer?,
                () = self.clock.sleep(self.options.progress_every) => self.report_progress(delivery).await,
            }
        };
        self.counters.took(self.clock.now().since(begun));
        let answered = match answer {
            Answer::Acknowledge => delivery.acknowledge().await,
            Answer::Hold => delivery.give_back(self.put_off(delivery.message())).await,
        };
        if let Err(error) = answered {
            // It comes back; the state says that nothing is due.
            tracing::debug!(%error, "cannot answer a delivery");
        }
        Ok(())
    }

    /// Tells the broker that a delivery is still worked on; never waits for it longer than a moment, for the
    /// work itself stands still meanwhile.
    pub(super) async fn report_progress(&self, delivery: &dyn Delivery) {
        let told = tokio::time::timeout(PROGRESS_LIMIT, delivery.in_progress()).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::debug!(sequence = delivery.message().sequence, "cannot report progress");
        }
    }

    async fn answer(&self, message: &Stored, origin: Origin) -> Result<Answer, HostError> {
        match self.process(message, origin).await? {
            Outcome::Done => Ok(Answer::Acknowledge),
            Outcome::Hold => Ok(Answer::Hold),
            Outcome::Failed(failure, attempts) => {
                self.bury(message, *failure, attempts).await?;
                Ok(Answer::Acknowledge)
            }
            Outcome::Replay(request) => self.replay(&request).await,
        }
    }

    /// Handles a message. A panic is a fault of ours with this one: it cannot be handled, and the others go
    /// on.
    pub(super) async fn process(&self, message: &Stored, origin: Origin) -> Result<Outcome, HostError> {
        match AssertUnwindSafe(self.read_and_settle(message, origin)).catch_unwind().await {
            Ok(handled) => handled,
            Err(panic) => {
                let said = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("without words");
                tracing::error!(
                    sequence = message.sequence,
                    panic = said,
                    "the handling of an input panicked"
                );
                let failure = Failure::new(Code::Internal, format!("the handling panicked: {said}"));
                Ok(Outcome::Failed(Box::new(failure), 1))
            }
        }
    }

    async fn read_and_settle(&self, message: &Stored, origin: Origin) -> Result<Outcome, HostError> {
        let (received, envelope) = match read(message, origin) {
            Ok(Some(read)) => read,
            Ok(None) => {
                self.counters.skipped.one_more();
                tracing::info!(
                    stream = message.stream,
                    sequence = message.sequence,
                    "an event of an unknown type is skipped"
                );
                return Ok(Outcome::Done);
            }
            Err(failure) => return Ok(Outcome::Failed(failure, 1)),
        };
        if let Incoming::Event(Event::Operator(OperatorEvent::DeadLetterReplayRequested(asked))) =
            &received.incoming
        {
            return Ok(Request::read(asked, &received, H::SERVICE));
        }
        let Some(input) = self.hosted.accept(&received) else { return Ok(Outcome::Done) };
        let span = spans::process(H::SERVICE, &received, &envelope);
        let mut chain = Chain {
            cause: cause_of(&received, &envelope, origin),
            index: 0,
            newest: None,
            is_fresh: false,
            depth: 0,
            stored: message.time,
            armed: BTreeMap::new(),
            traceparent: envelope.traceparent,
            tracestate: envelope.tracestate,
        };
        let settled = self.settle(&input, &mut chain).instrument(span).await?;
        match settled {
            Settled::Done => {
                crate::crash_point::reached_in(H::SERVICE.name(), "settled", || received.name().to_owned());
                Ok(Outcome::Done)
            }
            Settled::Hold => Ok(Outcome::Hold),
            Settled::Poison { fault, attempts } => {
                tracing::error!(key = %received.key, fault = %chain_of(&fault), "to the dead letters");
                Ok(Outcome::Failed(Box::new(fault.to_failure(H::SERVICE.name(), "")), attempts))
            }
        }
    }
}

/// Reads a message. `Ok(None)`: of a type or version that this one does not know. `Err`: poison.
fn read(message: &Stored, origin: Origin) -> Result<Option<(Received, Envelope)>, Box<Failure>> {
    let poison = |text: String| Box::new(Failure::new(Code::EventInvalid, text));
    let (log, key, envelope) = match origin {
        Origin::Log(log) => {
            let envelope = read_message(log, |name| message.header(name), &message.payload, message.time)
                .map_err(|error| poison(error.to_string()))?;
            let key = key_in_subject(log, &message.subject, &envelope).map_err(poison)?;
            (Some(log), key, envelope)
        }
        Origin::Deadlines(service) => {
            let envelope = Envelope::decode(&message.payload).map_err(|error| poison(error.to_string()))?;
            match service.fired(&message.subject) {
                Some((key, _)) if key == envelope.key => (None, key, envelope),
                _ => return Err(poison(format!("`{}` is no deadline of {}", message.subject, envelope.key))),
            }
        }
    };
    let incoming = match origin {
        Origin::Deadlines(_) => envelope.fired_timer().map(|timer| timer.map(Incoming::Timer)),
        Origin::Log(_) => envelope.event().map(|event| event.map(Incoming::Event)),
    };
    let Some(incoming) = incoming.map_err(|error| poison(error.to_string()))? else { return Ok(None) };
    if let (Incoming::Event(event), Some(log)) = (&incoming, log)
        && event.log() != log
    {
        return Err(poison(format!(
            "an event of `{}` stands in the log `{}`",
            event.log().name(),
            log.name()
        )));
    }
    let position = Cause::new(message.stream.clone(), message.sequence);
    let time = match origin {
        Origin::Log(_) => envelope.time,
        Origin::Deadlines(_) => message.time,
    };
    let id = envelope.id.clone();
    Ok(Some((Received { incoming, log, key, id, time, position }, envelope)))
}

/// The log message that led here: for a fired deadline, the event that armed it.
fn cause_of(received: &Received, envelope: &Envelope, origin: Origin) -> Cause {
    match (origin, &envelope.cause) {
        (Origin::Deadlines(_), Some(armed_by)) if Log::from_stream(&armed_by.stream).is_some() => {
            armed_by.clone()
        }
        _ => received.position.clone(),
    }
}
