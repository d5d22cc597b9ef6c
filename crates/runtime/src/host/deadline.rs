//! A deadline as a message: it waits in the service's own stream of deadlines, one to a key and name, and comes
//! back as an input when it fires.

use std::time::Duration;

use millrace_decider::{Cause, Timestamp};
use millrace_events::v1::TimerFired;
use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope, Key, Service, event_id};

use crate::broker::{Append, Schedule};

/// How long a fired deadline is kept for a service that is down.
const FIRED_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// A deadline that is to be armed.
#[derive(Debug)]
pub struct Arming<'a> {
    /// Whose deadline it is.
    pub service: Service,
    /// The key that it is due under.
    pub key: &'a Key,
    /// Its name: a key has one deadline of a name.
    pub name: &'a str,
    /// What comes back.
    pub timer: &'a TimerFired,
    /// When, by the server's clock. What lies in the server's past fires at once.
    pub at: Timestamp,
    /// The event that it stands on; its cause when it fires.
    pub by: &'a Cause,
    /// Now.
    pub now: Timestamp,
    /// Trace context that is passed on.
    pub traceparent: &'a str,
    /// See `traceparent`.
    pub tracestate: &'a str,
}

impl Arming<'_> {
    /// The message. It replaces the one of the same key and name that has not fired yet.
    pub fn message(&self) -> Append {
        let Self { service, key, name, timer, .. } = *self;
        let id = event_id(self.by, service.name(), name, timer.round);
        let mut envelope = Envelope::timer(service, id.to_string(), key.clone(), self.now, timer);
        envelope.cause = Some(self.by.clone());
        self.traceparent.clone_into(&mut envelope.traceparent);
        self.tracestate.clone_into(&mut envelope.tracestate);
        let schedule = Schedule { at: self.at, target: service.due_subject(key, name), keep: FIRED_KEPT };
        Append::new(service.timer_stream(), service.timer_subject(key, name), envelope.encode())
            .content_type(CONTENT_TYPE_PROTOBUF)
            .scheduled(schedule)
    }
}
