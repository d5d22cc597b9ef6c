//! A durable consumer, read by raw pull requests (NATS ADR-13).
//!
//! One subscription lives as long as the consumer. A pull asks for a batch and stays with the server until
//! something is there (`no_wait` together with `expires`): the server then sends what it has and ends the
//! pull, so that nothing waits for a full batch and nothing arrives while nobody fetches. Whatever has
//! arrived stands in the buffer until a fetch returns it: a dropped fetch loses nothing.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use serde_json::json;
use tokio::sync::{Mutex, broadcast, watch};
use tokio::time::{Instant, timeout_at};

use super::NatsBroker;
use super::api::failed;
use super::connection::{connected, refused};
use super::delivery::{HAND_BACK, NatsDelivery};
use crate::broker::{BrokerError, Consumer, Delivery};

/// How long a pull stays with the server when nothing comes.
const PULL_EXPIRES: Duration = Duration::from_secs(5);
/// How often the server says that it is still there. Two missing ones, and the pull counts as lost.
const HEARTBEAT: Duration = Duration::from_millis(400);
/// How long to wait for the rest of a batch of which the first message is here. The server normally says
/// at once that there is no more; it does not when the consumer's limit of open deliveries is reached.
const REST_OF_BATCH: Duration = Duration::from_millis(2);
/// How long to wait before asking again a server that is not ready.
const NOT_READY: Duration = Duration::from_millis(50);
/// Bytes that one pull may bring. Larger than the largest message.
const PULL_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct NatsConsumer {
    broker: NatsBroker,
    stream: String,
    durable: String,
    pull: Mutex<Pull>,
}

/// The one pull that may be with the server, and what it brought.
struct Pull {
    client: Client,
    answers: Subscriber,
    /// Answers to pull number n arrive on `<inbox>.<n>`.
    inbox: String,
    number: u64,
    /// What the server may still send; 0: no pull is out.
    outstanding: usize,
    last_heard: Instant,
    connections: watch::Receiver<u64>,
    refusals: broadcast::Receiver<String>,
    buffer: VecDeque<Message>,
    /// The server's last word was that it has no such consumer, or is not ready.
    nobody_listens: bool,
}

/// What happened while waiting.
enum Heard {
    Message(Message),
    Closed,
    Silence,
    Reconnected,
    Refused,
}

impl NatsConsumer {
    /// Checks that the consumer exists and starts to listen.
    pub(super) async fn attach(
        broker: &NatsBroker,
        stream: &str,
        durable: &str,
    ) -> Result<Self, BrokerError> {
        if broker.consumer_config(stream, durable).await?.is_none() {
            return Err(missing(stream, durable));
        }
        let inbox = broker.client.new_inbox();
        let answers = broker
            .client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| failed("listen for deliveries", error.to_string()))?;
        let pull = Pull {
            client: broker.client.clone(),
            answers,
            inbox,
            number: 0,
            outstanding: 0,
            last_heard: Instant::now(),
            connections: broker.connections(),
            refusals: broker.refusals(),
            buffer: VecDeque::new(),
            nobody_listens: false,
        };
        let (stream, durable) = (stream.to_owned(), durable.to_owned());
        Ok(Self { broker: broker.clone(), stream, durable, pull: Mutex::new(pull) })
    }
}

#[async_trait]
impl Consumer for NatsConsumer {
    async fn fetch(&self, limit: usize, wait: Duration) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        let deadline = Instant::now() + wait;
        let Ok(mut pull) = timeout_at(deadline, self.pull.lock()).await else { return Ok(Vec::new()) };
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.durable);
        pull.fill(&subject, limit.max(1), deadline).await.map_err(|ended| match ended {
            Ended::Missing => missing(&self.stream, &self.durable),
            Ended::Refused => BrokerError::Forbidden { operation: subject.clone() },
            Ended::Failed(message) => failed(&subject, message),
        })?;
        // From here to the end nothing waits, so nothing can be lost between buffer and caller.
        let mut deliveries: Vec<Box<dyn Delivery>> = Vec::new();
        while deliveries.len() < limit {
            let Some(message) = pull.buffer.pop_front() else { break };
            match NatsDelivery::new(&self.broker, &self.stream, &message) {
                Some(delivery) => deliveries.push(Box::new(delivery)),
                None => tracing::error!(subject = %message.subject, "a delivery that cannot be read"),
            }
        }
        Ok(deliveries)
    }
}

/// Why a fetch cannot go on.
enum Ended {
    Missing,
    Refused,
    Failed(String),
}

impl Pull {
    /// Waits until something stands in the buffer, or the deadline passes.
    async fn fill(&mut self, subject: &str, limit: usize, deadline: Instant) -> Result<(), Ended> {
        loop {
            while self.buffer.len() < limit
                && let Some(heard) = self.answers.next().now_or_never()
            {
                self.take(heard.map_or(Heard::Closed, Heard::Message))?;
            }
            let is_complete = self.buffer.len() >= limit || self.outstanding == 0;
            if !self.buffer.is_empty() && is_complete {
                return Ok(());
            }
            if self.outstanding == 0 {
                if self.nobody_listens {
                    // Right after a restart the server is not ready; later it means that nothing is there.
                    if Instant::now() + NOT_READY >= deadline {
                        return Err(Ended::Missing);
                    }
                    tokio::time::sleep(NOT_READY).await;
                }
                if !connected(&self.client, deadline).await {
                    return Ok(());
                }
                match timeout_at(deadline, self.ask(subject, limit)).await {
                    Ok(asked) => asked?,
                    Err(_no_room) => return Ok(()),
                }
            }
            let silence = self.last_heard + 2 * HEARTBEAT;
            let until = match self.buffer.is_empty() {
                true => silence.min(deadline),
                false => Instant::now() + REST_OF_BATCH,
            };
            match self.hear(subject, until).await {
                Heard::Silence if !self.buffer.is_empty() || Instant::now() >= deadline => return Ok(()),
                heard => self.take(heard)?,
            }
        }
    }

    async fn hear(&mut self, subject: &str, until: Instant) -> Heard {
        tokio::select! {
            biased;
            answer = self.answers.next() => answer.map_or(Heard::Closed, Heard::Message),
            _ = self.connections.changed() => Heard::Reconnected,
            () = refused(&mut self.refusals, |found| found == subject) => Heard::Refused,
            () = tokio::time::sleep_until(until) => Heard::Silence,
        }
    }

    fn take(&mut self, heard: Heard) -> Result<(), Ended> {
        match heard {
            Heard::Message(message) => return self.take_message(message),
            Heard::Closed => return Err(Ended::Failed("the connection is closed".to_owned())),
            Heard::Refused => return Err(Ended::Refused),
            // The pull died with the server, or with the connection: ask again.
            Heard::Silence | Heard::Reconnected => self.outstanding = 0,
        }
        Ok(())
    }

    fn take_message(&mut self, message: Message) -> Result<(), Ended> {
        self.last_heard = Instant::now();
        let Some(status) = message.status else {
            self.outstanding = self.outstanding.saturating_sub(1);
            self.buffer.push_back(message);
            return Ok(());
        };
        let is_current = message.subject.rsplit('.').next() == Some(self.number.to_string().as_str());
        let words = message.description.as_deref().unwrap_or_default();
        match status.as_u16() {
            _ if !is_current => {}
            // A heartbeat.
            100 => {}
            503 => {
                self.outstanding = 0;
                self.nobody_listens = true;
            }
            409 if words.contains("Consumer Deleted") => return Err(Ended::Missing),
            400 => return Err(Ended::Failed(format!("400 {words}"))),
            // 404 and 408: no more. 409: the pull ended early (leader change, limits).
            _ => self.outstanding = 0,
        }
        Ok(())
    }

    async fn ask(&mut self, subject: &str, limit: usize) -> Result<(), Ended> {
        self.number += 1;
        self.connections.mark_unchanged();
        let body = json!({
            "batch": limit,
            "max_bytes": PULL_BYTES,
            "no_wait": true,
            "expires": nanoseconds(PULL_EXPIRES),
            "idle_heartbeat": nanoseconds(HEARTBEAT),
        });
        let reply = format!("{}.{}", self.inbox, self.number);
        let asked = self.client.publish_with_reply(subject.to_owned(), reply, Bytes::from(body.to_string()));
        asked.await.map_err(|error| Ended::Failed(error.to_string()))?;
        self.outstanding = limit;
        self.nobody_listens = false;
        self.last_heard = Instant::now();
        Ok(())
    }
}

/// What has arrived and nobody took goes back at once, instead of after the acknowledgement time.
impl Drop for Pull {
    fn drop(&mut self) {
        while let Some(Some(message)) = self.answers.next().now_or_never() {
            self.buffer.push_back(message);
        }
        for reply in self.buffer.drain(..).filter_map(|message| message.reply) {
            // Without room in the client's queue it comes back after the acknowledgement time all the same.
            let _ = self.client.publish(reply, Bytes::from_static(HAND_BACK)).now_or_never();
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn missing(stream: &str, durable: &str) -> BrokerError {
    BrokerError::Missing { what: format!("consumer {durable} of stream {stream}") }
}
