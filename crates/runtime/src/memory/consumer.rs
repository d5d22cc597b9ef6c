//! One durable consumer: where it stands, and what has been delivered and not answered.

use std::collections::BTreeMap;

use millrace_decider::Timestamp;

use crate::bootstrap::ConsumerDeclaration;

pub(super) struct MemoryConsumer {
    pub(super) declared: ConsumerDeclaration,
    /// The first sequence never delivered.
    pub(super) next: u64,
    /// Delivered and unanswered, or handed back: when it comes again.
    pub(super) pending: BTreeMap<u64, Timestamp>,
}

impl MemoryConsumer {
    pub(super) fn new(declared: ConsumerDeclaration) -> Self {
        Self { declared, next: 1, pending: BTreeMap::new() }
    }

    /// What is to be delivered again, in order.
    pub(super) fn due(&self, now: Timestamp) -> Vec<u64> {
        self.pending.iter().filter(|(_, again)| **again <= now).map(|(sequence, _)| *sequence).collect()
    }

    /// Back to where it stood when `last` was the stream's last message.
    pub(super) fn roll_back(&mut self, last: u64) {
        self.next = self.next.min(last + 1);
        self.pending.retain(|sequence, _| *sequence <= last);
    }

    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < self.declared.max_ack_pending as usize
    }

    pub(super) fn delivered(&mut self, sequence: u64, now: Timestamp) {
        self.pending.insert(sequence, now + self.declared.ack_wait);
        self.next = self.next.max(sequence + 1);
    }

    /// Also a late one counts: the server honours it, whoever works on the message by then.
    pub(super) fn acknowledge(&mut self, sequence: u64) {
        self.pending.remove(&sequence);
    }

    /// An answer to something already acknowledged changes nothing.
    pub(super) fn postpone(&mut self, sequence: u64, again: Timestamp) {
        if let Some(found) = self.pending.get_mut(&sequence) {
            *found = again;
        }
    }
}
