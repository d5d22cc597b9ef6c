//! The validator's rim: which events concern it, and how a pull request is inspected.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_events::v1::{Blob, ChecksCompleted, PullRequestOpened, TaskRef};
use millrace_events::{Code, DeployerEvent, Event, Key, Log, Service, WorkerEvent};
use millrace_runtime::blobs::{BlobError, Blobs};
use millrace_runtime::clock::Clock;
use millrace_runtime::host::{EffectContext, Fault, Hosted, Incoming, Received};
use millrace_runtime::log_reader::LogReader;

use crate::domain::{Artifact, Effect, Findings, Input, Proof, REQUIRED_EVIDENCE, Showing, Validator};
use crate::ports::{LookError, PullRequests};

/// Pause before the world is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The evidence that says how the work ended.
const RESULT: &str = "execution_result.json";

/// Everything that effects reach.
#[derive(Clone)]
pub struct World {
    /// The forges, for reading.
    pub pull_requests: Arc<dyn PullRequests>,
    /// The deployer's and the worker's log.
    pub logs: LogReader,
    /// Evidence.
    pub blobs: Blobs,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// An inspection may take so long.
    pub validation: Duration,
}

/// The validator as the runtime hosts it.
pub struct ValidatorService {
    decider: Validator,
    world: World,
}

impl ValidatorService {
    /// With its limits and the world it looks at.
    pub fn new(decider: Validator, world: World) -> Self {
        Self { decider, world }
    }
}

#[async_trait]
impl Hosted for ValidatorService {
    type Decider = Validator;
    const SERVICE: Service = Service::Validator;

    fn decider(&self) -> &Validator {
        &self.decider
    }

    fn accept(&self, received: &Received) -> Option<Input> {
        let input = match &received.incoming {
            Incoming::Timer(timer) => Input::Timer(timer.clone()),
            Incoming::Event(Event::Deployer(DeployerEvent::PullRequestOpened(event))) => {
                Input::Opened { event: Box::new(event.clone()), at: received.time }
            }
            Incoming::Event(Event::Worker(WorkerEvent::ChecksCompleted(event))) => {
                Input::Checked(Box::new(event.clone()))
            }
            Incoming::Event(_) => return None,
        };
        (input.task() == received.key.as_str()).then_some(input)
    }

    #[expect(clippy::expect_used, reason = "`accept` lets only inputs through whose task is a key")]
    fn key(&self, input: &Input) -> Key {
        Key::new(input.task()).expect("the task of an accepted input is a key")
    }

    async fn perform(&self, effect: &Effect, context: &EffectContext) -> Result<Option<Input>, Fault> {
        let world = &self.world;
        match effect {
            Effect::Inspect { task, checks, .. } => {
                let findings = tokio::select! {
                    biased;
                    findings = world.inspect(&context.key, task, checks.as_deref()) => findings?,
                    () = world.clock.sleep(world.validation) => {
                        // Where it was NATS that took the time, this fails too, and it is waited for.
                        world.opened(&context.key, task).await?;
                        return Ok(Some(effect.out_of_time(world.validation)));
                    }
                };
                Ok(Some(Input::Inspected { task: task.clone(), findings: Box::new(findings) }))
            }
            Effect::FindChecks(task) => {
                if let Some(checks) = world.checks(&context.key, task).await? {
                    return Ok(Some(Input::Checked(Box::new(checks))));
                }
                let opened = world.opened(&context.key, task).await?;
                let pull_request = opened.and_then(|opened| opened.pull_request).unwrap_or_default();
                Ok(Some(Input::checks_late(task.clone(), pull_request, self.decider.checks_wait)))
            }
        }
    }

    fn gave_up(&self, effect: &Effect, fault: &Fault) -> Option<Input> {
        Some(effect.failed(fault.to_failure("validator", "validating")))
    }
}

/// Why a look was not whole.
enum Hindrance {
    /// The forge does not answer now: another look may help.
    Forge(Fault),
    /// Another look here does not help: it never will, or it is NATS, which the host waits for.
    Fault(Fault),
}

impl From<Fault> for Hindrance {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl World {
    /// Looks until everything could be looked at. The caller bounds it. An outage of NATS comes back at once.
    async fn inspect(
        &self,
        key: &Key,
        task: &TaskRef,
        checks: Option<&ChecksCompleted>,
    ) -> Result<Findings, Fault> {
        loop {
            match self.look(key, task, checks).await {
                Ok(findings) => return Ok(findings),
                Err(Hindrance::Fault(fault)) => return Err(fault),
                Err(Hindrance::Forge(fault)) => {
                    tracing::warn!(task = task.task, %fault, "a look failed; looking again");
                    self.clock.sleep(LOOK_AGAIN).await;
                }
            }
        }
    }

    async fn look(
        &self,
        key: &Key,
        task: &TaskRef,
        checks: Option<&ChecksCompleted>,
    ) -> Result<Findings, Hindrance> {
        // The deployer's own word, not what a worker carried on from it.
        let Some(opened) = self.opened(key, task).await? else {
            let message = format!("no pull request was opened for {}", task.task);
            return Err(Fault::lasting(Code::PrNotFound, message).into());
        };
        let number = opened.pull_request.as_ref().map_or(0, |pull_request| pull_request.number);
        let shown = self
            .pull_requests
            .pull_request(&task.repository, number, &task.base_commit)
            .await
            .map_err(look_fault)?;
        let mut evidence = Vec::new();
        let mut proof = None;
        for name in REQUIRED_EVIDENCE {
            let blob = opened.evidence.iter().find(|blob| blob.name == name);
            let (fault, found) = self.artifact(name, blob).await?;
            proof = proof.or(found);
            evidence.push(Artifact { name: name.to_owned(), fault });
        }
        Ok(Findings {
            shown: shown.map(|shown| Showing {
                open: shown.open,
                merged: shown.merged,
                head: shown.head,
                redefines_checks: shown.redefines_checks,
            }),
            evidence,
            proof,
            checks: checks.cloned().map(Box::new),
            opened,
        })
    }

    /// What is wrong with a piece of evidence, if anything, and what it proves about the work.
    async fn artifact(
        &self,
        name: &str,
        blob: Option<&Blob>,
    ) -> Result<(Option<(Code, String)>, Option<Proof>), Fault> {
        let wrong = |code, message: String| Ok((Some((code, message)), None));
        let Some(blob) = blob else {
            return wrong(Code::EvidenceMissing, format!("the evidence {name} was not handed over"));
        };
        let bytes = match self.blobs.get(&blob.sha256).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                let message = format!("the evidence {name} ({}) is not in the store", blob.sha256);
                return wrong(Code::EvidenceMissing, message);
            }
            Err(
                error @ (BlobError::Damaged { .. } | BlobError::NotADigest(_) | BlobError::TooLarge { .. }),
            ) => {
                return wrong(Code::EvidenceInvalid, format!("the evidence {name}: {error}"));
            }
            Err(error) => return Err(error.into()),
        };
        if bytes.is_empty() {
            return wrong(Code::EvidenceEmpty, format!("the evidence {name} has no content"));
        }
        if bytes.len() as u64 != blob.size {
            let message =
                format!("the evidence {name} has {} bytes, not the {} announced", bytes.len(), blob.size);
            return wrong(Code::EvidenceInvalid, message);
        }
        if !name.ends_with(".json") {
            return Ok((None, None));
        }
        let value: serde_json::Value = match serde_json::from_slice(&bytes) {
            Ok(value) => value,
            Err(error) => {
                return wrong(Code::EvidenceInvalid, format!("the evidence {name} is no JSON: {error}"));
            }
        };
        if name != RESULT {
            return Ok((None, None));
        }
        let text = |field: &str| value.get(field).and_then(serde_json::Value::as_str).map(str::to_owned);
        match text("outcome") {
            Some(outcome) => Ok((None, Some(Proof { outcome, head: text("head").unwrap_or_default() }))),
            None => wrong(Code::EvidenceInvalid, format!("the evidence {name} names no outcome")),
        }
    }

    /// The pull request of the attempt, as the deployer recorded it.
    async fn opened(&self, key: &Key, task: &TaskRef) -> Result<Option<PullRequestOpened>, Fault> {
        let events = self.logs.events(Log::Deployer, key).await?;
        Ok(events.into_iter().rev().find_map(|logged| match logged.event {
            Event::Deployer(DeployerEvent::PullRequestOpened(event))
                if is_same(event.task.as_ref(), task) =>
            {
                Some(event)
            }
            _ => None,
        }))
    }

    /// The last checks of the attempt, as the worker recorded them.
    async fn checks(&self, key: &Key, task: &TaskRef) -> Result<Option<ChecksCompleted>, Fault> {
        let events = self.logs.events(Log::Worker, key).await?;
        Ok(events.into_iter().rev().find_map(|logged| match logged.event {
            Event::Worker(WorkerEvent::ChecksCompleted(event)) if is_same(event.task.as_ref(), task) => {
                Some(event)
            }
            _ => None,
        }))
    }
}

fn is_same(found: Option<&TaskRef>, task: &TaskRef) -> bool {
    found.is_some_and(|found| (found.run, found.attempt) == (task.run, task.attempt))
}

fn look_fault(error: LookError) -> Hindrance {
    let message = error.message.clone();
    if error.is_transient {
        Hindrance::Forge(Fault::transient(Code::ForgeUnavailable, message).caused_by(error))
    } else {
        Hindrance::Fault(Fault::lasting(Code::ForgeUnavailable, message).caused_by(error))
    }
}
