//! Consumers that hardly take anything new, because too much of what they have delivered is held.

use std::collections::BTreeMap;

use crate::effects::ReadFailure;
use crate::projection::Projector;

/// Share of `max_ack_pending`, in percent, above which it is said.
const CROWDED: u64 = 80;

impl Projector {
    /// Warns of consumers that come close to their limit, once each until they are below it again. No alarm:
    /// what is under way goes on, and what is new waits in its log.
    pub(crate) async fn look_for_crowds(&self) -> Result<(), ReadFailure> {
        let Some(inspect) = self.broker.inspect() else { return Ok(()) };
        let mut crowded = BTreeMap::new();
        for consumer in &self.options.declared.consumers {
            let (stream, durable) = (&consumer.stream, &consumer.durable);
            let most = u64::from(consumer.max_ack_pending);
            match inspect.unanswered(stream, durable).await? {
                Some(held) if held * 100 > most * CROWDED => {
                    crowded.insert(format!("{stream} > {durable}"), format!("holds {held} of {most}"));
                }
                _ => {}
            }
        }
        self.status.send_if_modified(|status| {
            if status.crowded == crowded {
                return false;
            }
            for (consumer, held) in &crowded {
                if !status.crowded.contains_key(consumer) {
                    tracing::warn!(
                        consumer,
                        "{held} deliveries: beyond that nothing new comes to it; see nats.max_ack_pending"
                    );
                }
            }
            status.crowded = crowded;
            true
        });
        Ok(())
    }
}
