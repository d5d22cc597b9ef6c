//! Who hands in specs and asks for things: at any moment, and the same thing twice.

use std::sync::Arc;
use std::time::Duration;

use millrace_events::v1::{
    CancelRequested, DeadLetterReplayRequested, LedgerRegressed, LogRecovered, PauseRequested,
    ResumeRequested, RetryRequested, SpecSource, TaskRequested,
};
use millrace_events::{CONTENT_TYPE_PROTOBUF, DispatcherEvent, Envelope, Event, Key, Log, submission_id};
use millrace_runtime::broker::{Append, Broker as _, Stored};
use millrace_spec_registry::intake::{self, Document, HandIn};

use crate::broker::FaultyBroker;
use crate::dice::Dice;
use crate::evidence::{Evidence, letters, task_id};
use crate::gate::Gate;
use crate::process::Outside;
use crate::profile::LIMITED_DOMAIN;

/// Longest that something is sent again after the first time: longer than message ids are remembered.
const LATEST_REPEAT: Duration = Duration::from_secs(200);
/// How often the dead letters are read again while there are faults.
const REPLAYS: u64 = 4;
/// How long a late alarm stands after a spec was handed in under it.
const UNDER_ALARM: Duration = Duration::from_secs(90);

/// People and programs outside, who do not crash but whose connection is no better than others'.
pub struct People {
    outside: Outside,
    broker: FaultyBroker,
    gate: Gate,
    dice: Dice,
}

/// What people ask for.
const REQUESTS: [&str; 4] = ["cancel", "retry", "pause", "resume"];

/// Of the limited domain is every other task; how it is written does not count.
fn spec(task: u64, version: u64) -> Vec<u8> {
    let domain = match task % 4 {
        0 => LIMITED_DOMAIN.to_owned(),
        2 => LIMITED_DOMAIN.to_uppercase(),
        _ => "till".to_owned(),
    };
    let priority = if task.is_multiple_of(5) { "high" } else { "medium" };
    format!(
        "# Task {task}\n\nDomain: {domain}\nPriority: {priority}\n\n## Summary\nVersion {version} of what task {task} is to do.\n\n## Problem\nIt is \
         not done.\n\n## Acceptance Criteria\n- [ ] It is done.\n"
    )
    .into_bytes()
}

impl People {
    /// Of a run.
    pub fn new(outside: Outside) -> Self {
        let weather = outside.weather.clone();
        let dice = Arc::new(Dice::new(weather.seed, "people's connection"));
        let gate = Gate::new("people".to_owned(), weather.clone(), dice, false);
        let broker = FaultyBroker::new(outside.broker.clone(), gate.clone());
        Self { broker, gate, dice: Dice::new(weather.seed, "people"), outside }
    }

    /// Hands in all tasks and asks for everything that is asked for while there are faults.
    pub async fn act(&self) {
        let profile = &self.outside.weather.profile;
        let mut plans: Vec<(Duration, Plan)> = Vec::new();
        for task in 1..=profile.tasks {
            let repository = format!("repo-{}", task % profile.repositories);
            let at = self.dice.between(Duration::ZERO, profile.faulty_for * 6 / 10);
            let way = self.dice.below(4);
            plans.push((at, Plan::HandIn { task, repository: repository.clone(), way, version: 1 }));
            if self.dice.chance(3_000) {
                let again = at + self.dice.between(Duration::ZERO, LATEST_REPEAT);
                plans.push((again, Plan::HandIn { task, repository: repository.clone(), way, version: 1 }));
            }
            if self.dice.chance(500) {
                let later = at + self.dice.between(Duration::ZERO, LATEST_REPEAT);
                plans.push((later, Plan::HandIn { task, repository, way, version: 2 }));
            }
            while self.dice.chance(profile.requests) && plans.len() < 400 {
                let kind = self.dice.pick(&REQUESTS).unwrap_or("cancel");
                // A request names its run: the query service, which alone writes the log, sees to that.
                let run = u32::try_from(self.dice.below(3)).unwrap_or(0) + 1;
                let asked = at + self.dice.between(Duration::ZERO, profile.faulty_for);
                plans.push((asked, Plan::Ask { task, kind, run }));
                if self.dice.chance(3_000) {
                    let again = asked + self.dice.between(Duration::ZERO, LATEST_REPEAT);
                    plans.push((again, Plan::Ask { task, kind, run }));
                }
            }
        }
        for _ in 0..profile.alarms {
            let log = self.dice.pick(&Log::ALL).unwrap_or(Log::Worker);
            let raised = self.dice.between(Duration::ZERO, profile.faulty_for);
            let lifted = raised + self.dice.between(Duration::from_secs(1), LATEST_REPEAT);
            plans.push((raised, Plan::Alarm { log, stands: true }));
            plans.push((lifted, Plan::Alarm { log, stands: false }));
        }
        for _ in 0..if profile.delivery_garbled > 0 { REPLAYS } else { 0 } {
            plans.push((self.dice.between(Duration::ZERO, profile.faulty_for), Plan::Replay));
        }
        plans.sort_by_key(|(at, _)| *at);
        let mut now = Duration::ZERO;
        for (at, plan) in plans {
            tokio::time::sleep(at.saturating_sub(now)).await;
            now = now.max(at);
            self.carry_out(plan).await;
        }
    }

    async fn carry_out(&self, plan: Plan) {
        match plan {
            Plan::HandIn { task, repository, way, version } => {
                self.hand_in(task, &repository, way, version).await;
            }
            Plan::Ask { task, kind, run } => self.ask(&task_id(task), kind, run, "").await,
            Plan::Alarm { log, stands } => self.say_of(log, stands).await,
            Plan::Replay => {
                let stream = Log::DeadLetter.stream(0);
                let found = self.outside.broker.read(&stream, None, 1, usize::MAX).await;
                self.replay_letters(&found.unwrap_or_default(), "").await;
            }
        }
    }

    async fn hand_in(&self, task: u64, repository: &str, way: u64, version: u64) {
        let bytes = spec(task, version);
        let named = format!("docs/specs/{:05}-task.md", 1_000 + task);
        let now = self.outside.weather.now();
        // A file in the repository is found by the scan, or asked for by name.
        if way >= 2 {
            if let Some(files) = self.outside.files.get(repository) {
                files.put(&named, &bytes);
            }
            if way == 2 {
                return;
            }
            let request = TaskRequested {
                task: task_id(task),
                repository: repository.to_owned(),
                requested_by: "people".to_owned(),
                reason: String::new(),
            };
            let id = submission_id("people", &format!("request {task} {version}"));
            let Ok(key) = Key::new(format!("req-{id}")) else { return };
            let envelope = Envelope::new(id.to_string(), "/people", key.clone(), now, &request.into());
            self.publish(&intake::append(&key, &envelope, 1)).await;
            return;
        }
        let path = if way == 0 { named } else { format!("task-{task}.md") };
        let made = intake::submission(
            HandIn {
                producer: "/people",
                repository,
                path: &path,
                commit: "",
                source: SpecSource::Manual,
                submitted_by: "people",
                spec: Document::Inline(bytes),
                plan: None,
            },
            now,
        );
        if let Ok((key, envelope)) = made {
            self.publish(&intake::append(&key, &envelope, 1)).await;
        }
    }

    /// Asks for something. The same question about the same `occasion` is the same message.
    pub async fn ask(&self, task: &str, kind: &'static str, run: u32, occasion: &str) {
        let Ok(key) = Key::new(task) else { return };
        let (task, actor, reason) = (task.to_owned(), "people".to_owned(), "asked for".to_owned());
        let id = submission_id("operator", &format!("{task}\n{run}\n{kind}\n{occasion}"));
        let event: Event = match kind {
            "cancel" => CancelRequested { task, run, actor, reason }.into(),
            "retry" => RetryRequested { task, run, actor, reason }.into(),
            "pause" => PauseRequested { task, run, actor, reason }.into(),
            _ => ResumeRequested { task, run, actor, reason }.into(),
        };
        self.write(Log::Operator, &key, id.to_string(), run, &event).await;
    }

    async fn write(&self, log: Log, key: &Key, id: String, run: u32, event: &Event) {
        let now = self.outside.weather.now();
        let envelope = Envelope { run, ..Envelope::new(id, "/people", key.clone(), now, event) };
        let append = Append::new(log.stream(0), log.subject(key, 1), envelope.encode())
            .content_type(CONTENT_TYPE_PROTOBUF)
            .with_id(envelope.id);
        self.publish(&append).await;
    }

    /// Says of a log that it has lost something, or that it is well again, as the watchdog does.
    async fn say_of(&self, log: Log, stands: bool) {
        let Ok(key) = Key::new(log.name()) else { return };
        let name = log.name().to_owned();
        let event: Event = if stands {
            self.gate.weather().history.fault("watchdog", "alarm", || format!("{name} has lost events"));
            LedgerRegressed { log: name, ..LedgerRegressed::default() }.into()
        } else {
            LogRecovered { log: name, ..LogRecovered::default() }.into()
        };
        let id = submission_id("watchdog", &format!("{key} {stands} {}", self.outside.weather.now()));
        self.write(Log::Projector, &key, id.to_string(), 0, &event).await;
    }

    /// An alarm in a world that is well: a spec that is handed in under it waits until it is lifted. Begins
    /// when all dispatchers have `heard` of it.
    pub async fn hand_in_under_an_alarm(&self, heard: Duration) {
        self.say_of(Log::Worker, true).await;
        tokio::time::sleep(heard).await;
        self.hand_in(self.outside.weather.profile.tasks + 1, "repo-0", 1, 1).await;
        tokio::time::sleep(UNDER_ALARM).await;
        self.say_of(Log::Worker, false).await;
    }

    /// Asks for every dead letter that is not handled; some twice at once, under ids of their own.
    async fn replay_letters(&self, dead_letters: &[Stored], occasion: &str) {
        for letter in letters(dead_letters).values().filter(|letter| !letter.handled) {
            let key = Key::dead_letter(&letter.message, &letter.service);
            for again in 0..if self.dice.chance(2_000) { 2 } else { 1 } {
                let event = DeadLetterReplayRequested {
                    stream: letter.message.stream.clone(),
                    sequence: letter.message.sequence,
                    service: letter.service.clone(),
                    actor: "people".to_owned(),
                    reason: "mended".to_owned(),
                };
                let about = format!("{key}\nreplay\n{}\n{again}\n{occasion}", letter.records.len());
                let id = submission_id("operator", &about);
                self.write(Log::Operator, &key, id.to_string(), 0, &event.into()).await;
            }
        }
    }

    async fn publish(&self, append: &Append) {
        for _ in 0..100 {
            match self.broker.append(append).await {
                Ok(_) => return,
                Err(error) => self.gate.weather().history.tell("people", || format!("try again: {error}")),
            }
            tokio::time::sleep(self.dice.between(Duration::from_millis(100), Duration::from_secs(10))).await;
        }
    }

    /// Does what only people can do, so that everything comes to an end: lets paused runs go on, has dead letters
    /// read again, and takes refused changes out of base branches by hand.
    pub async fn tidy_up(&self, evidence: &Evidence, round: u32) {
        for (task, run) in paused(evidence) {
            self.ask(&task, "resume", run, &format!("tidy {round}")).await;
        }
        self.replay_letters(evidence.messages(Log::DeadLetter), &format!("tidy {round}")).await;
        for (target, entry) in &evidence.targets {
            for refused in &entry.refused {
                self.outside.forges.revert_by_hand(&target.replace("target", "repo"), refused);
            }
        }
    }
}

/// Runs that a person holds.
fn paused(evidence: &Evidence) -> Vec<(String, u32)> {
    let mut paused = std::collections::BTreeMap::new();
    for logged in evidence.events(Log::Dispatcher) {
        let Event::Dispatcher(event) = &logged.event else { continue };
        match event {
            DispatcherEvent::TaskPaused(_) => {
                let run = event.task_ref().map_or(0, |task| task.run);
                paused.insert(logged.key.to_string(), run);
            }
            DispatcherEvent::TransitionRefused(_) | DispatcherEvent::WorkOrderExpired(_) => {}
            DispatcherEvent::TaskResumed(_)
            | DispatcherEvent::TaskScheduled(_)
            | DispatcherEvent::TaskCompleted(_)
            | DispatcherEvent::TaskFailed(_)
            | DispatcherEvent::TaskBlocked(_)
            | DispatcherEvent::TaskCancelled(_) => {
                paused.remove(logged.key.as_str());
            }
            DispatcherEvent::WorkOrderIssued(_) | DispatcherEvent::ApprovalRequired(_) => {}
        }
    }
    paused.into_iter().collect()
}

enum Plan {
    HandIn { task: u64, repository: String, way: u64, version: u64 },
    Ask { task: u64, kind: &'static str, run: u32 },
    Alarm { log: Log, stands: bool },
    Replay,
}
