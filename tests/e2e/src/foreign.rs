//! Messages that the test itself puts into the logs, under the identities of those who may write them: what
//! is broken, and what a newer version might write.

use millrace_events::{Envelope, Key, Log, Service};
use millrace_runtime::broker::{Append, AppendError, Broker as _};
use millrace_runtime::permissions::Identity;

use crate::campaign::Campaign;

/// Who may write to a log.
pub fn writer(log: Log) -> Identity {
    match log {
        Log::Intake => Identity::Producer,
        Log::Operator => Identity::Service(Service::Query),
        Log::DeadLetter => Identity::Service(Service::Worker),
        log => {
            let own = Service::ALL.into_iter().find(|service| service.own_log() == Some(log));
            Identity::Service(own.expect("a log that a service writes"))
        }
    }
}

impl Campaign {
    /// Puts these bytes under a key, at the end of what stands there, while others write too. Its sequence.
    /// No invariant holds it against anybody.
    pub async fn put(
        &mut self,
        log: Log,
        key: &Key,
        payload: Vec<u8>,
        content_type: Option<&'static str>,
    ) -> u64 {
        let broker = self.cluster.connect(writer(log)).await;
        let auditor = self.cluster.connect(Identity::Auditor).await;
        let (stream, subject) = (log.stream(0), log.subject(key, 1));
        loop {
            let last = auditor.last(&stream, &subject).await.expect("the last message");
            let mut append = Append::new(&stream, &subject, payload.clone())
                .expecting(last.map_or(0, |stored| stored.sequence));
            append.content_type = content_type;
            match broker.append(&append).await {
                Ok(appended) => {
                    self.is_foreign(log, appended.sequence);
                    return appended.sequence;
                }
                Err(AppendError::Conflict { .. }) => {}
                Err(error) => panic!("{subject}: {error}"),
            }
        }
    }

    /// The same for an envelope.
    pub async fn put_event(&mut self, log: Log, key: &Key, envelope: &Envelope) -> u64 {
        let protobuf = Some(millrace_events::CONTENT_TYPE_PROTOBUF);
        self.put(log, key, envelope.encode(), protobuf).await
    }

    /// One of the tasks that were handed in, as a key.
    pub fn any_task(&mut self) -> Key {
        let at = self.dice.below(self.submitted.len());
        Key::new(self.submitted[at].task.clone()).expect("a task is a key")
    }
}
