//! Every input in every state of one decider.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use millrace_decider::{Cause, Context, Decider, Due, Recorded, Refusal, Timestamp};
use millrace_events::v1::{TaskRef, TimerFired};
use millrace_events::{Code, Event, Key, Log, LogEvent};
use millrace_runtime::host::{Fault, Hosted, Incoming, Received};

use crate::facts::{BEGIN, Label, TASK, fact, names_of, variants};

/// What a hosted decider records.
pub type EventOf<H> = <<H as Hosted>::Decider as Decider>::Event;
/// What it decides on.
pub type InputOf<H> = <<H as Hosted>::Decider as Decider>::Input;
type StateOf<H> = <<H as Hosted>::Decider as Decider>::State;
/// From the history, the input and what it makes due.
pub type Explain<H> = fn(&[EventOf<H>], &Arrival<InputOf<H>>, &[String]) -> Option<&'static str>;
/// From the history, the input and the event.
pub type Lawful<H> = fn(&[EventOf<H>], &Arrival<InputOf<H>>, &EventOf<H>) -> Result<(), String>;
/// An input, what it came to, and what it makes due.
pub type Cell = (Label, Outcome, Vec<String>);
type EffectOf<H> = <<H as Hosted>::Decider as Decider>::Effect;

/// Decisions are made so many seconds after the last event of the history.
const LATER: Duration = Duration::from_secs(300);

/// A decider, the histories that it is put into, and what may come of an input there.
pub struct Subject<H: Hosted> {
    /// With its real rim.
    pub hosted: H,
    /// The key that its histories stand under.
    pub key: Key,
    /// Histories of its own log, by name. Each beginning of each is a state.
    pub lives: Vec<(&'static str, Vec<&'static str>)>,
    /// The event of a history that a label names, given the history before it.
    pub own: fn(&[EventOf<H>], &Label) -> EventOf<H>,
    /// Answers of the world that are decided on, beside the events of other logs.
    pub outcomes: fn() -> Vec<(Label, InputOf<H>)>,
    /// Why an input may change nothing there; `None`: that is a silent accept.
    pub explain: Explain<H>,
    /// Whether an event may follow on that history because of that input.
    pub lawful: Lawful<H>,
}

/// Something that comes to a decider.
pub struct Arrival<Input> {
    /// What it is; of a deadline, its name with `@` before it.
    pub label: Label,
    /// The log that it stands in. None: a deadline, or an answer of the world.
    pub log: Option<Log>,
    /// The deadline, when it is one.
    pub timer: Option<TimerFired>,
    /// What the rim makes of it; `None`: it concerns the decider not.
    pub input: Option<Input>,
    /// Where it stands.
    pub cause: Cause,
}

/// A state, and how it came about.
pub struct Situation<H: Hosted> {
    /// The history that leads there first.
    pub name: String,
    /// See `name`.
    pub history: Vec<EventOf<H>>,
    state: StateOf<H>,
}

/// What an input came to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// An event was recorded.
    Appended(String),
    /// Refused, and that is recorded.
    Recorded(String),
    /// Refused, and counted.
    Refused,
    /// Asked again later.
    Held,
    /// Nothing changes, for that reason.
    NoOp(&'static str),
    /// It belongs to another key.
    Elsewhere,
}

/// The whole table, with everything that is wrong in it.
pub struct Table {
    /// By state, in the order of the lives: what each input came to and what it makes due.
    pub rows: Vec<(String, Vec<Cell>)>,
    /// Inputs that the rim ignores.
    pub ignored: Vec<Label>,
    /// What must not be.
    pub faults: Vec<String>,
}

impl<H> Subject<H>
where
    H: Hosted,
    StateOf<H>: Debug + Clone,
    EventOf<H>: LogEvent + Debug,
    InputOf<H>: Debug,
{
    /// Every distinct state, the empty one first.
    pub fn situations(&self) -> Vec<Situation<H>> {
        let mut found: Vec<Situation<H>> = Vec::new();
        let mut known: Vec<String> = Vec::new();
        for (life, labels) in &self.lives {
            let mut history = Vec::new();
            let mut state = StateOf::<H>::default();
            let labels = labels.iter().map(|label| Some(Label::parse(label)));
            for (number, label) in std::iter::once(None).chain(labels).enumerate() {
                let name = match &label {
                    Some(label) => format!("{life} {number}: {label}"),
                    None => "nothing".to_owned(),
                };
                if let Some(label) = label {
                    let event = (self.own)(&history, &label);
                    self.record(&mut state, &event, history.len(), None);
                    history.push(event);
                }
                let text = format!("{state:?}");
                if !known.contains(&text) {
                    known.push(text);
                    found.push(Situation { name, history: history.clone(), state: state.clone() });
                }
            }
        }
        found
    }

    /// Events of the own log that no history has.
    pub fn untold(&self) -> Vec<&'static str> {
        let told: Vec<&str> =
            self.lives.iter().flat_map(|(_, labels)| labels).filter_map(|l| l.split(' ').next()).collect();
        names_of(EventOf::<H>::LOG).into_iter().filter(|name| !told.contains(name)).collect()
    }

    /// Everything that can come: every event of the catalogue in every variant, the answers of the world, and
    /// every deadline that any of them arms in any state.
    fn arrivals(&self, situations: &[Situation<H>]) -> Vec<Arrival<InputOf<H>>> {
        let mut arrivals = Vec::new();
        let labels = Event::CATALOGUE
            .iter()
            .flat_map(|(log, name)| variants(*log, name).into_iter().map(|label| (*log, label)));
        for (number, (log, label)) in labels.enumerate() {
            let incoming = Incoming::Event(fact(log, &label));
            let key = if log == Log::Intake { "req-1" } else { TASK };
            let cause = Cause::new(log.stream(0), 1_000 + number as u64);
            let received = Received {
                incoming,
                log: Some(log),
                key: Key::new(key).unwrap(),
                id: format!("event-{number}"),
                time: now(0),
                position: cause,
            };
            arrivals.push(self.arrival(label, received, None));
        }
        for (number, (label, input)) in (self.outcomes)().into_iter().enumerate() {
            let cause = Cause::new("ANSWER", 1 + number as u64);
            arrivals.push(Arrival { label, log: None, timer: None, input: Some(input), cause });
        }
        for (number, timer) in self.alarms(situations, &arrivals).into_iter().enumerate() {
            let task = timer.task.clone().unwrap_or_default();
            let about = if timer.about.is_empty() { "" } else { timer.about.rsplit('.').next().unwrap() };
            let about = about.split_once('/').map_or("", |(_, order)| order);
            let text = format!("@{} {}.{} {about}", timer.name, task.run, task.attempt);
            let received = Received {
                incoming: Incoming::Timer(timer.clone()),
                log: None,
                key: Key::new(TASK).unwrap(),
                id: format!("timer-{number}"),
                time: now(0),
                position: Cause::new("TIMERS", 1 + number as u64),
            };
            arrivals.push(self.arrival(Label::parse(&text), received, Some(timer)));
        }
        arrivals
    }

    fn arrival(&self, label: Label, received: Received, timer: Option<TimerFired>) -> Arrival<InputOf<H>> {
        let input = catch_unwind(AssertUnwindSafe(|| self.hosted.accept(&received)));
        let input = input.unwrap_or_else(|_| panic!("the rim panics on {label}"));
        Arrival { label, log: received.log, timer, input, cause: received.position }
    }

    /// The deadlines that any of these arms in any state, one that nobody armed, and each once more for a run
    /// that never was and for no task.
    fn alarms(&self, situations: &[Situation<H>], arrivals: &[Arrival<InputOf<H>>]) -> Vec<TimerFired> {
        let decider = self.hosted.decider();
        let mut alarms: BTreeMap<String, TimerFired> = BTreeMap::new();
        let mut add = |timer: TimerFired| {
            let place = timer.task.as_ref().map(|task| (task.run, task.attempt));
            alarms.entry(format!("{} {place:?} {}", timer.name, timer.about)).or_insert(timer);
        };
        for situation in situations {
            for input in arrivals.iter().filter_map(|arrival| arrival.input.as_ref()) {
                for due in decider.due(&situation.state, input) {
                    if let Due::Deadline(deadline) = due {
                        add(deadline.alarm);
                    }
                }
            }
        }
        add(TimerFired {
            name: "unheard_of".to_owned(),
            task: Some(task_ref(1, 1)),
            ..TimerFired::default()
        });
        let mut timers: Vec<TimerFired> = alarms.into_values().collect();
        let mut names: Vec<String> = timers.iter().map(|timer| timer.name.clone()).collect();
        names.dedup();
        for name in names {
            let about = format!("{TASK}/9.1/change/1");
            timers.push(TimerFired { name: name.clone(), task: Some(task_ref(9, 1)), about, round: 0 });
            timers.push(TimerFired { name, task: None, about: String::new(), round: 0 });
        }
        timers
    }

    /// Plays the whole table.
    pub fn play(&self) -> Table {
        let situations = self.situations();
        let arrivals = self.arrivals(&situations);
        let mut table = Table { rows: Vec::new(), ignored: Vec::new(), faults: Vec::new() };
        for arrival in arrivals.iter().filter(|arrival| arrival.input.is_none()) {
            table.ignored.push(arrival.label.clone());
        }
        for situation in &situations {
            let mut row = Vec::new();
            for arrival in &arrivals {
                let Some(input) = &arrival.input else { continue };
                let place = format!("{} <- {}", situation.name, arrival.label);
                match catch_unwind(AssertUnwindSafe(|| self.cell(situation, arrival, input))) {
                    Ok(Ok((outcome, owed))) => row.push((arrival.label.clone(), outcome, owed)),
                    Ok(Err(fault)) => table.faults.push(format!("{place}: {fault}")),
                    Err(_) => table.faults.push(format!("{place}: panics")),
                }
            }
            table.rows.push((situation.name.clone(), row));
        }
        table
    }

    fn cell(
        &self,
        situation: &Situation<H>,
        arrival: &Arrival<InputOf<H>>,
        input: &InputOf<H>,
    ) -> Result<(Outcome, Vec<String>), String> {
        let key = self.hosted.key(input);
        if key != self.key && !situation.history.is_empty() {
            return Ok((Outcome::Elsewhere, Vec::new()));
        }
        let decider = self.hosted.decider();
        let count = situation.history.len();
        let context = Context { now: now(count), cause: arrival.cause.clone() };
        let mut state = situation.state.clone();
        let outcome = match decider.decide(&state, input, &context) {
            Ok(None) => {
                let owed = self.owed(&state, input);
                let reason = (self.explain)(&situation.history, arrival, &owed)
                    .ok_or_else(|| format!("a silent accept (owes {owed:?})"))?;
                return Ok((Outcome::NoOp(reason), owed));
            }
            Err(Refusal::TooEarly(_)) => return Ok((Outcome::Held, Vec::new())),
            Ok(Some(event)) => {
                (self.lawful)(&situation.history, arrival, &event)?;
                let about = event.clone().into_event();
                let about = about.task_ref().map(|task| format!(" {}.{}", task.run, task.attempt));
                let outcome = Outcome::Appended(format!("{}{}", event.name(), about.unwrap_or_default()));
                self.record_as_written(&mut state, event, count, &context.cause)?;
                outcome
            }
            Err(refusal) => match decider.refused(&state, input, &refusal, &context) {
                None => Outcome::Refused,
                Some(event) => {
                    states_mismatch(&event)?;
                    let outcome = Outcome::Recorded(event.name().to_owned());
                    self.record_as_written(&mut state, event, count, &context.cause)?;
                    outcome
                }
            },
        };
        // Delivered again, it changes nothing more.
        match decider.decide(&state, input, &context) {
            Ok(None) | Err(Refusal::TooEarly(_)) => {}
            Ok(Some(event)) => return Err(format!("{outcome:?}, and {} when it comes again", event.name())),
            Err(refusal) => {
                if let Some(event) = decider.refused(&state, input, &refusal, &context) {
                    return Err(format!("{outcome:?}, and {} when it comes again", event.name()));
                }
            }
        }
        Ok((outcome, self.owed(&state, input)))
    }

    /// What is due, by name; and that giving it up never panics.
    fn owed(&self, state: &StateOf<H>, input: &InputOf<H>) -> Vec<String> {
        let due: Vec<Due<EffectOf<H>, TimerFired>> = self.hosted.decider().due(state, input);
        let name = |owed: &Due<EffectOf<H>, TimerFired>| match owed {
            Due::Deadline(deadline) => format!("@{}", deadline.name),
            Due::Effect(effect) => {
                drop(self.hosted.gave_up(effect, &Fault::lasting(Code::Internal, "the world is gone")));
                let text = format!("{effect:?}");
                text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
            }
        };
        due.iter().map(name).collect()
    }

    fn record(&self, state: &mut StateOf<H>, event: &EventOf<H>, before: usize, cause: Option<&Cause>) {
        let time = BEGIN + Duration::from_secs(before as u64);
        let recorded = Recorded { event, sequence: before as u64 + 1, time, cause };
        self.hosted.decider().evolve(state, &recorded);
    }

    /// Folds what was decided, as a replica reads it from its bytes; both folds must agree.
    fn record_as_written(
        &self,
        state: &mut StateOf<H>,
        event: EventOf<H>,
        before: usize,
        cause: &Cause,
    ) -> Result<(), String> {
        let mut here = state.clone();
        self.record(&mut here, &event, before, Some(cause));
        let wire = event.into_event();
        let read = Event::decode(wire.log(), wire.name(), &wire.encode());
        let read = read.ok().flatten().and_then(EventOf::<H>::from_event);
        let read = read.ok_or_else(|| format!("{} cannot be read again", wire.name()))?;
        self.record(state, &read, before, Some(cause));
        if format!("{here:?}") == format!("{state:?}") {
            Ok(())
        } else {
            Err(format!("{} folds otherwise when it is read from its bytes", wire.name()))
        }
    }
}

/// When things happen after so many events.
pub fn now(events: usize) -> Timestamp {
    BEGIN + Duration::from_secs(events as u64) + LATER
}

/// A recorded refusal says STATE_MISMATCH.
fn states_mismatch<E: LogEvent>(event: &E) -> Result<(), String> {
    let mut event = event.clone().into_event();
    match event.failure_mut().and_then(|failure| failure.known_code()) {
        Some(Code::StateMismatch) => Ok(()),
        other => Err(format!("a refusal is recorded with {other:?}")),
    }
}

/// The task at that place.
pub fn task_ref(run: u32, attempt: u32) -> TaskRef {
    let label = Label::parse(&format!("ExecutionCompleted {run}.{attempt}"));
    fact(Log::Worker, &label).task_ref().cloned().unwrap()
}
