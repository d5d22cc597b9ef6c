//! A delivered message and the four answers to it.

use std::time::Duration;

use async_nats::{Client, Message, Subject};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::NatsBroker;
use super::api::failed;
use super::connection::connected;
use super::message::{from_delivery, is_redelivered};
use crate::broker::{BrokerError, Delivery, Stored};

pub(super) const HAND_BACK: &[u8] = b"-NAK";

pub(super) struct NatsDelivery {
    client: Client,
    /// An answer must be on its way within this.
    within: Duration,
    reply: Subject,
    stored: Stored,
    is_redelivered: bool,
}

impl NatsDelivery {
    /// `None` when the message does not look like a delivery.
    pub(super) fn new(broker: &NatsBroker, stream: &str, message: &Message) -> Option<Self> {
        let stored = from_delivery(stream, message)?;
        let (client, within) = (broker.client.clone(), broker.request_timeout);
        let is_redelivered = is_redelivered(message);
        Some(Self { client, within, reply: message.reply.clone()?, stored, is_redelivered })
    }

    /// Without a connection there is no answer: the delivery comes back after the acknowledgement time.
    async fn answer(&self, word: Bytes) -> Result<(), BrokerError> {
        let operation = "answer to a delivery";
        let deadline = Instant::now() + self.within;
        let late = || BrokerError::Timeout { operation: operation.to_owned(), after: self.within };
        if !connected(&self.client, deadline).await {
            return Err(late());
        }
        let sent = timeout_at(deadline, self.client.publish(self.reply.clone(), word)).await;
        sent.map_err(|_| late())?.map_err(|error| failed(operation, error.to_string()))
    }
}

#[async_trait]
impl Delivery for NatsDelivery {
    fn message(&self) -> &Stored {
        &self.stored
    }

    fn is_redelivered(&self) -> bool {
        self.is_redelivered
    }

    async fn acknowledge(&self) -> Result<(), BrokerError> {
        self.answer(Bytes::from_static(b"+ACK")).await
    }

    async fn give_back(&self, delay: Duration) -> Result<(), BrokerError> {
        if delay.is_zero() {
            return self.answer(Bytes::from_static(HAND_BACK)).await;
        }
        self.answer(Bytes::from(format!("-NAK {{\"delay\": {}}}", delay.as_nanos()))).await
    }

    async fn in_progress(&self) -> Result<(), BrokerError> {
        self.answer(Bytes::from_static(b"+WPI")).await
    }
}
