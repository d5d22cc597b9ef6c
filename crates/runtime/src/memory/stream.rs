//! One stream: its messages, what it remembers, what it will do later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_decider::Timestamp;

use super::consumer::MemoryConsumer;
use crate::bootstrap::StreamDeclaration;
use crate::broker::{Append, AppendError, Appended, BrokerError, Stored, StreamState, subject, wire};

/// Which of its two checks a server makes first. Both happen: the duplicate first in clusters, the
/// expected sequence first on a single server since 2.12. Callers must be right with either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckOrder {
    /// A resend inside the window is a duplicate, whatever sequence it expects.
    #[default]
    DuplicateFirst,
    /// A resend that expects an old sequence is a conflict.
    ExpectedFirst,
}

pub(super) struct MemoryStream {
    pub(super) declared: StreamDeclaration,
    pub(super) consumers: BTreeMap<String, MemoryConsumer>,
    messages: BTreeMap<u64, Message>,
    subjects: BTreeMap<String, BTreeSet<u64>>,
    last: u64,
    /// Message ids inside the window, and which sequence they name.
    ids: BTreeMap<String, u64>,
    /// The same ids by when they were seen.
    ids_by_age: BTreeSet<(Timestamp, String)>,
    /// What goes away by itself, and when.
    expiring: BTreeSet<(Timestamp, u64)>,
    /// What is delivered later, and when.
    armed: BTreeSet<(Timestamp, u64)>,
}

struct Message {
    stored: Stored,
    expires: Option<Timestamp>,
    schedule: Option<Armed>,
}

#[derive(Clone)]
struct Armed {
    at: Timestamp,
    target: String,
    keep: Duration,
}

impl MemoryStream {
    pub(super) fn new(declared: StreamDeclaration) -> Self {
        Self {
            declared,
            consumers: BTreeMap::new(),
            messages: BTreeMap::new(),
            subjects: BTreeMap::new(),
            last: 0,
            ids: BTreeMap::new(),
            ids_by_age: BTreeSet::new(),
            expiring: BTreeSet::new(),
            armed: BTreeSet::new(),
        }
    }

    pub(super) fn takes(&self, name: &str) -> bool {
        self.declared.subjects.iter().any(|pattern| subject::matches(pattern, name))
    }

    pub(super) fn append(
        &mut self,
        append: &Append,
        now: Timestamp,
        order: CheckOrder,
    ) -> Result<Appended, AppendError> {
        let mut headers = wire::headers(append);
        let header_bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = append.payload.len();
        if self.declared.max_message_bytes.is_some_and(|limit| bytes + header_bytes > limit) {
            return Err(AppendError::TooLarge { subject: append.subject.clone(), bytes });
        }
        if wire::life(&headers).is_some() && !self.declared.takes_lives() {
            let operation = format!("write {}", append.subject);
            let message = format!("{} takes no life spans of single messages", self.declared.name);
            return Err(BrokerError::Failed { operation, message }.into());
        }
        let last_on_subject = self.last_of(&append.subject).map_or(0, |stored| stored.sequence);
        let conflict = append.expected_last.is_some_and(|expected| expected != last_on_subject);
        let known = append.message_id.as_ref().and_then(|id| self.ids.get(id)).copied();
        let duplicate = known.map(|sequence| Appended { sequence, duplicate: true });
        match (order, duplicate) {
            (CheckOrder::DuplicateFirst, Some(appended)) => return Ok(appended),
            _ if conflict => return Err(AppendError::Conflict { subject: append.subject.clone() }),
            (CheckOrder::ExpectedFirst, Some(appended)) => return Ok(appended),
            (_, None) => {}
        }
        let schedule = append.schedule.as_ref().map(|schedule| Armed {
            at: wire::whole_second(schedule.at),
            target: schedule.target.clone(),
            keep: schedule.keep,
        });
        if schedule.is_some() {
            // The server adds it: a schedule replaces the one before on its subject.
            headers.push(("Nats-Rollup".to_owned(), "sub".to_owned()));
            headers.sort();
        }
        let expires = wire::life(&headers).map(|life| now + life);
        let sequence = self.store(&append.subject, headers, append.payload.clone(), now, schedule, expires);
        if let Some(id) = &append.message_id {
            self.ids.insert(id.clone(), sequence);
            self.ids_by_age.insert((now, id.clone()));
        }
        Ok(Appended { sequence, duplicate: false })
    }

    pub(super) fn last_of(&self, name: &str) -> Option<&Stored> {
        let last = if subject::is_pattern(name) {
            let matching = self.subjects.iter().filter(|(found, _)| subject::matches(name, found));
            matching.filter_map(|(_, sequences)| sequences.last()).max()?
        } else {
            self.subjects.get(name)?.last()?
        };
        self.get(*last)
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Stored> {
        self.messages.get(&sequence).map(|message| &message.stored)
    }

    /// In order, from `from` on, under a pattern or all.
    pub(super) fn from<'a>(
        &'a self,
        from: u64,
        pattern: Option<&'a str>,
    ) -> Box<dyn Iterator<Item = &'a Stored> + 'a> {
        let all = || self.messages.range(from..).map(|(_, message)| &message.stored);
        match pattern {
            None => Box::new(all()),
            Some(pattern) if subject::is_pattern(pattern) => {
                Box::new(all().filter(move |stored| subject::matches(pattern, &stored.subject)))
            }
            Some(name) => {
                let sequences =
                    self.subjects.get(name).into_iter().flat_map(move |found| found.range(from..));
                Box::new(sequences.filter_map(|sequence| self.get(*sequence)))
            }
        }
    }

    pub(super) fn state(&self) -> StreamState {
        let first = match self.messages.keys().next() {
            Some(first) => *first,
            None if self.last == 0 => 0,
            None => self.last + 1,
        };
        StreamState { first, last: self.last, messages: self.messages.len() as u64 }
    }

    pub(super) fn purge(&mut self, pattern: &str) {
        let purged: Vec<u64> = self.from(0, Some(pattern)).map(|stored| stored.sequence).collect();
        for sequence in purged {
            self.remove(sequence);
        }
    }

    /// Forgets every message behind `last`, and that there were any.
    pub(super) fn roll_back(&mut self, last: u64) {
        let lost: Vec<u64> = self.messages.range(last + 1..).map(|(sequence, _)| *sequence).collect();
        for sequence in lost {
            self.remove(sequence);
        }
        self.last = self.last.min(last);
        self.ids.retain(|_, sequence| *sequence <= last);
        self.ids_by_age.retain(|(_, id)| self.ids.contains_key(id));
        for consumer in self.consumers.values_mut() {
            consumer.roll_back(last);
        }
    }

    /// Gives a message other bytes, or takes it away.
    pub(super) fn tamper(&mut self, sequence: u64, payload: Option<Vec<u8>>) {
        match payload {
            None => drop(self.remove(sequence)),
            Some(payload) => {
                if let Some(message) = self.messages.get_mut(&sequence) {
                    message.stored.payload = payload;
                }
            }
        }
    }

    /// Does what time has brought: forgets ids, expires messages, fires schedules.
    pub(super) fn settle(&mut self, now: Timestamp) {
        let window = self.declared.duplicate_window;
        while self.ids_by_age.first().is_some_and(|(seen, _)| now.since(*seen) >= window) {
            if let Some((_, id)) = self.ids_by_age.pop_first() {
                self.ids.remove(&id);
            }
        }
        self.fire(now);
        while let Some((_, sequence)) = self.expiring.first().filter(|(at, _)| *at <= now).copied() {
            self.remove(sequence);
        }
    }

    /// When there is something to settle next.
    pub(super) fn next_event(&self) -> Option<Timestamp> {
        self.armed.first().map(|(at, _)| *at)
    }

    fn fire(&mut self, now: Timestamp) {
        let mut due: Vec<(Timestamp, u64, Armed)> = Vec::new();
        for (_, sequence) in self.armed.range(..=(now, u64::MAX)) {
            if let Some(message) = self.messages.get(sequence)
                && let Some(armed) = &message.schedule
            {
                due.push((armed.at.max(message.stored.time), *sequence, armed.clone()));
            }
        }
        due.sort_by_key(|(at, sequence, _)| (*at, *sequence));
        for (at, sequence, armed) in due {
            let Some(message) = self.remove(sequence) else { continue };
            let Stored { subject: armed_on, headers, payload, .. } = message.stored;
            let mut headers: Vec<_> =
                headers.into_iter().filter(|(name, _)| !name.starts_with("Nats-")).collect();
            headers.push(("Nats-Scheduler".to_owned(), armed_on));
            headers.push(("Nats-Schedule-Next".to_owned(), "purge".to_owned()));
            headers.push((wire::TTL.to_owned(), wire::time_to_live(armed.keep)));
            headers.sort();
            self.store(&armed.target, headers, payload, at, None, Some(at + armed.keep));
        }
    }

    fn store(
        &mut self,
        name: &str,
        headers: Vec<(String, String)>,
        payload: Vec<u8>,
        time: Timestamp,
        schedule: Option<Armed>,
        expires: Option<Timestamp>,
    ) -> u64 {
        self.last += 1;
        let sequence = self.last;
        let expires = expires.or_else(|| self.declared.max_age.map(|age| time + age));
        let stream = self.declared.name.clone();
        let stored = Stored { stream, subject: name.to_owned(), sequence, time, headers, payload };
        self.expiring.extend(expires.map(|at| (at, sequence)));
        self.armed.extend(schedule.as_ref().map(|armed| (armed.at, sequence)));
        self.messages.insert(sequence, Message { stored, expires, schedule });
        let on_subject = self.subjects.entry(name.to_owned()).or_default();
        on_subject.insert(sequence);
        let keep = self.declared.keep_per_subject.map_or(usize::MAX, |keep| keep as usize);
        let surplus = on_subject.len().saturating_sub(keep);
        let dropped: Vec<u64> = on_subject.iter().copied().take(surplus).collect();
        for sequence in dropped {
            self.remove(sequence);
        }
        sequence
    }

    fn remove(&mut self, sequence: u64) -> Option<Message> {
        let message = self.messages.remove(&sequence)?;
        if let Some(at) = message.expires {
            self.expiring.remove(&(at, sequence));
        }
        if let Some(armed) = &message.schedule {
            self.armed.remove(&(armed.at, sequence));
        }
        if let Some(on_subject) = self.subjects.get_mut(&message.stored.subject) {
            on_subject.remove(&sequence);
            if on_subject.is_empty() {
                self.subjects.remove(&message.stored.subject);
            }
        }
        Some(message)
    }
}
