//! Which runs have ended, by what the dispatcher's log says.

use std::collections::BTreeSet;

use millrace_events::{DispatcherEvent, Envelope, Event, Log};
use millrace_runtime::broker::Broker as _;
use millrace_runtime::nats::NatsBroker;

/// Which runs have ended, followed in the dispatcher's log.
pub(super) struct Ends {
    auditor: NatsBroker,
    next: u64,
    ended: BTreeSet<(String, u32)>,
}

impl Ends {
    pub(super) fn new(auditor: NatsBroker) -> Self {
        Self { auditor, next: 1, ended: BTreeSet::new() }
    }

    pub(super) fn of(&self, task: &str, run: u32) -> bool {
        self.ended.contains(&(task.to_owned(), run))
    }

    /// Reads on; while NATS is away there is nothing new.
    pub(super) async fn read(&mut self) {
        loop {
            let stream = Log::Dispatcher.stream(0);
            let Ok(found) = self.auditor.read(&stream, None, self.next, 500).await else { return };
            let Some(last) = found.last() else { return };
            self.next = last.sequence + 1;
            for stored in &found {
                let envelope = Envelope::decode(&stored.payload);
                let Ok(Ok(Some(event))) = envelope.map(|envelope| envelope.event()) else { continue };
                if let (true, Some(task)) = (is_end(&event), event.task_ref()) {
                    self.ended.insert((task.task.clone(), task.run));
                }
            }
        }
    }
}

/// Whether an event ends its run.
fn is_end(event: &Event) -> bool {
    use DispatcherEvent::{TaskBlocked, TaskCancelled, TaskCompleted, TaskFailed};
    matches!(event, Event::Dispatcher(TaskCompleted(_) | TaskFailed(_) | TaskBlocked(_) | TaskCancelled(_)))
}
