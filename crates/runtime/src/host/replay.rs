//! A dead letter that is read again on an operator's request: it takes the very way of a delivery, and what
//! came of it is recorded beside its first failure.
//!
//! A request that is delivered again, or that a crash cut short, finds its own record and does nothing more;
//! without one the message is handled again, which changes nothing where it was handled already.

use millrace_decider::Cause;
use millrace_events::v1::{DeadLetterReplayRequested, Failure};
use millrace_events::{Code, DeadLetterEvent, Key, Service};

use super::handle::{Answer, Outcome};
use super::pump::{Host, HostError, Origin};
use super::{Hosted, Received};
use crate::broker::{BrokerError, Stored};

/// An operator's request to this service.
#[derive(Debug)]
pub(super) struct Request {
    /// The message that could not be handled.
    pub(super) message: Cause,
    /// Where the request stands.
    pub(super) position: Cause,
}

/// What a replay did with the message.
enum Replayed {
    Handled,
    /// It comes too early, or this process ends.
    Later,
    Failed(Failure, u32),
}

impl Request {
    /// What an operator's event asks of this service.
    pub(super) fn read(asked: &DeadLetterReplayRequested, received: &Received, service: Service) -> Outcome {
        if asked.service != service.name() {
            return Outcome::Done;
        }
        let message = Cause::new(asked.stream.clone(), asked.sequence);
        // Requests for one letter are in one order, which is that of their key.
        if received.key != Key::dead_letter(&message, service.name()) {
            let sentence = format!("a replay of {message} is asked for under the key {}", received.key);
            return Outcome::Failed(Box::new(Failure::new(Code::EventInvalid, sentence)), 1);
        }
        Outcome::Replay(Self { message, position: received.position.clone() })
    }
}

impl<H: Hosted> Host<H> {
    /// Reads the message again unless the request has an answer, and records what came of it.
    pub(super) async fn replay(&self, request: &Request) -> Result<Answer, HostError> {
        let Some((last, subject)) = self.unanswered(request).await? else { return Ok(Answer::Acknowledge) };
        let replayed = match self.source_of(request) {
            Some((number, origin)) => match self.ask(|| self.message(request)).await? {
                Some(message) => self.in_its_lane(number, &message, origin).await?,
                None => Replayed::Failed(gone(request), 1),
            },
            None => Replayed::Failed(foreign::<H>(request), 1),
        };
        let outcome = match replayed {
            Replayed::Later => return Ok(Answer::Hold),
            Replayed::Handled => Ok(()),
            Replayed::Failed(failure, attempts) => Err((failure, attempts)),
        };
        let (count, handled) = match &outcome {
            Ok(()) => (&self.counters.replayed, true),
            Err(_) => (&self.counters.dead_lettered, false),
        };
        count.one_more();
        tracing::info!(message = %request.message, request = %request.position, handled, "read again");
        crate::crash_point::reached_in(H::SERVICE.name(), "replayed", || request.message.to_string());
        let mut last = last;
        while !self.record_replay(request, &subject, outcome.clone(), last).await? {
            match self.unanswered(request).await? {
                Some((newer, _)) => last = newer,
                None => break,
            }
        }
        Ok(Answer::Acknowledge)
    }

    /// The last record's sequence and the message's subject, while this request has no answer. `None`: it
    /// has one, or a later request has, or the letter is handled, or there is no such letter.
    async fn unanswered(&self, request: &Request) -> Result<Option<(u64, String)>, HostError> {
        let Some(last) = self.ask(|| self.last_record(&request.message)).await? else {
            tracing::warn!(message = %request.message, "a replay of what is no dead letter is asked for");
            return Ok(None);
        };
        Ok(match last.event {
            Some(DeadLetterEvent::DeadLettered(letter)) if letter.replay < request.position.sequence => {
                Some((last.sequence, letter.subject))
            }
            Some(_) | None => None,
        })
    }

    /// The consumer that the message came from; `None` when this service reads no such stream.
    fn source_of(&self, request: &Request) -> Option<(usize, Origin)> {
        let mut sources = self.sources().into_iter().enumerate();
        sources
            .find(|(_, (stream, _))| *stream == request.message.stream)
            .map(|(number, (_, origin))| (number, origin))
    }

    async fn message(&self, request: &Request) -> Result<Option<Stored>, BrokerError> {
        self.log.broker.get(&request.message.stream, request.message.sequence).await
    }

    /// Handles the message in the queue of its own key, as its delivery was.
    async fn in_its_lane(
        &self,
        number: usize,
        message: &Stored,
        origin: Origin,
    ) -> Result<Replayed, HostError> {
        let guard = self.lanes.enter(number, &message.subject).await.turn().await;
        let processed =
            if self.stop.is_cancelled() { Ok(Outcome::Hold) } else { self.process(message, origin).await };
        self.lanes.leave(number, &message.subject, guard);
        Ok(match processed? {
            Outcome::Done => Replayed::Handled,
            Outcome::Hold => Replayed::Later,
            Outcome::Failed(failure, attempts) => Replayed::Failed(*failure, attempts),
            Outcome::Replay(inner) => {
                let sentence = format!("{} asks for a replay itself: ask for that one anew", inner.position);
                Replayed::Failed(Failure::new(Code::EventInvalid, sentence), 1)
            }
        })
    }

    /// Asks the broker until it answers: an outage of NATS is waited out.
    async fn ask<T, F>(&self, question: impl Fn() -> F) -> Result<T, HostError>
    where
        F: Future<Output = Result<T, BrokerError>> + Send,
    {
        let mut backoff =
            self.backoff(std::time::Duration::from_millis(50), std::time::Duration::from_secs(2));
        loop {
            match question().await {
                Ok(answer) => return Ok(answer),
                Err(BrokerError::Forbidden { operation }) => {
                    return Err(HostError::Forbidden { subject: operation });
                }
                Err(error) => tracing::warn!(%error, "a replay waits for NATS"),
            }
            self.clock.sleep(backoff.pause()).await;
        }
    }
}

fn gone(request: &Request) -> Failure {
    let sentence =
        format!("{} is not in its stream any more: a fired deadline is kept for 30 days", request.message);
    Failure::new(Code::EventInvalid, sentence)
}

fn foreign<H: Hosted>(request: &Request) -> Failure {
    let service = H::SERVICE.name();
    let sentence = format!("{service} does not read the stream {}", request.message.stream);
    Failure::new(Code::EventInvalid, sentence)
}
