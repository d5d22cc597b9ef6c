//! Counting, once per failure, and saying when it matters.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use millrace_decider::{Context, Decider, Due, Recorded, Refusal, Timestamp};
use millrace_events::FailureAnalyzerEvent;
use millrace_events::v1::{FailureClassified, InsightPublished, TimerFired};

use super::group::{Classification, Reported, identity};

/// Failures of a group that are remembered one by one, the newest.
const REMEMBERED: usize = 2_000;
/// Tasks that an insight names.
const NAMED_TASKS: usize = 10;
/// What counts as recent.
const RECENT: Duration = Duration::from_secs(24 * 3600);

/// The rules of classification.
#[derive(Debug, Clone, Default)]
pub struct Classifier;

/// A group, as the log has it.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Failures in all.
    count: u64,
    /// The first and the last.
    first: Timestamp,
    last: Timestamp,
    /// Identities of the latest failures, for redelivered ones.
    seen: BTreeSet<String>,
    /// The same in order, with their times.
    latest: VecDeque<(String, Timestamp)>,
    /// Ids of the latest tasks, the newest last.
    tasks: VecDeque<String>,
    /// Size at the last insight.
    published: u64,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Another log reports a failure.
    Reported(Box<Reported>),
    /// It is known which group it belongs to.
    Classified(Box<Classification>),
    /// The group has reached a size that is worth saying.
    Grown(Box<Classification>),
}

/// What is asked of the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask the dispatcher's log what the task is about.
    Classify(Box<Reported>),
    /// Publish an insight. Needs nothing of the world; it is due so that a crash between the two decisions
    /// leaves nothing unsaid.
    Publish(Box<Classification>),
}

impl Decider for Classifier {
    type State = Group;
    type Input = Input;
    type Event = FailureAnalyzerEvent;
    type Effect = Effect;
    type Alarm = TimerFired;

    fn decide(
        &self,
        state: &Group,
        input: &Input,
        context: &Context,
    ) -> Result<Option<FailureAnalyzerEvent>, Refusal> {
        Ok(match input {
            Input::Reported(_) => None,
            Input::Classified(found) if state.seen.contains(&identity(&found.task)) => None,
            Input::Classified(found) => Some(classified(found)),
            Input::Grown(_) if !state.owes_insight() => None,
            Input::Grown(found) => Some(state.insight(found, context.now)),
        })
    }

    fn evolve(&self, state: &mut Group, event: &Recorded<'_, FailureAnalyzerEvent>) {
        match event.event {
            FailureAnalyzerEvent::FailureClassified(found) => state.add(found, event.time),
            FailureAnalyzerEvent::InsightPublished(insight) => state.published = insight.count,
            FailureAnalyzerEvent::PromptVersionPromoted(_) => {}
        }
    }

    fn due(&self, state: &Group, input: &Input) -> Vec<Due<Effect, TimerFired>> {
        match input {
            Input::Reported(reported) => vec![Due::Effect(Effect::Classify(reported.clone()))],
            Input::Classified(found) if state.owes_insight() => {
                vec![Due::Effect(Effect::Publish(found.clone()))]
            }
            Input::Classified(_) | Input::Grown(_) => Vec::new(),
        }
    }
}

/// 1, 2, 5, 10, 20, 50, 100 and so on: often at first, rarely when it is known.
pub fn is_milestone(count: u64) -> bool {
    let mut rest = count;
    while rest >= 10 && rest.is_multiple_of(10) {
        rest /= 10;
    }
    matches!(rest, 1 | 2 | 5)
}

impl Group {
    fn add(&mut self, found: &FailureClassified, at: Timestamp) {
        let task = found.task.clone().unwrap_or_default();
        if self.count == 0 {
            self.first = at;
        }
        self.count += 1;
        self.last = at;
        let identity = identity(&task);
        self.seen.insert(identity.clone());
        self.latest.push_back((identity, at));
        if self.latest.len() > REMEMBERED
            && let Some((forgotten, _)) = self.latest.pop_front()
        {
            self.seen.remove(&forgotten);
        }
        if !task.task.is_empty() {
            self.tasks.retain(|known| *known != task.task);
            self.tasks.push_back(task.task);
            if self.tasks.len() > NAMED_TASKS {
                self.tasks.pop_front();
            }
        }
    }

    /// Whether a milestone has been passed since the last insight.
    fn owes_insight(&self) -> bool {
        (self.published + 1..=self.count).rev().take(REMEMBERED).any(is_milestone)
    }

    fn insight(&self, found: &Classification, now: Timestamp) -> FailureAnalyzerEvent {
        let since = |from: Timestamp, to: Timestamp| {
            self.latest.iter().filter(|(_, at)| *at > from && *at <= to).count() as u64
        };
        let recent = since(now - RECENT, now);
        let before = since(now - RECENT * 2, now - RECENT);
        let trend = if recent > 1 && recent > before { "growing" } else { "steady" };
        InsightPublished {
            group: group_of(found),
            code: found.code.to_wire() as i32,
            stage: found.stage.clone(),
            domain: found.domain.clone(),
            model: found.model.clone(),
            prompt_version: found.prompt_version.clone(),
            count: self.count,
            recent,
            first_seen: Some(millrace_events::wire_time(self.first)),
            last_seen: Some(millrace_events::wire_time(self.last)),
            tasks: self.tasks.iter().rev().cloned().collect(),
            trend: trend.to_owned(),
            advice: found.code.advice().to_owned(),
        }
        .into()
    }
}

fn classified(found: &Classification) -> FailureAnalyzerEvent {
    FailureClassified {
        task: Some(found.task.clone()),
        group: group_of(found),
        code: found.code.to_wire() as i32,
        class: found.code.class().name().to_owned(),
        stage: found.stage.clone(),
        domain: found.domain.clone(),
        model: found.model.clone(),
        prompt_version: found.prompt_version.clone(),
        retryable: found.code.is_retryable(),
    }
    .into()
}

fn group_of(found: &Classification) -> String {
    found.group().map(|key| key.as_str().to_owned()).unwrap_or_default()
}
