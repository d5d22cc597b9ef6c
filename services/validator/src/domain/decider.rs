//! When a pull request is inspected, and which verdict stands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_decider::{Context, Deadline, Decider, Due, Recorded, Refusal, Timestamp};
use millrace_events::v1::{
    ChecksCompleted, Failure, PullRequest, PullRequestOpened, TaskRef, TimerFired, ValidationFailed,
};
use millrace_events::{Code, ValidatorEvent};

use super::judge::{failure, judge};
use super::{CHECKS_WAIT, Findings};

/// Attempts that are remembered, the newest. More than a task ever has.
const REMEMBERED: usize = 256;

/// The rules of the verdict.
#[derive(Debug, Clone)]
pub struct Validator {
    /// Checks must be done within this after the pull request.
    pub checks_wait: Duration,
}

/// What the validator's own log says about one task: the bases of each attempt that have a verdict.
#[derive(Debug, Clone, Default)]
pub struct Verdicts {
    attempts: BTreeMap<(u32, u32), BTreeSet<String>>,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The deployer opened a pull request.
    Opened {
        /// The pull request.
        event: Box<PullRequestOpened>,
        /// When.
        at: Timestamp,
    },
    /// A worker ran the checks.
    Checked(Box<ChecksCompleted>),
    /// A deadline fired.
    Timer(TimerFired),
    /// An inspection is done.
    Inspected {
        /// The attempt.
        task: TaskRef,
        /// What was found.
        findings: Box<Findings>,
    },
    /// No verdict could be reached.
    Failed {
        /// The attempt.
        task: TaskRef,
        /// The pull request, with the base that the verdict would have been for.
        pull_request: PullRequest,
        /// Why.
        failure: Box<Failure>,
    },
}

/// What is asked of the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Look at everything that the verdict rests on.
    Inspect {
        /// The attempt.
        task: TaskRef,
        /// The pull request, with the base that the verdict is for.
        pull_request: PullRequest,
        /// The checks that ran, if the base asks for any.
        checks: Option<Box<ChecksCompleted>>,
    },
    /// The checks are late: look whether they are done all the same.
    FindChecks(TaskRef),
}

impl Decider for Validator {
    type State = Verdicts;
    type Input = Input;
    type Event = ValidatorEvent;
    type Effect = Effect;
    type Alarm = TimerFired;

    fn decide(
        &self,
        state: &Verdicts,
        input: &Input,
        _context: &Context,
    ) -> Result<Option<ValidatorEvent>, Refusal> {
        let verdict = match input {
            Input::Opened { .. } | Input::Checked(_) | Input::Timer(_) => return Ok(None),
            Input::Inspected { task, findings } => judge(task, findings),
            Input::Failed { task, pull_request, failure } => ValidationFailed {
                task: Some(task.clone()),
                pull_request: Some(pull_request.clone()),
                failure: Some(failure.as_ref().clone()),
                verdicts: Vec::new(),
            }
            .into(),
        };
        let stands = place(&verdict).is_none_or(|(task, base)| state.has(task, base));
        // Late checks are judged as long as nothing was.
        let late = matches!(input, Input::Failed { task, failure, .. }
            if failure.known_code() == Some(Code::ChecksTimeout) && state.has_any(task));
        Ok((!stands && !late).then_some(verdict))
    }

    fn evolve(&self, state: &mut Verdicts, event: &Recorded<'_, ValidatorEvent>) {
        let Some((task, base)) = place(event.event) else { return };
        state.attempts.entry((task.run, task.attempt)).or_default().insert(base.to_owned());
        while state.attempts.len() > REMEMBERED {
            state.attempts.pop_first();
        }
    }

    fn due(&self, state: &Verdicts, input: &Input) -> Vec<Due<Effect, TimerFired>> {
        match input {
            Input::Opened { event, at } => self.for_opened(state, event, *at),
            Input::Checked(checks) => {
                let mut pull_request = checks.pull_request.clone().unwrap_or_default();
                pull_request.base.clone_from(&checks.base);
                inspect(state, checks.task.as_ref(), pull_request, Some(checks.clone()))
            }
            Input::Timer(timer) if timer.name == CHECKS_WAIT => match &timer.task {
                Some(task) if !state.has_any(task) => vec![Due::Effect(Effect::FindChecks(task.clone()))],
                _ => Vec::new(),
            },
            Input::Timer(_) | Input::Inspected { .. } | Input::Failed { .. } => Vec::new(),
        }
    }
}

impl Validator {
    /// Without checks it is judged at once, else when they are done, or late.
    fn for_opened(
        &self,
        state: &Verdicts,
        opened: &PullRequestOpened,
        at: Timestamp,
    ) -> Vec<Due<Effect, TimerFired>> {
        let Some(task) = &opened.task else { return Vec::new() };
        if opened.checks.is_empty() {
            return inspect(state, Some(task), opened.pull_request.clone().unwrap_or_default(), None);
        }
        if state.has_any(task) {
            return Vec::new();
        }
        let alarm = TimerFired {
            name: CHECKS_WAIT.to_owned(),
            task: Some(task.clone()),
            about: String::new(),
            round: 0,
        };
        vec![Due::Deadline(Deadline { name: CHECKS_WAIT.to_owned(), at: at + self.checks_wait, alarm })]
    }
}

fn inspect(
    state: &Verdicts,
    task: Option<&TaskRef>,
    pull_request: PullRequest,
    checks: Option<Box<ChecksCompleted>>,
) -> Vec<Due<Effect, TimerFired>> {
    match task {
        Some(task) if !state.has(task, &pull_request.base) => {
            vec![Due::Effect(Effect::Inspect { task: task.clone(), pull_request, checks })]
        }
        _ => Vec::new(),
    }
}

/// The attempt and base that a verdict is for.
fn place(event: &ValidatorEvent) -> Option<(&TaskRef, &str)> {
    let pull_request = match event {
        ValidatorEvent::ValidationPassed(event) => event.pull_request.as_ref(),
        ValidatorEvent::ValidationFailed(event) => event.pull_request.as_ref(),
    };
    Some((event.task_ref()?, pull_request.map_or("", |pull_request| &pull_request.base)))
}

impl Verdicts {
    /// Whether the attempt has a verdict for that base.
    pub fn has(&self, task: &TaskRef, base: &str) -> bool {
        self.attempts.get(&(task.run, task.attempt)).is_some_and(|bases| bases.contains(base))
    }

    /// Whether it has one at all.
    pub fn has_any(&self, task: &TaskRef) -> bool {
        self.attempts.contains_key(&(task.run, task.attempt))
    }
}

impl Effect {
    /// What it means that it could not be done within its limit.
    pub fn out_of_time(&self, limit: Duration) -> Input {
        let failure = failure(Code::ValidationTimeout, &format!("the validation took longer than {limit:?}"));
        self.failed(failure)
    }

    /// What it means that it could not be done.
    pub fn failed(&self, failure: Failure) -> Input {
        let failure = Box::new(failure);
        match self {
            Self::Inspect { task, pull_request, .. } => {
                Input::Failed { task: task.clone(), pull_request: pull_request.clone(), failure }
            }
            Self::FindChecks(task) => {
                Input::Failed { task: task.clone(), pull_request: PullRequest::default(), failure }
            }
        }
    }
}

impl Input {
    /// The checks of a pull request did not come.
    pub fn checks_late(task: TaskRef, pull_request: PullRequest, wait: Duration) -> Self {
        let message =
            format!("the checks of pull request {} were not done within {wait:?}", pull_request.number);
        Self::Failed { task, pull_request, failure: Box::new(failure(Code::ChecksTimeout, &message)) }
    }

    /// The task id that it is about.
    pub fn task(&self) -> &str {
        let task = match self {
            Self::Opened { event, .. } => event.task.as_ref(),
            Self::Checked(event) => event.task.as_ref(),
            Self::Timer(timer) => timer.task.as_ref(),
            Self::Inspected { task, .. } | Self::Failed { task, .. } => Some(task),
        };
        task.map_or("", |task| &task.task)
    }
}
