//! Choosing among those that wait, whenever room may have come: a run ended, an offer was taken, something was
//! put into the queue, a second has passed.

use std::convert::Infallible;
use std::time::Duration;

use millrace_decider::Cause;
use millrace_events::v1::{TaskRef, TimerFired};
use millrace_events::{Envelope, Key, Log, Service};
use millrace_runtime::broker::{AppendError, BrokerError};
use millrace_runtime::host::Arming;

use super::queue::Waiting;
use super::upkeep::has_passed;
use super::{Admission, State};
use crate::domain::ADMIT;

/// Chosen in one go at most.
const BATCH: usize = 64;
/// Room that nobody told of is found after this.
const TICK: Duration = Duration::from_secs(1);
/// While nothing waits, there is less to look at.
const IDLE: Duration = Duration::from_secs(10);

impl Admission {
    /// Lets in what waits, for as long as it is polled.
    pub async fn run(&self) -> Infallible {
        let mut looked = self.world.clock.now();
        loop {
            if has_passed(looked, self.world.clock.now(), self.tick()) {
                looked = self.world.clock.now();
                self.look_around().await;
            }
            self.let_in().await;
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = self.world.clock.sleep(self.tick()) => {}
            }
        }
    }

    /// Signs of workers are to be seen in time, too.
    fn tick(&self) -> Duration {
        let choice = &self.lock().choice;
        let is_idle = choice.queue.is_empty() && choice.granted.is_empty();
        if is_idle { IDLE.min(self.rules.acknowledge / 3).max(TICK) } else { TICK }
    }

    /// Lets in as many as there is room for.
    pub(super) async fn let_in(&self) {
        loop {
            let chosen = self.choose_some().await;
            if chosen.is_empty() {
                return;
            }
            let arming = chosen.iter().map(|waiting| self.arm(waiting));
            let armed = futures::future::join_all(arming).await;
            let mut failed = false;
            for (waiting, armed) in chosen.iter().zip(armed) {
                if let Err(error) = armed {
                    tracing::warn!(task = %waiting.task, %error, "cannot let a run in; trying again");
                    self.put_back(&waiting.task);
                    failed = true;
                }
            }
            if failed {
                return;
            }
        }
    }

    /// The next few that there is room for, with their shares of the limits taken.
    async fn choose_some(&self) -> Vec<Waiting> {
        let mut chosen = Vec::new();
        while chosen.len() < BATCH {
            let Some(waiting) = self.choose() else { break };
            let now = self.world.clock.now();
            let run = (waiting.task.as_ref(), waiting.run);
            match self.slots.take(run, &waiting.group, now).await {
                Ok(None) => {
                    self.lock().choice.queue.served(&waiting.group.domain);
                    chosen.push(waiting);
                }
                // Another dispatcher was faster; what is full is known now.
                Ok(Some(_)) => self.put_back(&waiting.task),
                Err(error) => {
                    tracing::warn!(task = %waiting.task, %error, "cannot take a share of a limit");
                    self.put_back(&waiting.task);
                    break;
                }
            }
        }
        chosen
    }

    /// The one that comes next.
    fn choose(&self) -> Option<Waiting> {
        let now = self.world.clock.now();
        let is_absent = self.workers_absent(now);
        let mut state = self.lock();
        let State { choice, alarms, .. } = &mut *state;
        if choice.queue.is_empty() || alarms.standing().is_some() || self.no_room(choice, is_absent).is_some()
        {
            return None;
        }
        let waiting = choice.queue.take(now, self.rules.aging, |group| self.slots.full(group).is_none())?;
        choice.grant(waiting.clone(), now);
        Some(waiting)
    }

    /// Lets in a run that has its share of the limits already: a crash came between the share and the deadline.
    pub(super) async fn let_in_holder(&self, task: &str, run: u32) -> Result<(), BrokerError> {
        let now = self.world.clock.now();
        let waiting = {
            let mut state = self.lock();
            if state.choice.queue.run_of(task) != Some(run) {
                return Ok(());
            }
            let Some(waiting) = state.choice.queue.remove(task) else { return Ok(()) };
            state.choice.grant(waiting.clone(), now);
            waiting
        };
        // It may lack its share of another limit.
        let lacks = self.slots.take((task, run), &waiting.group, now).await.map(|full| full.is_some());
        if !matches!(lacks, Ok(false)) {
            self.put_back(task);
            return lacks.map(|_| ());
        }
        self.arm(&waiting).await.inspect_err(|_| self.put_back(task))
    }

    fn put_back(&self, task: &str) {
        let now = self.world.clock.now();
        self.lock().choice.put_back(task, now);
    }

    /// Makes it the task's turn: a deadline that fires at once, in the dispatcher's own stream. It stands on
    /// the event that made the task wait.
    async fn arm(&self, waiting: &Waiting) -> Result<(), BrokerError> {
        let Ok(key) = Key::new(waiting.task.as_ref()) else { return Ok(()) };
        let partitions = self.rules.partitions;
        let stream = Log::Dispatcher.stream(key.partition(partitions));
        let newest = self.world.broker.last(&stream, &Log::Dispatcher.subject(&key, partitions)).await?;
        let Some(newest) = newest else {
            // A place in the queue without a task.
            self.lock().choice.revoke(&waiting.task, self.world.clock.now());
            return self.dequeue(&waiting.task, waiting.run).await;
        };
        // Whole seconds are rounded up; what lies in the server's past fires at once, whatever our clock says.
        let at = newest.time - Duration::from_secs(1);
        let cause = Cause::new(newest.stream, newest.sequence);
        let task = TaskRef {
            task: waiting.task.to_string(),
            run: waiting.run,
            repository: waiting.group.repository.clone(),
            ..TaskRef::default()
        };
        let timer = TimerFired { name: ADMIT.to_owned(), task: Some(task), ..TimerFired::default() };
        let traced = Envelope::decode(&newest.payload).ok();
        let traced = traced.as_ref().map_or(("", ""), |event| (&event.traceparent, &event.tracestate));
        let arming = Arming {
            service: Service::Dispatcher,
            key: &key,
            name: ADMIT,
            timer: &timer,
            at,
            by: &cause,
            now: self.world.clock.now(),
            traceparent: traced.0,
            tracestate: traced.1,
        };
        let append = arming.message();
        match self.world.broker.append(&append).await {
            Ok(_) => Ok(()),
            Err(AppendError::Broker(error)) => Err(error),
            Err(error) => {
                let message = error.to_string();
                Err(BrokerError::Failed { operation: "arm a deadline".to_owned(), message })
            }
        }
    }
}
