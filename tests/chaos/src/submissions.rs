//! A producer with a journal of what the broker acknowledged, kept outside of everything that may break.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millrace_decider::Timestamp;
use millrace_e2e::{Plan, spec};
use millrace_events::v1::SpecSource;
use millrace_events::{Envelope, Key, Log};
use millrace_runtime::broker::{AppendError, Broker};
use millrace_spec_registry::intake::{Document, HandIn, append, submission as hand_in};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::read_all;

/// An event that the broker acknowledged.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its key, `req-…`.
    pub key: Key,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// When the acknowledgement came.
    pub at: Instant,
}

/// The acknowledged events, in the order in which the acknowledgements came.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<Sent>>>);

/// Hands in specs as fast as the broker takes them.
pub struct Sender {
    lanes: JoinSet<()>,
    refusals: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
}

/// A spec to hand in.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Id of its repository.
    pub repository: String,
    /// Its task, which also names its file.
    pub task: String,
    /// Its bytes.
    pub text: String,
}

/// The submission of a spec.
fn submission(spec: &Spec) -> (Key, Envelope) {
    let path = format!("docs/specs/{}.md", spec.task);
    let hand_in_this = HandIn {
        producer: "/chaos/producer",
        repository: &spec.repository,
        path: &path,
        commit: "",
        source: SpecSource::Intake,
        submitted_by: "chaos",
        spec: Document::Inline(spec.text.clone().into_bytes()),
        plan: None,
    };
    hand_in(hand_in_this, Timestamp::from_micros(0)).unwrap()
}

impl Spec {
    /// Of the task with that number, in the repository `shop`, too little to be worked on: a task that fails
    /// at the gate. `bytes`: about so large.
    #[must_use]
    pub fn refused(number: usize, bytes: usize) -> Self {
        let task = format!("VTID-{number:05}");
        let text = format!("# {task}: nothing\n\n## Summary\n\n{}\n", "much ado ".repeat(bytes / 9));
        Self { repository: "shop".to_owned(), task, text }
    }

    /// Of the task with that number, in one of so many repositories: a change that is in nobody's way, and a
    /// command that takes a while.
    #[must_use]
    pub fn worked_on(number: usize, repositories: usize, command: &'static str) -> Self {
        let task = format!("VTID-{number:05}");
        let plan = Plan::file(format!("notes-{number}.txt"), &task).command(command);
        let repository = match number % repositories {
            0 => "shop".to_owned(),
            other => format!("shop-{}", other + 1),
        };
        Self { repository, text: spec(&task, &plan), task }
    }
}

impl Journal {
    /// Hands in one spec.
    ///
    /// # Errors
    /// It was not acknowledged.
    pub async fn send(&self, broker: &dyn Broker, spec: &Spec) -> Result<(), AppendError> {
        let (key, envelope) = submission(spec);
        let message = append(&key, &envelope, 1).expecting(0);
        match broker.append(&message).await {
            // A conflict: it is stored, and an earlier acknowledgement did not arrive.
            Ok(_) | Err(AppendError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        let sent = Sent { key, payload: message.payload, at: Instant::now() };
        self.0.lock().unwrap().push(sent);
        Ok(())
    }

    /// Everything acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<Sent> {
        self.0.lock().unwrap().clone()
    }

    /// How many were acknowledged so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Whether nothing was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The acknowledged events that the intake does not hold, or not with these bytes; one that stands there
    /// twice ends the scenario.
    pub async fn lost(&self, broker: &dyn Broker) -> Vec<Sent> {
        let mut held = BTreeMap::new();
        for stored in read_all(broker, Log::Intake).await {
            let key = stored.subject.rsplit('.').next().unwrap_or_default().to_owned();
            assert!(held.insert(key, stored.payload).is_none(), "{} is stored twice", stored.subject);
        }
        let is_held = |sent: &Sent| held.get(sent.key.as_str()) == Some(&sent.payload);
        self.acknowledged().into_iter().filter(|sent| !is_held(sent)).collect()
    }
}

impl Sender {
    /// Starts `lanes` producers; `make` makes the n-th submission, until it has no more.
    /// What is not acknowledged is sent again: it is the same message.
    pub fn start(
        broker: &Arc<dyn Broker>,
        journal: &Journal,
        lanes: usize,
        make: impl Fn(usize) -> Option<Spec> + Send + Sync + 'static,
    ) -> Self {
        let (make, stop) = (Arc::new(make), CancellationToken::new());
        let refusals = Arc::<Mutex<Vec<String>>>::default();
        let mut set = JoinSet::new();
        for lane in 0..lanes {
            let (broker, journal) = (broker.clone(), journal.clone());
            let (make, stop, refusals) = (make.clone(), stop.clone(), refusals.clone());
            set.spawn(async move {
                for number in (lane..).step_by(lanes) {
                    let Some(spec) = make(number) else { return };
                    while !stop.is_cancelled() {
                        let sending = journal.send(&*broker, &spec);
                        match stop.run_until_cancelled(sending).await {
                            Some(Ok(())) => break,
                            Some(Err(error)) => refusals.lock().unwrap().push(error.to_string()),
                            None => {}
                        }
                    }
                    if stop.is_cancelled() {
                        return;
                    }
                }
            });
        }
        Self { lanes: set, refusals, stop }
    }

    /// Lets them send for a while, which is the load and not a wait for something.
    pub async fn send_for(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// What the broker answered so far when it did not acknowledge.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        self.refusals.lock().unwrap().clone()
    }

    /// Ends them.
    pub async fn stop(self) {
        self.stop.cancel();
        self.finish().await;
    }

    /// Waits until everything is acknowledged.
    pub async fn finish(mut self) {
        while let Some(lane) = self.lanes.join_next().await {
            lane.unwrap();
        }
    }
}
