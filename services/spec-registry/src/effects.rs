//! The registry's rim: which events concern it, and how its questions are answered.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_events::v1::{SpecRejected, SpecSource};
use millrace_events::{Code, Event, IntakeEvent, Key, Service};
use millrace_runtime::host::{EffectContext, Fault, Hosted, Incoming, Received};
use millrace_runtime::service::ServiceContext;

use crate::allocation::Allocation;
use crate::domain::outcome::{self, About};
use crate::domain::{Effect, Input, Registry, Request, Submission};
use crate::reading::{self, Reader, Verdict};
use crate::repositories::{Repositories, Source};
use crate::search::{Search, search};

/// The registry as the runtime hosts it.
pub struct RegistryService {
    decider: Registry,
    repositories: Repositories,
    reader: Reader,
    allocation: Allocation,
    spec_sync: Duration,
}

impl RegistryService {
    /// Of these repositories.
    pub fn new(context: &ServiceContext, repositories: Repositories) -> Self {
        Self {
            decider: Registry { repositories: repositories.ids() },
            reader: Reader::new(context.blobs.clone(), context.clock.clone()),
            allocation: Allocation::new(context.logs(), context.clock.clone()),
            spec_sync: context.settings.limits.spec_sync,
            repositories,
        }
    }

    async fn read(&self, submission: &Submission, allocated: Option<&str>) -> Result<Input, Fault> {
        let source = self.source(&submission.event.repository)?;
        let verdict = self.reader.submitted(source, submission, allocated).await?;
        let under = submission.identity();
        if let Some(verdict) = verdict {
            return Ok(decided_under(&under, verdict));
        }
        let task = self.allocation.free(&source.repository, submission.sequence, &under).await?;
        millrace_runtime::crash_point::reached("spec-registry.allocated");
        Ok(Input::Unnamed { under, submission: submission.key.to_string(), task: task.to_string() })
    }

    async fn find(&self, request: &Request) -> Result<Input, Fault> {
        let asked = &request.event;
        match search(&self.repositories, request, self.spec_sync).await {
            Search::Nowhere(failure) => Ok(not_found(request, failure)),
            Search::Found(source, found) => {
                let about = About {
                    repository: source.repository.id.clone(),
                    target: source.repository.target.clone(),
                    path: found.file.spec.path.clone(),
                    commit: found.commit,
                    source: SpecSource::Git,
                    submitted_by: asked.requested_by.clone(),
                    submission: request.key.to_string(),
                    checksum: String::new(),
                };
                let verdict = self.reader.judge(source, about, &found.file, Some(&asked.task)).await?;
                let verdict = verdict.ok_or_else(|| {
                    Fault::lasting(Code::Internal, format!("what was found for {} names no task", asked.task))
                })?;
                Ok(decided_under(&request.key, verdict))
            }
        }
    }

    fn source(&self, repository: &str) -> Result<&Source, Fault> {
        self.repositories.get(repository).ok_or_else(|| {
            Fault::lasting(Code::Internal, format!("repository `{repository}` is not configured"))
        })
    }
}

#[async_trait]
impl Hosted for RegistryService {
    type Decider = Registry;
    const SERVICE: Service = Service::SpecRegistry;

    fn decider(&self) -> &Registry {
        &self.decider
    }

    fn accept(&self, received: &Received) -> Option<Input> {
        let Incoming::Event(Event::Intake(event)) = &received.incoming else { return None };
        let key = received.key.clone();
        Some(match event {
            IntakeEvent::SpecSubmitted(event) => Input::Submitted(Submission {
                key,
                sequence: received.position.sequence,
                event: Arc::new(event.clone()),
            }),
            IntakeEvent::TaskRequested(event) => Input::Requested(Request { key, event: event.clone() }),
        })
    }

    fn key(&self, input: &Input) -> Key {
        input.key()
    }

    async fn perform(&self, effect: &Effect, _context: &EffectContext) -> Result<Option<Input>, Fault> {
        let outcome = match effect {
            Effect::Read { submission, allocated } => self.read(submission, allocated.as_deref()).await?,
            Effect::Find(request) => self.find(request).await?,
        };
        if let Input::Refused { rejection, .. } = &outcome {
            warn(rejection);
        }
        Ok(Some(outcome))
    }

    /// Every submission and request gets an answer.
    fn gave_up(&self, effect: &Effect, fault: &Fault) -> Option<Input> {
        let failure = fault.to_failure(outcome::SOURCE, outcome::STAGE);
        Some(match effect {
            Effect::Read { submission, allocated } => {
                let source = self.source(&submission.event.repository).ok()?;
                let about = reading::about(source, &submission.event, submission.key.as_str());
                let named = reading::task_in_path(source, &about.path).or_else(|| allocated.clone());
                let rejection = outcome::refused(named.as_deref(), about, failure);
                decided_under(&submission.identity(), Verdict::Refused(rejection))
            }
            Effect::Find(request) => not_found(request, failure),
        })
    }
}

/// Says it where the operator of this process sees it: a spec that names no task shows in no list of tasks.
fn warn(rejection: &SpecRejected) {
    let failure = rejection.failure.clone().unwrap_or_default();
    tracing::warn!(
        repository = rejection.repository,
        path = rejection.path,
        task = rejection.task,
        code = failure.code_name(),
        "a spec is rejected: {}",
        failure.message
    );
}

fn not_found(request: &Request, failure: millrace_events::v1::Failure) -> Input {
    let rejection = outcome::not_found(request, failure);
    Input::Refused { under: outcome::key_of(Some(&rejection.task), &request.key), rejection }
}

/// The verdict under its task, or under `or` where none is known.
fn decided_under(or: &Key, verdict: Verdict) -> Input {
    match verdict {
        Verdict::Accepted(spec) => Input::Accepted { under: outcome::key_of(Some(&spec.task), or), spec },
        Verdict::Refused(rejection) => {
            Input::Refused { under: outcome::key_of(Some(&rejection.task), or), rejection }
        }
    }
}
