//! Events of all logs in an order in which no effect comes before its cause. Pure: whoever follows the logs
//! pushes what it has read and takes what may be applied.

use std::collections::{BTreeMap, VecDeque};

use millrace_decider::Cause;

use crate::Entry;

/// Holds each stream's head until its cause is taken.
#[derive(Debug, Default)]
pub struct CauseOrder {
    /// Last sequence that was taken, of every stream that is followed.
    taken: BTreeMap<String, u64>,
    queues: BTreeMap<String, VecDeque<Entry>>,
}

/// A stream's head that waits for its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The stream that waits.
    pub stream: String,
    /// The sequence of its head.
    pub sequence: u64,
    /// What it waits for.
    pub cause: Cause,
}

impl CauseOrder {
    /// Follows `streams`, of which `applied` is in the ledger already. What a stream that is not followed
    /// caused does not wait.
    pub fn new<'a>(streams: impl IntoIterator<Item = &'a str>, applied: &BTreeMap<String, u64>) -> Self {
        let taken = streams
            .into_iter()
            .map(|stream| (stream.to_owned(), applied.get(stream).copied().unwrap_or(0)))
            .collect();
        Self { taken, queues: BTreeMap::new() }
    }

    /// Queues an event; one that was pushed or applied before is passed over.
    pub fn push(&mut self, entry: Entry) {
        let stream = &entry.stored.stream;
        let taken = *self.taken.entry(stream.clone()).or_default();
        let queue = self.queues.entry(stream.clone()).or_default();
        let last = queue.back().map_or(taken, |last| last.stored.sequence);
        if entry.stored.sequence > last {
            queue.push_back(entry);
        }
    }

    /// The next events, at most `limit`, in an order in which they may be applied.
    pub fn take(&mut self, limit: usize) -> Vec<Entry> {
        let mut ready = Vec::new();
        loop {
            let before = ready.len();
            for queue in self.queues.values_mut() {
                while ready.len() < limit {
                    let Some(head) = queue.front_mut() else { break };
                    if !may_be_taken(head, &self.taken) {
                        break;
                    }
                    self.taken.insert(head.stored.stream.clone(), head.stored.sequence);
                    ready.extend(queue.pop_front());
                }
            }
            if ready.len() == before || ready.len() >= limit {
                return ready;
            }
        }
    }

    /// The heads that wait, in the order of their streams' names.
    pub fn waiting(&self) -> Vec<Waiting> {
        let heads = self.queues.values().filter_map(VecDeque::front);
        heads
            .filter_map(|head| {
                let cause = head.cause().filter(|_| !head.cause_missing)?.clone();
                Some(Waiting { stream: head.stored.stream.clone(), sequence: head.stored.sequence, cause })
            })
            .collect()
    }

    /// The head of `stream` need not wait: its cause is not there and will not come. It is recorded as such.
    pub fn release(&mut self, stream: &str) {
        if let Some(head) = self.queues.get_mut(stream).and_then(VecDeque::front_mut) {
            head.cause_missing = true;
        }
    }

    /// Somebody else has applied events: what is up to there need not be taken any more.
    pub fn skip_to(&mut self, applied: &BTreeMap<String, u64>) {
        for (stream, applied) in applied {
            let taken = self.taken.entry(stream.clone()).or_default();
            *taken = (*taken).max(*applied);
            if let Some(queue) = self.queues.get_mut(stream) {
                queue.retain(|entry| entry.stored.sequence > *applied);
            }
        }
    }

    /// How many events of `stream` are queued.
    pub fn queued(&self, stream: &str) -> usize {
        self.queues.get(stream).map_or(0, VecDeque::len)
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.queues.values().all(VecDeque::is_empty)
    }
}

fn may_be_taken(head: &mut Entry, taken: &BTreeMap<String, u64>) -> bool {
    if head.cause_missing {
        return true;
    }
    let Some(cause) = head.cause() else { return true };
    match taken.get(&cause.stream) {
        // In its own stream only what stands before it can be a cause.
        Some(_) if cause.stream == head.stored.stream && cause.sequence >= head.stored.sequence => {
            head.cause_missing = true;
            true
        }
        Some(taken) => *taken >= cause.sequence,
        None => {
            head.cause_missing = true;
            true
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::StoredEvent;
    use millrace_decider::Timestamp;
    use millrace_events::{Envelope, Key, Log, v1};

    fn entry(log: Log, sequence: u64, cause: Option<(Log, u64)>) -> Entry {
        let key = Key::new("VTID-00001").unwrap();
        let event = match log {
            Log::Worker => v1::WorkOrderAcknowledged::default().into(),
            _ => v1::WorkOrderIssued::default().into(),
        };
        let mut envelope = Envelope::new("id", "/millrace/test", key.clone(), Timestamp::default(), &event);
        envelope.cause = cause.map(|(log, sequence)| Cause::new(log.stream(0), sequence));
        Entry::read(StoredEvent {
            stream: log.stream(0),
            subject: log.subject(&key, 1),
            sequence,
            time: Timestamp::default(),
            headers: Vec::new(),
            payload: envelope.encode(),
        })
    }

    fn order() -> CauseOrder {
        let streams = [Log::Dispatcher.stream(0), Log::Worker.stream(0)];
        CauseOrder::new(streams.iter().map(String::as_str), &BTreeMap::new())
    }

    fn places(entries: &[Entry]) -> Vec<(Log, u64)> {
        entries.iter().map(|entry| (entry.log.unwrap(), entry.stored.sequence)).collect()
    }

    #[test]
    fn an_effect_waits_for_its_cause_and_what_follows_waits_with_it() {
        let mut order = order();
        order.push(entry(Log::Worker, 1, Some((Log::Dispatcher, 2))));
        order.push(entry(Log::Worker, 2, None));
        order.push(entry(Log::Dispatcher, 1, None));
        assert_eq!(places(&order.take(10)), [(Log::Dispatcher, 1)]);
        assert_eq!(order.waiting()[0].cause, Cause::new(Log::Dispatcher.stream(0), 2));
        order.push(entry(Log::Dispatcher, 2, Some((Log::Dispatcher, 1))));
        assert_eq!(places(&order.take(10)), [(Log::Dispatcher, 2), (Log::Worker, 1), (Log::Worker, 2)]);
        assert!(order.is_empty());
    }

    #[test]
    fn an_impossible_cause_is_recorded_and_not_waited_for() {
        let mut order = order();
        order.push(entry(Log::Worker, 1, Some((Log::Dispatcher, 9))));
        assert!(order.take(10).is_empty());
        order.release(&Log::Worker.stream(0));
        assert!(order.take(10)[0].cause_missing);
        // Itself, what comes after it, and what nobody follows.
        order.push(entry(Log::Worker, 2, Some((Log::Worker, 2))));
        order.push(entry(Log::Dispatcher, 1, Some((Log::Deployer, 1))));
        assert!(order.take(10).iter().all(|entry| entry.cause_missing));
    }

    #[test]
    fn what_somebody_else_applied_is_not_taken_again() {
        let mut order = order();
        for sequence in 1..=3 {
            order.push(entry(Log::Dispatcher, sequence, None));
            order.push(entry(Log::Dispatcher, sequence, None));
        }
        order.skip_to(&BTreeMap::from([(Log::Dispatcher.stream(0), 2)]));
        assert_eq!(places(&order.take(10)), [(Log::Dispatcher, 3)]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut order = order();
        (1..=5).for_each(|sequence| order.push(entry(Log::Dispatcher, sequence, None)));
        assert_eq!((order.take(2).len(), order.take(10).len()), (2, 3));
    }
}
