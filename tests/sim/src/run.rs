//! One run: a world from a seed, a time of faults, a time to come to rest, and what must hold in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_events::{DispatcherEvent, Event, Log, SpecRegistryEvent};
use millrace_runtime::bootstrap::Declared;
use millrace_runtime::memory::MemoryBroker;
use millrace_runtime::settings::{ForgeKind, Limits, Repository, Settings};
use millrace_spec_registry::adapters::ScriptedSource;
use tokio::task::JoinSet;

use crate::evidence::{Evidence, letters};
use crate::forge::ForgeWorld;
use crate::gate::{TrueClock, Weather};
use crate::invariants;
use crate::ledger::MemoryLedger;
use crate::people::People;
use crate::process::{Outside, PROCESSES, keep_running};
use crate::profile::Profile;
use crate::target::TargetWorld;

/// A healed world has come to rest within this. Where clocks stay wrong, a deadline may come an hour late each time.
const REST_WITHIN: Duration = Duration::from_secs(24 * 3_600);
/// First pause before it is looked whether it has; each later one is a quarter longer.
const FIRST_LOOK: Duration = Duration::from_secs(20);

/// Every dispatcher has heard of an alarm, with time to spare. Issue 3, "Loss is noticed".
pub const HEARD: Duration = Duration::from_secs(60);

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Its faults.
    pub profile: Profile,
    /// The first invariant that does not hold, with what breaks it.
    pub broken: Option<(&'static str, String)>,
    /// Injected faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Tasks that were scheduled.
    pub tasks: u64,
    /// Events of all logs.
    pub events: u64,
    /// Acknowledged appends.
    pub acknowledged: u64,
    /// Deeds on forges and targets.
    pub deeds: u64,
    /// Runs that waited for room before they were put on offer.
    pub waited: u64,
    /// Dead letters that were read again and handled.
    pub replayed: u64,
    /// Virtual time.
    pub took: Duration,
    /// Line by line, where it was to be told.
    pub history: Vec<String>,
}

/// Runs one seed to its end. `is_told`: with its whole history.
///
/// # Errors
/// The runtime cannot be built.
pub fn run(seed: u64, is_told: bool) -> std::io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(simulate(seed, Profile::of(seed), is_told)))
}

async fn simulate(seed: u64, profile: Profile, is_told: bool) -> Outcome {
    let weather = Arc::new(Weather::new(seed, profile.clone(), is_told));
    let outside = outside(&weather);
    let mut processes = JoinSet::new();
    for (name, role) in PROCESSES {
        processes.spawn(keep_running(outside.clone(), name, role));
    }
    let people = People::new(outside.clone());
    people.act().await;
    tokio::time::sleep(profile.faulty_for / 4).await;
    weather.heal();
    let well_since = weather.now() + profile.longest_echo();
    if profile.late_alarm {
        people.hand_in_under_an_alarm(profile.longest_echo() + HEARD).await;
    }
    let at_rest = come_to_rest(&outside, &people).await;
    let mut evidence = Evidence::of(&outside).await;
    evidence.at_rest = at_rest;
    evidence.well_since = Some(well_since);
    processes.shutdown().await;
    let took = weather.now().since(millrace_decider::Timestamp::from_micros(0) + crate::gate::EPOCH);
    Outcome {
        seed,
        broken: invariants::first_broken(&evidence),
        faults: weather.history.faults(),
        tasks: scheduled(&evidence).len() as u64,
        events: evidence.total(),
        acknowledged: evidence.acknowledged.len() as u64,
        deeds: evidence.deeds.len() as u64,
        waited: waited(&evidence),
        replayed: letters(evidence.messages(Log::DeadLetter)).values().filter(|letter| letter.handled).count()
            as u64,
        took,
        history: weather.history.lines(),
        profile,
    }
}

/// The world as it is before anything happens.
fn outside(weather: &Arc<Weather>) -> Outside {
    let profile = &weather.profile;
    let names: Vec<String> = (0..profile.repositories).map(|number| format!("repo-{number}")).collect();
    let dispatch = profile.dispatch.clone();
    let mut settings = Settings { limits: limits(), dispatch, ..Settings::default() };
    settings.repositories = names.iter().map(|id| repository(id)).collect();
    let declared = Declared::of(&settings.installation());
    let broker = MemoryBroker::with_order(Arc::new(TrueClock(weather.clone())), &declared, profile.order);
    Outside {
        weather: weather.clone(),
        broker,
        forges: Arc::new(ForgeWorld::new(weather.clone(), &names)),
        targets: Arc::new(TargetWorld::default()),
        ledger: MemoryLedger::default(),
        files: names.iter().map(|id| (id.clone(), Arc::new(ScriptedSource::new()))).collect(),
        settings: Arc::new(settings),
    }
}

/// Shorter than the defaults where a limit only makes a run longer.
fn limits() -> Limits {
    let seconds = Duration::from_secs;
    Limits {
        execution: seconds(90),
        pr_grace: seconds(120),
        checks_wait: seconds(600),
        deployment: seconds(60),
        spec_sync: seconds(5),
        ..Limits::default()
    }
}

fn repository(id: &str) -> Repository {
    Repository {
        id: id.to_owned(),
        url: format!("/sim/{id}"),
        specs_url: None,
        forge: ForgeKind::Local,
        base_branch: crate::forge::BASE.to_owned(),
        task_prefix: "VTID".to_owned(),
        task_base: 5_000,
        specs_path: "docs/specs".to_owned(),
        scan_period: Duration::from_secs(60),
        target: id.replace("repo", "target"),
    }
}

/// Waits until nothing is left to do; `false`: it never came to that.
async fn come_to_rest(outside: &Outside, people: &People) -> bool {
    let until = outside.weather.now() + REST_WITHIN;
    let mut pause = FIRST_LOOK;
    for round in 0.. {
        let evidence = Evidence::of_rest(outside).await;
        if unrest(&evidence).is_empty() {
            return true;
        }
        if outside.weather.now() >= until {
            break;
        }
        if round % 4 == 0 {
            people.tidy_up(&evidence, round).await;
        }
        tokio::time::sleep(pause).await;
        pause = pause * 5 / 4;
    }
    false
}

fn waited(evidence: &Evidence) -> u64 {
    let events = evidence.events(Log::Dispatcher);
    let waits = |event: &Event| matches!(event, Event::Dispatcher(DispatcherEvent::TaskScheduled(event)) if event.order.is_none());
    events.iter().filter(|logged| waits(&logged.event)).count() as u64
}

/// Tasks that were ever scheduled, with whether their present run has come to an end or a halt.
fn scheduled(evidence: &Evidence) -> BTreeMap<String, bool> {
    let mut tasks = BTreeMap::new();
    for logged in evidence.events(Log::Dispatcher) {
        let Event::Dispatcher(event) = &logged.event else { continue };
        let ended = match event {
            DispatcherEvent::TaskScheduled(_) | DispatcherEvent::WorkOrderIssued(_) => false,
            DispatcherEvent::TaskCompleted(_)
            | DispatcherEvent::TaskFailed(_)
            | DispatcherEvent::TaskCancelled(_)
            | DispatcherEvent::TaskBlocked(_) => true,
            _ => continue,
        };
        tasks.insert(logged.key.to_string(), ended);
    }
    tasks
}

/// What is left to do.
pub fn unrest(evidence: &Evidence) -> Vec<String> {
    let mut unrest = Vec::new();
    let scheduled = scheduled(evidence);
    for (task, ended) in &scheduled {
        if !ended {
            unrest.push(format!("{task} is under way"));
        }
    }
    for logged in evidence.events(Log::SpecRegistry) {
        if let Event::SpecRegistry(SpecRegistryEvent::SpecRegistered(event)) = &logged.event
            && !scheduled.contains_key(&event.task)
        {
            unrest.push(format!("{} is registered and was never scheduled", event.task));
        }
    }
    for letter in letters(evidence.messages(Log::DeadLetter)).values() {
        // What a deadline said may be gone, replaced by the next: then its replay fails, and says so.
        let is_answered = letter.records.len() > 1 && Log::from_stream(&letter.message.stream).is_none();
        if !letter.handled && !is_answered {
            unrest.push(format!("{} is a dead letter of {}", letter.message, letter.service));
        }
    }
    for consumer in &evidence.consumers {
        let left = consumer.unanswered + consumer.undelivered;
        // The simulated projector reads streams; it acknowledges nothing.
        if left > 0 && consumer.durable != "projector" {
            unrest.push(format!(
                "{} of {} has {} unanswered and {} undelivered",
                consumer.durable, consumer.stream, consumer.unanswered, consumer.undelivered
            ));
        }
    }
    for (stream, messages) in &evidence.streams {
        let last = messages.last().map_or(0, |stored| stored.sequence);
        let applied = evidence.ledger.checkpoints.get(stream).map_or(0, |found| found.sequence);
        if applied < last {
            unrest.push(format!("the ledger has {stream} up to {applied} of {last}"));
        }
    }
    unrest
}
