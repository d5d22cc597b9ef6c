//! A change that models make: phase by phase, none skipped, each with its evidence, the work of one role judged by
//! another. The way is the enforcer's; what is done in a phase is in `phases`.

use std::collections::BTreeMap;

use millrace_events::v1::{
    Blob, ExecutionCompleted, ExecutionSuspended, Phase, PhaseCompleted, PhaseRecord, PhaseReverted,
};
use millrace_events::{Code, WorkerEvent};
use millrace_runtime::settings::SettingsError;
use millrace_telemetry::names::{attribute, span};
use serde_json::{Value, json};

use super::super::evidence::{Gathered, millis};
use super::super::failures::{Step, Stop, brief};
use super::super::job::Job;
use super::super::onboarding::{Onboarded, onboard};
use super::phases::{self, Left};
use super::verify::Proof;
use super::{Ground, branch, counted, pretty};
use crate::config::WorkerConfig;
use crate::process::{Artifact, Enforcer, Refusal, name};

/// One attempt under way.
pub(super) struct Attempt<'a> {
    pub(super) ground: &'a Ground<'a>,
    pub(super) enforcer: Enforcer,
    pub(super) config: WorkerConfig,
    pub(super) onboarded: Onboarded,
    /// What was answered so far, by phase and contract; the newest.
    pub(super) answers: BTreeMap<(Phase, String), Value>,
    /// Why the work was sent back, for the phase that is done again.
    pub(super) objection: String,
    pub(super) made: Option<Made>,
    pub(super) proof: Proof,
}

/// A change that is committed, and not proposed yet.
pub(super) struct Made {
    pub(super) head: String,
    pub(super) patch: Vec<u8>,
    pub(super) title: String,
    pub(super) summary: String,
}

pub(super) async fn run(ground: &Ground<'_>, gathered: &mut Gathered) -> Step<WorkerEvent> {
    let mut attempt = Attempt::new(ground, gathered).await?;
    attempt.take_over(gathered).await?;
    while let Some(phase) = attempt.enforcer.next() {
        if let Some(reason) = attempt.waits_for_a_person(phase) {
            return Ok(suspended(ground.job, phase, reason, gathered));
        }
        attempt.begin(phase)?;
        let began = ground.job.now();
        let left = phases::work(&mut attempt, phase, gathered).await?;
        let took = millis(ground.job.now().since(began));
        attempt.end(phase, left, took, gathered).await?;
    }
    attempt.completed(gathered).await
}

impl<'a> Attempt<'a> {
    /// Past gate 0: what cannot be judged is not changed. S4-Q0.
    async fn new(ground: &'a Ground<'a>, gathered: &mut Gathered) -> Step<Self> {
        let settings = &ground.job.context().settings;
        // Both were checked when the worker started.
        let unusable = |error: &SettingsError| Stop::caused(Code::Internal, error.to_string(), error);
        let config = WorkerConfig::read(settings).map_err(|error| unusable(&error))?;
        let table = config.phase_table().map_err(|error| unusable(&error))?;
        let onboarded = onboard(ground.job, &ground.checkout, gathered).await?;
        Ok(Self {
            ground,
            enforcer: Enforcer::new(table),
            config,
            onboarded,
            answers: BTreeMap::new(),
            objection: String::new(),
            made: None,
            proof: Proof::default(),
        })
    }

    /// Goes on after an approval, with the evidence of the phases before it. What changes files is always done
    /// in the attempt that proposes it: later phases than IMPLEMENT are not taken over.
    async fn take_over(&mut self, gathered: &mut Gathered) -> Step<()> {
        let job = self.ground.job;
        let from = (job.order().resume_from() as i32).min(Phase::Implement as i32);
        for record in job.order().phases.iter().filter(|record| record.phase < from) {
            let phase = record.phase();
            let mut left = Vec::new();
            for blob in &record.evidence {
                left.push((blob.name.clone(), job.load(blob).await?));
            }
            let taken = self.enforcer.take_over(phase, record.iteration, &artifacts(&left, record.iteration));
            taken.map_err(|refusal| refused(job, &refusal))?;
            for (name, bytes) in &left {
                if let Some(contract) = phases::contract_of(phase, name)
                    && let Ok(answer) = serde_json::from_slice(bytes)
                {
                    self.answers.insert((phase, contract.to_owned()), answer);
                }
            }
            replace(&mut gathered.evidence, &record.evidence);
            gathered.phases.push(record.clone());
        }
        Ok(())
    }

    /// Whether a person must look before the first file is changed, and why. S4-CI10.
    fn waits_for_a_person(&self, phase: Phase) -> Option<String> {
        let is_approved = self.ground.job.order().resume_from() as i32 >= Phase::Implement as i32;
        if phase != Phase::Implement || is_approved {
            return None;
        }
        phases::needs_approval(&self.config.approve, self.answers.values())
    }

    /// Every phase begins here, and only if the enforcer lets it. S4-CI2.
    fn begin(&mut self, phase: Phase) -> Step<()> {
        let began = self.enforcer.begin(phase);
        let iteration = began.map_err(|refusal| {
            counted::skip(&refusal);
            refused(self.ground.job, &refusal)
        })?;
        tracing::info!(phase = name(phase), iteration, "phase");
        Ok(())
    }

    /// Keeps what a phase has left. If it does not count, the work goes back, or ends.
    async fn end(&mut self, phase: Phase, left: Left, took: u64, gathered: &mut Gathered) -> Step<()> {
        let job = self.ground.job;
        let iteration = self.enforcer.iteration(phase);
        let mut kept = Vec::new();
        for (name, bytes) in &left.artifacts {
            gathered.evidence.retain(|blob| blob.name != *name);
            kept.push(gathered.keep(job, name, bytes).await?);
        }
        match self.enforcer.complete(phase, &artifacts(&left.artifacts, iteration)) {
            Ok(()) => {
                let record = PhaseRecord {
                    phase: phase as i32,
                    iteration,
                    evidence: kept,
                    summary: brief(&left.summary, 200),
                    duration_ms: took,
                };
                let completed = PhaseCompleted { task: Some(job.task.clone()), record: Some(record.clone()) };
                job.journal.note(completed).await?;
                gathered.phases.push(record);
                self.objection.clear();
                Ok(())
            }
            Err(refusal) => self.go_back(phase, &refusal, left).await,
        }
    }

    async fn go_back(&mut self, phase: Phase, refusal: &Refusal, left: Left) -> Step<()> {
        counted::evidence(refusal);
        let Some(reverted) = self.enforcer.revert(phase, &left.affected) else {
            let stop = refused(self.ground.job, refusal);
            return Err(match left.code {
                Some(code) => {
                    let message = format!("{refusal}; {}", brief(&left.objection, 1_000));
                    Stop::failed(code, message).with("phase", name(phase)).with("artifact", &refusal.artifact)
                }
                None => stop,
            });
        };
        let (from, to, iteration) = (name(reverted.from), name(reverted.to), reverted.iteration);
        tracing::warn!(from, to, iteration, reason = %refusal, "the work goes back");
        counted::step_back(refusal.code());
        let reverted = PhaseReverted {
            task: Some(self.ground.job.task.clone()),
            from: reverted.from as i32,
            to: reverted.to as i32,
            iteration: reverted.iteration,
            reason: brief(&refusal.to_string(), 500),
        };
        self.ground.job.journal.note(reverted).await?;
        self.objection = if left.objection.is_empty() { refusal.to_string() } else { left.objection };
        Ok(())
    }

    /// All phases are done: the change is handed over.
    async fn completed(&mut self, gathered: &mut Gathered) -> Step<WorkerEvent> {
        let (job, checkout) = (self.ground.job, &self.ground.checkout);
        let (task, order) = (job.task, job.order());
        let Some(made) = self.made.take() else {
            return Err(Stop::failed(Code::Internal, "every phase is done and there is no change"));
        };
        let branch = branch(task);
        let base = &task.base_commit;
        let bundle = checkout.bundle(base, &branch).await.map_err(|error| job.git(&error, "the bundle"))?;
        let result = json!({
            "outcome": "succeeded", "order": order.id, "base": base, "head": made.head, "branch": branch,
            "phase_table": self.enforcer.table().sha256(), "steps_back": self.enforcer.counts().returns,
        });
        gathered.keep(job, "execution_result.json", &pretty(&result)).await?;
        let bundle = job.store("change.bundle", &bundle).await?;
        let planner = phases::planner(&self.answers);
        let gathered = std::mem::take(gathered);
        Ok(ExecutionCompleted {
            task: Some(task.clone()),
            order: order.id.clone(),
            worker: job.worker.to_owned(),
            fencing_token: job.execute.token,
            head: made.head,
            branch,
            bundle: Some(bundle),
            evidence: gathered.evidence,
            phases: gathered.phases,
            calls: gathered.calls,
            title: made.title,
            summary: made.summary,
            rollback_plan: super::documents::string(&planner, "rollback_plan").to_owned(),
            risk_level: phases::risk(self.answers.values()).to_owned(),
            duration_ms: millis(job.now().since(job.started)),
        }
        .into())
    }
}

fn artifacts(left: &[(String, Vec<u8>)], iteration: u32) -> Vec<Artifact<'_>> {
    left.iter().map(|(name, bytes)| Artifact { name, iteration, bytes }).collect()
}

/// The newest of each name stands.
fn replace(evidence: &mut Vec<Blob>, newer: &[Blob]) {
    evidence.retain(|blob| newer.iter().all(|other| other.name != blob.name));
    evidence.extend_from_slice(newer);
}

/// A breach of the process: counted, and the end of the work.
fn refused(job: &Job<'_>, refusal: &Refusal) -> Stop {
    tracing::info_span!(
        "violation",
        otel.name = span::PROCESS_VIOLATION,
        { attribute::TASK_ID } = job.task.task.as_str(),
        { attribute::ERROR_TYPE } = refusal.code().name(),
        millrace.phase = name(refusal.phase),
    )
    .in_scope(|| tracing::warn!(artifact = refusal.artifact, "evidence was refused"));
    Stop::failed(refusal.code(), refusal.to_string())
        .with("phase", name(refusal.phase))
        .with("artifact", &refusal.artifact)
}

/// The attempt waits for a person and holds nothing meanwhile.
fn suspended(job: &Job<'_>, phase: Phase, reason: String, gathered: &Gathered) -> WorkerEvent {
    ExecutionSuspended {
        task: Some(job.task.clone()),
        order: job.order().id.clone(),
        worker: job.worker.to_owned(),
        fencing_token: job.execute.token,
        phase: phase as i32,
        evidence: gathered.evidence.clone(),
        reason,
    }
    .into()
}
