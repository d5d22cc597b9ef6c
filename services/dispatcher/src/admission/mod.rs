//! Who is let in, and when: the limits that are about more than one task. Issue 3, "Leases and fencing" and
//! "Back-pressure"; S4-SP5.
//!
//! A run is let in when there is room: under the limits of its repository and domain ([`slots`], strict), under
//! the number of open offers ([`offers`], for this process), with a worker alive, and with no log under an
//! alarm ([`alarms`]). Else it waits ([`queue`]): the life cycle records that as `pending`, and an entry in a
//! bucket keeps its place. [`rounds`] chooses among those that wait whenever room may have come, and arms a
//! deadline of the chosen task; the life cycle does the rest. Nothing here is history: all of it is found again
//! from the buckets and the logs.
//!
//! Bounds: what waits takes less than 512 bytes a run here, for at most `dispatch.waiting` runs; beyond it the
//! specs stay in their log, unacknowledged. A limit has at most 1,000 holders.

mod alarms;
mod choice;
mod offers;
mod places;
mod queue;
mod rounds;
mod slots;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millrace_decider::Timestamp;
use millrace_events::{DispatcherEvent, ProjectorEvent};
use millrace_runtime::broker::{Broker, BrokerError};
use millrace_runtime::clock::Clock;
use millrace_runtime::kv::Kv;
use millrace_runtime::log_reader::LogReader;
use tokio::sync::Notify;

use crate::domain::{Candidate, Room};
use alarms::Alarms;
use choice::Choice;
use places::{Entry, Places};
use queue::{Group, level, normal};
use slots::Slots;
use upkeep::{Looked, WORKERS};

/// What admission goes by.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Runs on offer at most that nobody has acknowledged.
    pub open_offers: usize,
    /// Runs that wait at most.
    pub waiting: usize,
    /// What waits this long counts as one priority higher.
    pub aging: Duration,
    /// Without any sign of a worker for this long, there is none.
    pub acknowledge: Duration,
    /// Runs at a time, by repository.
    pub repositories: BTreeMap<String, u32>,
    /// Runs at a time, by domain.
    pub domains: BTreeMap<String, u32>,
    /// Partitions of every log.
    pub partitions: u32,
}

/// What admission reads and writes.
#[derive(Clone)]
pub struct World {
    /// For deadlines and alarms.
    pub broker: Arc<dyn Broker>,
    /// The runs that wait.
    pub queue: Arc<dyn Kv>,
    /// The runs that use up limits.
    pub slots: Arc<dyn Kv>,
    /// Signs of life of all processes.
    pub heartbeats: Arc<dyn Kv>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Lets runs in. One per process; several processes may do so side by side.
pub struct Admission {
    rules: Rules,
    world: World,
    logs: LogReader,
    places: Places,
    slots: Slots,
    state: Mutex<State>,
    /// Room may have come.
    wake: Notify,
}

struct State {
    choice: Choice,
    alarms: Alarms,
    looked: Looked,
    /// The last sign of a worker.
    worker_seen: Timestamp,
}

impl Admission {
    /// With these rules, in this world.
    pub fn new(rules: Rules, world: World) -> Self {
        let slots = Slots::new(world.slots.clone(), &rules.repositories, &rules.domains);
        let places = Places::new(world.queue.clone());
        let choice = Choice::new(rules.domains.keys());
        let state = State {
            choice,
            alarms: Alarms::default(),
            looked: Looked::default(),
            worker_seen: world.clock.now(),
        };
        let logs = LogReader::new(world.broker.clone(), rules.partitions);
        Self { rules, world, logs, places, slots, state: Mutex::new(state), wake: Notify::new() }
    }

    /// Whether there is room for a run; where there is, it is taken.
    pub async fn admit(&self, candidate: &Candidate) -> Result<Room, BrokerError> {
        let now = self.world.clock.now();
        let task = candidate.task.as_str();
        if let Some(reason) = self.reserve(candidate, now) {
            let is_full = candidate.since.is_none() && self.lock().choice.queue.len() >= self.rules.waiting;
            return Ok(if is_full { Room::Full(reason) } else { Room::Wait(reason) });
        }
        match self.slots.take((task, candidate.run), &group_of(candidate), now).await {
            Ok(None) => {
                self.lock().choice.queue.served(&candidate.domain);
                Ok(Room::Now)
            }
            Ok(Some(reason)) => {
                self.lock().choice.offers.close(task, now);
                Ok(Room::Wait(reason))
            }
            Err(error) => {
                self.lock().choice.offers.close(task, now);
                Err(error)
            }
        }
    }

    /// Opens an offer for a candidate, or says what it waits for.
    fn reserve(&self, candidate: &Candidate, now: Timestamp) -> Option<String> {
        let is_absent = self.workers_absent(now);
        let mut state = self.lock();
        let State { choice, alarms, .. } = &mut *state;
        let task = candidate.task.as_str();
        if let Some(alarm) = alarms.standing() {
            let reason = stopped(alarm);
            choice.offers.close(task, now);
            return Some(reason);
        }
        if !candidate.chosen && !choice.offers.contains(task) {
            if let Some(reason) = self.no_room(choice, is_absent) {
                return Some(reason);
            }
            if let Some(reason) = self.slots.full(&group_of(candidate)) {
                return Some(reason);
            }
            if choice.queue.has_any(|group| self.slots.full(group).is_none()) {
                return Some("others came before it".to_owned());
            }
        }
        choice.offers.open(task, now);
        None
    }

    /// Why no more runs are put on offer at the moment, whatever they are.
    fn no_room(&self, choice: &Choice, workers_absent: bool) -> Option<String> {
        let open = choice.offers.len();
        if workers_absent && open > 0 {
            return Some("no worker is running".to_owned());
        }
        (open >= self.rules.open_offers)
            .then(|| format!("{open} runs are on offer, and no worker has taken them yet"))
    }

    /// Gives a run its place among those that wait.
    pub async fn enqueue(&self, candidate: &Candidate) -> Result<(), BrokerError> {
        let (task, run) = (candidate.task.as_str(), candidate.run);
        let (level, since) = (level(candidate.priority), candidate.since.unwrap_or_default());
        let (repository, domain) = (candidate.repository.clone(), candidate.domain.clone());
        let entry = Entry { run, repository, domain, level, since: since.as_micros() };
        if !self.places.take(task, &entry).await? {
            return Ok(());
        }
        let mut state = self.lock();
        // Chosen, and not let in after all.
        state.choice.granted.remove(task);
        let place = (candidate.repository.as_str(), candidate.domain.as_str());
        state.choice.queue.insert((task, run), place, level, since);
        self.wake.notify_one();
        Ok(())
    }

    /// A run is on offer: it waits no more.
    pub async fn dequeue(&self, task: &str, run: u32) -> Result<(), BrokerError> {
        // First: the marker of a task that is chosen still says that another dispatcher put it on offer.
        self.lock().choice.forget(task, run);
        self.places.give_up(task, run).await
    }

    /// A run is over, or held: it waits no more and uses up nothing.
    pub async fn free(&self, candidate: &Candidate) -> Result<(), BrokerError> {
        let (task, run) = (candidate.task.as_str(), candidate.run);
        // A place that is left over, of a run that is over, is given up when its turn comes.
        let is_held = candidate.since.is_some();
        if is_held || self.lock().choice.knows(task, run) {
            self.places.give_up(task, run).await?;
        }
        {
            let mut state = self.lock();
            state.choice.forget(task, run);
            state.choice.offers.close(task, self.world.clock.now());
        }
        self.slots.free((task, run), &group_of(candidate)).await?;
        self.wake.notify_one();
        // Another dispatcher may have handled the resume meanwhile, and found the place that is gone now.
        if is_held && self.waits_again(task, run).await? {
            return self.enqueue(candidate).await;
        }
        Ok(())
    }

    /// A worker has taken an order of a task.
    pub fn acknowledged(&self, task: &str, at: Timestamp) {
        let mut state = self.lock();
        state.worker_seen = state.worker_seen.max(at);
        if state.choice.offers.close(task, self.world.clock.now()) {
            self.wake.notify_one();
        }
    }

    /// A run on offer is paused: nobody may take it, so it keeps no other run waiting.
    pub fn close_offer(&self, task: &str) {
        if self.lock().choice.offers.close(task, self.world.clock.now()) {
            self.wake.notify_one();
        }
    }

    /// It is on offer again.
    pub fn open_offer(&self, task: &str) {
        let now = self.world.clock.now();
        self.lock().choice.offers.open(task, now);
    }

    /// Whether nobody took an order because there is no worker, and others have been on offer for longer: one
    /// at a time is tried then, so that a night without workers does not block every task. What was the first
    /// for part of its time only has not been tried: it has as many tries as any other.
    pub async fn is_behind(&self, task: &str) -> Result<bool, BrokerError> {
        // The last worker may have fallen silent after it was on offer.
        self.look_for_workers().await?;
        let now = self.world.clock.now();
        let mut state = self.lock();
        if now.since(state.worker_seen) < WORKERS {
            return Ok(false);
        }
        state.choice.offers.open(task, now);
        Ok(state.choice.offers.is_behind(task, now - self.rules.acknowledge))
    }

    /// Takes note of what the projector says of a log. Whether it is that.
    pub fn hear(&self, log: &str, sequence: u64, event: &ProjectorEvent) -> bool {
        let Some(alarm) = alarms::said(event) else { return false };
        let mut state = self.lock();
        if state.alarms.hear(log, sequence, alarm) {
            match state.alarms.standing() {
                Some(alarm) => tracing::warn!(log, alarm, "dispatch is stopped"),
                None => tracing::info!(log, "dispatch goes on"),
            }
            self.wake.notify_one();
        }
        true
    }

    /// Why an event must not be written now: it offers work, and a log is under an alarm.
    pub fn withholds(&self, event: &DispatcherEvent) -> Option<String> {
        let offers = match event {
            DispatcherEvent::TaskScheduled(event) => event.order.is_some(),
            DispatcherEvent::WorkOrderIssued(_) => true,
            _ => false,
        };
        if !offers {
            return None;
        }
        self.lock().alarms.standing().map(stopped)
    }

    fn workers_absent(&self, now: Timestamp) -> bool {
        now.since(self.lock().worker_seen) > self.rules.acknowledge
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stopped(alarm: &str) -> String {
    format!("dispatch is stopped: {alarm}")
}

fn group_of(candidate: &Candidate) -> Group {
    Group { repository: candidate.repository.clone(), domain: normal(&candidate.domain) }
}
