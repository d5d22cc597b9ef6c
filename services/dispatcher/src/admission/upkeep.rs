//! What is looked at now and then: the queue as other dispatchers change it, signs of workers, alarms, and
//! shares of limits that nobody gave back.

use std::time::Duration;

use millrace_decider::Timestamp;
use millrace_events::{DispatcherEvent, Envelope, Event, Key, Log, Service, WorkerEvent};
use millrace_runtime::broker::BrokerError;

use super::slots::Holder;
use super::{Admission, Entry};

/// Changes of the queue read at a time.
const PAGE: usize = 256;
/// What was chosen and is not on offer after this is looked at, and chosen again.
const GRANT: Duration = Duration::from_secs(30);
/// How often signs of workers are looked for while there are some.
pub(super) const WORKERS: Duration = Duration::from_secs(3);
/// How often alarms are read: a dispatcher that is not told of one has it well within a minute.
const ALARMS: Duration = Duration::from_secs(15);
/// How often the holders of limits are asked about, and from which age on.
const HOLDERS: Duration = Duration::from_secs(30);
/// A share of a limit without any run is given back after this.
const UNUSED: Duration = Duration::from_secs(10 * 60);
/// Runs that are asked about in one go.
const ASKED: usize = 32;
/// Open offers are asked about from this age on: another dispatcher may have heard of the worker that took them.
const OFFER_AGE: Duration = Duration::from_secs(30);
/// All of them are asked about within this, and so many at least at a time.
const OFFERS: Duration = Duration::from_secs(30);
const OFFERS_ASKED: usize = 4;

/// When what was looked at last, and how far.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// The queue's last revision.
    queue: u64,
    workers: Timestamp,
    alarms: Timestamp,
    holders: Timestamp,
    /// Where among the holders.
    holder: usize,
    offers: Timestamp,
    /// Where among the offers.
    offer: (Timestamp, String),
}

impl Admission {
    /// Finds everything again: who waits, who uses up the limits, which alarms stand, whether there are
    /// workers. To be called before anything is let in; fails while NATS does.
    pub async fn start(&self) -> Result<(), BrokerError> {
        self.follow_queue().await?;
        self.slots.refresh().await?;
        self.read_alarms().await?;
        self.look_for_workers().await
    }

    /// One look around; what fails is looked at again.
    pub(super) async fn look_around(&self) {
        let now = self.world.clock.now();
        let is_absent = self.workers_absent(now);
        let (waits, workers, alarms) = {
            let mut state = self.lock();
            let waits = !state.choice.queue.is_empty();
            let workers = due(&mut state.looked.workers, now, WORKERS) || (waits && is_absent);
            (waits, workers, due(&mut state.looked.alarms, now, ALARMS))
        };
        note("follow the queue", self.follow_queue().await);
        note("look at what was chosen", self.look_at_granted(now).await);
        if workers {
            note("look for workers", self.look_for_workers().await);
        }
        if alarms {
            note("read the alarms of logs", self.read_alarms().await);
        }
        if waits && !self.slots.is_empty() {
            note("look at the limits", self.look_at_limits(now).await);
        }
        note("ask about open offers", self.ask_about_offers(now).await);
    }

    /// Takes over what has changed in the bucket since.
    async fn follow_queue(&self) -> Result<(), BrokerError> {
        loop {
            let after = self.lock().looked.queue;
            let changes = self.places.changes(after, PAGE).await?;
            let is_last = changes.len() < PAGE;
            let mut state = self.lock();
            for change in changes {
                state.looked.queue = state.looked.queue.max(change.revision);
                let choice = &mut state.choice;
                let entry = change.value.map(|value| serde_json::from_slice::<Entry>(&value));
                match entry {
                    None => {
                        choice.queue.remove(&change.key);
                        if choice.revoke(&change.key, self.world.clock.now()) {
                            self.wake.notify_one();
                        }
                    }
                    Some(Ok(entry)) => {
                        let task = change.key.as_str();
                        let granted = choice.granted.get(task).map(|granted| granted.waiting.run);
                        if granted != Some(entry.run) && choice.queue.run_of(task) != Some(entry.run) {
                            let place = (entry.repository.as_str(), entry.domain.as_str());
                            let since = Timestamp::from_micros(entry.since);
                            choice.queue.insert((task, entry.run), place, entry.level, since);
                        }
                    }
                    Some(Err(error)) => {
                        tracing::warn!(task = change.key, %error, "an entry of the queue cannot be read");
                    }
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// What was chosen a while ago and is not on offer is chosen again, unless it waits no more.
    async fn look_at_granted(&self, now: Timestamp) -> Result<(), BrokerError> {
        let old = self.lock().choice.granted_before(now - GRANT, ASKED);
        for waiting in old {
            let (task, run) = (waiting.task.as_ref(), waiting.run);
            let has_place = self.places.has(task).await?;
            let is_over = has_place && self.standing(task, run).await?.is_over;
            if is_over {
                self.places.give_up(task, run).await?;
            }
            let mut state = self.lock();
            if !state.choice.is_granted_before(task, now - GRANT) {
                // Somebody was faster: it waits again, or has been chosen anew.
            } else if is_over || !has_place {
                state.choice.revoke(task, now);
            } else {
                state.choice.put_back(task, now);
            }
        }
        Ok(())
    }

    pub(super) async fn look_for_workers(&self) -> Result<(), BrokerError> {
        let prefix = format!("{}.", Service::Worker.name());
        let entries = self.world.heartbeats.entries().await?;
        if entries.iter().any(|(key, _)| key.starts_with(&prefix)) {
            let now = self.world.clock.now();
            let mut state = self.lock();
            state.worker_seen = state.worker_seen.max(now);
        }
        Ok(())
    }

    /// Reads what the projector said last of every log: another dispatcher may have been told, and so may the
    /// one before this.
    async fn read_alarms(&self) -> Result<(), BrokerError> {
        for log in Log::ALL {
            let Ok(key) = Key::new(log.name()) else { continue };
            let partitions = self.rules.partitions;
            let stream = Log::Projector.stream(key.partition(partitions));
            let subject = Log::Projector.subject(&key, partitions);
            let Some(newest) = self.world.broker.last(&stream, &subject).await? else { continue };
            let event =
                Envelope::decode(&newest.payload).ok().and_then(|envelope| envelope.event().ok().flatten());
            let is_answer = match event {
                Some(Event::Projector(event)) => self.hear(log.name(), newest.sequence, &event),
                _ => false,
            };
            if !is_answer {
                // Something else has been said since.
                for logged in self.logs.events(Log::Projector, &key).await? {
                    if let Event::Projector(event) = &logged.event {
                        self.hear(log.name(), logged.sequence, event);
                    }
                }
            }
        }
        Ok(())
    }

    /// Lets in who has a share and waits, and gives back the shares of runs that are over.
    async fn look_at_limits(&self, now: Timestamp) -> Result<(), BrokerError> {
        self.slots.refresh().await?;
        let mut holders = self.slots.holders();
        if self.lock().alarms.standing().is_none() {
            for (_, holder) in &holders {
                self.let_in_holder(&holder.task, holder.run).await?;
            }
        }
        let from = {
            let mut state = self.lock();
            if holders.is_empty() || !due(&mut state.looked.holders, now, HOLDERS) {
                return Ok(());
            }
            let from = state.looked.holder % holders.len();
            state.looked.holder = from + ASKED;
            from
        };
        holders.rotate_left(from);
        for (key, holder) in holders.iter().take(ASKED) {
            if now.since(holder.since()) >= HOLDERS && self.is_over(holder, now).await? {
                tracing::info!(
                    limit = key,
                    task = holder.task,
                    run = holder.run,
                    "a share that nobody gave back"
                );
                self.slots.evict(key, holder).await?;
            }
        }
        Ok(())
    }

    /// Whether the run that holds a share is over, by the dispatcher's own log, or never was.
    async fn is_over(&self, holder: &Holder, now: Timestamp) -> Result<bool, BrokerError> {
        let standing = self.standing(&holder.task, holder.run).await?;
        Ok(standing.is_over || (!standing.is_known && now.since(holder.since()) >= UNUSED))
    }

    /// Closes offers that were taken, or are over or paused, and of which nobody told this process.
    async fn ask_about_offers(&self, now: Timestamp) -> Result<(), BrokerError> {
        let old = {
            let mut state = self.lock();
            let passed = now.since(std::mem::replace(&mut state.looked.offers, now)).min(OFFERS);
            let share = state.choice.offers.len() as u128 * passed.as_millis() / OFFERS.as_millis();
            let count = usize::try_from(share).unwrap_or(usize::MAX).max(OFFERS_ASKED);
            state.choice.offers.after(&state.looked.offer, now - OFFER_AGE, count)
        };
        for some in old.chunks(ASKED) {
            let asking = some.iter().map(|(_, task)| self.standing(task, 0));
            let answers = futures::future::join_all(asking).await;
            for (place, standing) in some.iter().zip(answers) {
                let standing = standing?;
                let mut state = self.lock();
                state.looked.offer = place.clone();
                let is_closed = standing.is_over || standing.is_taken || standing.is_paused;
                if is_closed && state.choice.offers.close(&place.1, now) {
                    self.wake.notify_one();
                }
            }
        }
        Ok(())
    }

    /// Whether a run waits by its log, and nobody holds it: it was paused, and goes on.
    pub(super) async fn waits_again(&self, task: &str, run: u32) -> Result<bool, BrokerError> {
        let standing = self.standing(task, run).await?;
        Ok(standing.is_pending && !standing.is_paused && !standing.is_over)
    }

    /// What the logs say about a run; 0: the last one.
    async fn standing(&self, task: &str, run: u32) -> Result<Standing, BrokerError> {
        let mut standing = Standing::default();
        let Ok(key) = Key::new(task) else { return Ok(standing) };
        let mut last = run;
        for logged in self.logs.events(Log::Dispatcher, &key).await? {
            let Event::Dispatcher(event) = logged.event else { continue };
            let Some(of) = event.task_ref().map(|task| task.run).filter(|of| *of >= run) else { continue };
            last = last.max(of);
            standing.is_known = true;
            match &event {
                DispatcherEvent::TaskScheduled(event) => {
                    standing.is_paused = false;
                    standing.is_pending = event.order.is_none();
                }
                DispatcherEvent::WorkOrderIssued(_) => standing.is_pending = false,
                DispatcherEvent::TaskPaused(_) => standing.is_paused = true,
                DispatcherEvent::TaskResumed(_) => standing.is_paused = false,
                _ => {}
            }
            standing.is_over = matches!(
                event,
                DispatcherEvent::TaskCompleted(_)
                    | DispatcherEvent::TaskFailed(_)
                    | DispatcherEvent::TaskBlocked(_)
                    | DispatcherEvent::TaskCancelled(_)
            ) || (standing.is_over
                && matches!(event, DispatcherEvent::TransitionRefused(_)))
                || (run > 0 && of > run);
        }
        for logged in self.logs.events(Log::Worker, &key).await? {
            if let Event::Worker(WorkerEvent::WorkOrderAcknowledged(event)) = logged.event {
                standing.is_taken |= event.task.is_some_and(|task| task.run == last);
            }
        }
        Ok(standing)
    }
}

/// What the logs say about a run.
#[derive(Debug, Default)]
struct Standing {
    /// It was scheduled.
    is_known: bool,
    /// It has its terminal event.
    is_over: bool,
    /// It was not put on offer at once, nor since.
    is_pending: bool,
    /// A person holds it.
    is_paused: bool,
    /// A worker has taken an order of it.
    is_taken: bool,
}

/// Whether it is time again to look at something.
fn due(looked: &mut Timestamp, now: Timestamp, every: Duration) -> bool {
    let is_due = has_passed(*looked, now, every);
    if is_due {
        *looked = now;
    }
    is_due
}

/// Whether so much time has passed. Where the clock was put back nobody knows: it has.
pub(super) fn has_passed(since: Timestamp, now: Timestamp, time: Duration) -> bool {
    now < since || now.since(since) >= time
}

fn note(what: &str, looked: Result<(), BrokerError>) {
    if let Err(error) = looked {
        tracing::warn!(%error, "cannot {what}; trying again");
    }
}
