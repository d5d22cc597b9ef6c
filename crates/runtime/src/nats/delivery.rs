//! A delivered message and the four answers to it.

use std::time::Duration;

use async_nats::{Client, Message, Subject};
use async_trait::async_trait;
use bytes::Bytes;

use super::api::failed;
use super::message::from_delivery;
use crate::broker::{BrokerError, Delivery, Stored};

pub(super) const HAND_BACK: &[u8] = b"-NAK";

pub(super) struct NatsDelivery {
    client: Client,
    reply: Subject,
    stored: Stored,
}

impl NatsDelivery {
    /// `None` when the message does not look like a delivery.
    pub(super) fn new(client: &Client, stream: &str, message: &Message) -> Option<Self> {
        let stored = from_delivery(stream, message)?;
        Some(Self { client: client.clone(), reply: message.reply.clone()?, stored })
    }

    async fn answer(&self, word: Bytes) -> Result<(), BrokerError> {
        let sent = self.client.publish(self.reply.clone(), word).await;
        sent.map_err(|error| failed("answer to a delivery", error.to_string()))
    }
}

#[async_trait]
impl Delivery for NatsDelivery {
    fn message(&self) -> &Stored {
        &self.stored
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
