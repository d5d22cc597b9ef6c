//! What a service hands to the host: its decider, how events become inputs, how effects are performed.

use async_trait::async_trait;
use millrace_decider::{Cause, Decider, Timestamp};
use millrace_events::{Event, Key, Log, LogEvent, Service, v1};

use super::{EffectContext, Fault, Reports};

/// A decider with its rim.
#[async_trait]
pub trait Hosted: Send + Sync + 'static {
    /// What it decides.
    type Decider: Decider<Event: LogEvent, Effect: Clone + PartialEq + std::fmt::Debug, Alarm = v1::TimerFired>;

    /// Which service it is.
    const SERVICE: Service;

    /// The decider, with its limits.
    fn decider(&self) -> &Self::Decider;

    /// What something received means to this service. `None`: it concerns it not.
    fn accept(&self, received: &Received) -> Option<<Self::Decider as Decider>::Input>;

    /// The key in the service's own log that an input is decided under.
    fn key(&self, input: &<Self::Decider as Decider>::Input) -> Key;

    /// Does one effect. First asks whether it has happened already. `Ok(None)`: done, and nothing to decide.
    /// A fault is tried again with back-off.
    async fn perform(
        &self,
        effect: &<Self::Decider as Decider>::Effect,
        context: &EffectContext,
    ) -> Result<Option<<Self::Decider as Decider>::Input>, Fault>;

    /// As `perform`, and what the host calls. An effect that takes long overrides it and reports what happens on
    /// the way.
    async fn perform_reporting(
        &self,
        effect: &<Self::Decider as Decider>::Effect,
        context: &EffectContext,
        _reports: Reports<<Self::Decider as Decider>::Input>,
    ) -> Result<Option<<Self::Decider as Decider>::Input>, Fault> {
        self.perform(effect, context).await
    }

    /// Whether nothing was decided about an input because another process was first, as with a claim: counted,
    /// for people.
    fn came_second(
        &self,
        _state: &<Self::Decider as Decider>::State,
        _input: &<Self::Decider as Decider>::Input,
    ) -> bool {
        false
    }

    /// Why an event must not be written now. Its input is held, and decided again later.
    fn withholds(&self, _event: &<Self::Decider as Decider>::Event) -> Option<String> {
        None
    }

    /// What it means that an effect could not be done, however often it was tried. `None`: the input goes to
    /// the dead letters.
    fn gave_up(
        &self,
        _effect: &<Self::Decider as Decider>::Effect,
        _fault: &Fault,
    ) -> Option<<Self::Decider as Decider>::Input> {
        None
    }
}

/// A message of another log, or a fired deadline, as a service gets to see it.
#[derive(Debug, Clone)]
pub struct Received {
    /// What it says.
    pub incoming: Incoming,
    /// The log it stands in; `None` for a fired deadline.
    pub log: Option<Log>,
    /// Its key in that log.
    pub key: Key,
    /// Id of the event or of the deadline: the same however often it was published.
    pub id: String,
    /// When it was decided; of a deadline, when it fired, by the server's clock.
    pub time: Timestamp,
    /// Where it stands.
    pub position: Cause,
}

impl Received {
    /// Name of the event or of the deadline.
    pub fn name(&self) -> &str {
        match &self.incoming {
            Incoming::Event(event) => event.name(),
            Incoming::Timer(timer) => &timer.name,
        }
    }
}

/// An event or a fired deadline.
#[derive(Debug, Clone)]
pub enum Incoming {
    /// An event of another log.
    Event(Event),
    /// A deadline of this service.
    Timer(v1::TimerFired),
}
