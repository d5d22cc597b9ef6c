//! What the work leaves behind, in the content-addressed store.

use std::time::Duration;

use millrace_events::Code;
use millrace_events::v1::{Blob, ModelCallRecord, ModelCalled, ModelCandidate, Phase, PhaseRecord};
use millrace_router::{CallRecord, Considered, RECIPE, Verdict};
use millrace_runtime::blobs::BlobError;
use millrace_runtime::host::Fault;
use millrace_runtime::host::retry::Backoff;
use millrace_telemetry::names::{attribute, span};

use super::failures::{Step, Stop, brief};
use super::job::Job;
use super::prompts;

/// First and longest pause before a store that does not answer is asked again.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What has been gathered so far; a failure carries it too.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Artifacts in the store.
    pub evidence: Vec<Blob>,
    /// Every call of a model, and of the recipe.
    pub asked: Vec<ModelCallRecord>,
    /// Those of them that stand in no event yet.
    pub calls: Vec<ModelCallRecord>,
    /// Phases that are over.
    pub phases: Vec<PhaseRecord>,
}

impl Gathered {
    /// Stores an artifact and keeps its description.
    pub(super) async fn keep(&mut self, job: &Job<'_>, name: &str, bytes: &[u8]) -> Step<Blob> {
        let blob = job.store(name, bytes).await?;
        self.evidence.push(blob.clone());
        Ok(blob)
    }

    /// Whether a phase may begin: the one before it must have left its evidence. A phase that is skipped is a
    /// breach of the process, which is counted and ends the work. S4-VER1.
    pub(super) fn begin(&self, phase: Phase) -> Step<()> {
        let before = match phase {
            Phase::Implement => Phase::Plan,
            Phase::Verify => Phase::Implement,
            _ => return Ok(()),
        };
        let has_evidence = |record: &PhaseRecord| {
            record.phase() == before && record.evidence.iter().any(|blob| blob.size > 0)
        };
        if self.phases.last().is_some_and(has_evidence) {
            return Ok(());
        }
        let (name, missing) = (phase.as_str_name(), before.as_str_name());
        tracing::info_span!(
            "violation",
            otel.name = span::PROCESS_VIOLATION,
            { attribute::ERROR_TYPE } = Code::EvidenceMissing.name()
        );
        let message = format!("{name} cannot begin: {missing} has left no evidence");
        Err(Stop::failed(Code::EvidenceMissing, message).with("phase", name).with("missing", missing))
    }

    /// Records a phase that is over, with its evidence.
    pub(super) fn phase(
        &mut self,
        phase: Phase,
        evidence: Vec<Blob>,
        summary: &str,
        took: Duration,
    ) -> Step<()> {
        self.begin(phase)?;
        self.phases.push(PhaseRecord {
            phase: phase as i32,
            iteration: 1,
            evidence,
            summary: brief(summary, 200),
            duration_ms: millis(took),
        });
        Ok(())
    }

    /// Keeps what was asked and answered: texts in the store, digests in the record. A call that costs money is an
    /// event at once, whatever becomes of the work; an answer out of the recipe is told with the end of the work.
    pub(super) async fn calls(&mut self, job: &Job<'_>, calls: &[CallRecord]) -> Step<()> {
        for call in calls {
            job.store("prompt.json", call.prompt.as_bytes()).await?;
            if let Some(answer) = &call.answer {
                job.store("answer.txt", answer.as_bytes()).await?;
            }
            let record = record(call);
            self.asked.push(record.clone());
            if call.provider == RECIPE {
                self.calls.push(record);
            } else {
                job.journal.note(ModelCalled { task: Some(job.task.clone()), call: Some(record) }).await?;
            }
        }
        Ok(())
    }
}

impl Job<'_> {
    /// Stores bytes. A store that does not answer is waited for, for as long as the work may go on: that it
    /// is away says nothing about the change. A blob that is too large is the change's fault.
    pub(super) async fn store(&self, name: &str, bytes: &[u8]) -> Step<Blob> {
        let context = self.context();
        let mut backoff = self.backoff();
        loop {
            match context.blobs.put_named(name, media_type(name), bytes).await {
                Ok(blob) => return Ok(blob),
                Err(error @ BlobError::TooLarge { .. }) => {
                    return Err(Stop::caused(
                        Code::EvidenceInvalid,
                        format!("`{name}` is too large"),
                        &error,
                    ));
                }
                Err(error) => {
                    let what = format!("`{name}` could not be stored");
                    self.wait_out(error.into(), what, backoff.pause()).await?;
                }
            }
        }
    }

    /// Reads a blob that an order names. A store that does not answer is waited for.
    pub(super) async fn load(&self, blob: &Blob) -> Step<Vec<u8>> {
        let context = self.context();
        let mut backoff = self.backoff();
        loop {
            match context.blobs.get(&blob.sha256).await {
                Ok(Some(bytes)) => return Ok(bytes),
                Ok(None) => {
                    let message = format!("`{}` ({}) is not in the store", blob.name, blob.sha256);
                    return Err(Stop::failed(Code::EvidenceMissing, message));
                }
                Err(error @ (BlobError::Damaged { .. } | BlobError::NotADigest(_))) => {
                    let message = format!("`{}` is not what its digest names", blob.name);
                    return Err(Stop::caused(Code::SpecChecksumMismatch, message, &error));
                }
                Err(error) => {
                    let what = format!("`{}` could not be read", blob.name);
                    self.wait_out(error.into(), what, backoff.pause()).await?;
                }
            }
        }
    }

    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(FIRST_PAUSE, LONGEST_PAUSE, self.now().as_micros().cast_unsigned())
    }

    /// Waits a while for NATS, unless the work is told to end meanwhile: by its lease that runs out, its
    /// limit, or a stop. What NATS refuses for good is a failure.
    pub(super) async fn wait_out(&self, fault: Fault, what: String, pause: Duration) -> Step<()> {
        if !fault.waits {
            return Err(Stop::caused(Code::Internal, what, &fault));
        }
        tracing::warn!(%fault, "{what}; trying again");
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Stop::Cancelled),
            () = self.context().clock.sleep(pause) => Ok(()),
        }
    }
}

fn record(call: &CallRecord) -> ModelCallRecord {
    let verdict = match call.verdict {
        Verdict::Accepted => "accepted",
        Verdict::ContractViolated => "contract_violated",
        Verdict::Failed => "failed",
    };
    ModelCallRecord {
        role: call.role.name().to_owned(),
        provider: call.provider.clone(),
        model: call.model.clone(),
        prompt_sha256: call.prompt_sha256.clone(),
        answer_sha256: call.answer_sha256.clone().unwrap_or_default(),
        input_tokens: call.usage.input,
        output_tokens: call.usage.output,
        cost_micro_usd: call.cost_micro_usd,
        verdict: verdict.to_owned(),
        repaired: call.repaired,
        contract_errors: call.contract_errors.iter().map(|error| brief(&error.to_string(), 500)).collect(),
        duration_ms: millis(call.duration),
        cached_input_tokens: call.usage.cached_input,
        cache_write_tokens: call.usage.cache_write,
        reasoning_tokens: call.usage.reasoning,
        candidates: call.candidates.iter().map(candidate).collect(),
        policy: call.policy.name().to_owned(),
        crew_sha256: call.crew_sha256.clone(),
        prompt: call.origin.prompt.clone(),
        prompt_version: call.origin.prompt_version.clone(),
        artifact_sha256: call.origin.artifact_sha256.clone(),
        persona_sha256: call.origin.persona_sha256.clone(),
        variant: call.origin.variant.clone(),
        requests: call.requests,
        downgraded: call.downgraded,
        finish: call.finish.clone(),
        request_id: call.request_id.clone(),
        phase: prompts::phase_of(&call.origin.prompt) as i32,
        ..ModelCallRecord::default()
    }
}

fn candidate(considered: &Considered) -> ModelCandidate {
    ModelCandidate {
        name: considered.name.clone(),
        provider: considered.provider.clone(),
        dropped: brief(&considered.dropped, 300),
    }
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("json") => "application/json",
        Some("patch") => "text/x-diff",
        Some("bundle") => "application/x-git-bundle",
        _ => "text/plain; charset=utf-8",
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn evidence(size: u64) -> Vec<Blob> {
        vec![Blob { name: "plan.json".to_owned(), size, ..Blob::default() }]
    }

    fn refused(step: Step<()>) -> (Option<Code>, String) {
        match step {
            Err(Stop::Failed(failure)) => (failure.known_code(), failure.message.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// S4-VER1: from the specification straight to the implementation.
    #[test]
    fn s4_ver1_a_phase_that_is_skipped_is_refused() {
        let mut gathered = Gathered::default();
        let message = "PHASE_IMPLEMENT cannot begin: PHASE_PLAN has left no evidence".to_owned();
        let skipped = (Some(Code::EvidenceMissing), message);
        assert_eq!(refused(gathered.begin(Phase::Implement)), skipped);
        assert_eq!(
            refused(gathered.phase(Phase::Implement, evidence(2), "", Duration::ZERO)),
            skipped,
            "nor is it recorded"
        );
        assert!(gathered.phases.is_empty());
        // A phase without evidence opens nothing; nor does one before the last.
        gathered.phase(Phase::Plan, evidence(0), "", Duration::ZERO).unwrap();
        assert_eq!(refused(gathered.begin(Phase::Implement)), skipped);
        gathered.phase(Phase::Plan, evidence(2), "", Duration::ZERO).unwrap();
        refused(gathered.begin(Phase::Verify));
        gathered.phase(Phase::Implement, evidence(2), "", Duration::ZERO).unwrap();
        gathered.phase(Phase::Verify, evidence(2), "", Duration::ZERO).unwrap();
    }
}
