//! The rows of the answers.

use millrace_decider::Timestamp;
use serde::Serialize;

use super::time_text;
use crate::fold::Status;

/// A task: its present run, and what all its runs cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskRow {
    /// Task id.
    pub task: String,
    /// Status.
    pub status: Status,
    /// Stage: how far it has come; empty when nothing has begun.
    pub stage: String,
    /// Present run and attempt; attempt 0: none yet.
    pub run: u32,
    /// See `run`.
    pub attempt: u32,
    /// Repository id.
    pub repository: String,
    /// Release target.
    pub target: String,
    /// Title of the newest spec.
    pub title: String,
    /// Domain of the newest spec.
    pub domain: String,
    /// Path of the newest spec in its repository.
    pub spec_path: String,
    /// Newest registered version.
    pub latest_spec_version: u32,
    /// Version that the present run is locked to; 0: none.
    pub spec_version: u32,
    /// Checksum that the present run is locked to.
    pub spec_checksum: String,
    /// Commit that the present run started from.
    pub base_commit: String,
    /// Whom it waits for: empty, `approval` or `resume`.
    pub waiting: String,
    /// Why it is blocked, waits or was cancelled.
    pub reason: String,
    /// How the run ended: empty, `success`, `failed`, `cancelled`, `timeout`.
    pub outcome: String,
    /// Why it failed or is blocked: code, class, stage and sentence; empty for none.
    pub failure_code: String,
    /// See `failure_code`.
    pub failure_class: String,
    /// See `failure_code`.
    pub failure_stage: String,
    /// See `failure_code`.
    pub failure_message: String,
    /// Worker of the present run.
    pub worker: String,
    /// What was changed, in a sentence.
    pub summary: String,
    /// Risk as the planner saw it.
    pub risk_level: String,
    /// Verdict of the validator: empty, `passed`, `failed`.
    pub verdict: String,
    /// Pull request; 0: none.
    pub pull_request: u64,
    /// Where to look at it.
    pub pull_request_url: String,
    /// Head of the change, its branch, and the branch it is for.
    pub head: String,
    /// See `head`.
    pub head_branch: String,
    /// See `head`.
    pub base_branch: String,
    /// Commit of the merge.
    pub merge_commit: String,
    /// Commit that the target reported.
    pub release_commit: String,
    /// Where the release answers.
    pub release_url: String,
    /// When anything about it was first heard.
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub created_at: Option<Timestamp>,
    /// Its last event; the end of its run once that is over.
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub updated_at: Option<Timestamp>,
    /// Times of the present run: scheduled, claimed by a worker, executed, finished.
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub scheduled_at: Option<Timestamp>,
    /// See `scheduled_at`.
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub claimed_at: Option<Timestamp>,
    /// See `scheduled_at`.
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub executed_at: Option<Timestamp>,
    /// See `scheduled_at`.
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub finished_at: Option<Timestamp>,
    /// Milliseconds from scheduled to claimed, and from claimed to executed (S0-4.10a).
    pub time_to_claim_ms: Option<u64>,
    /// See `time_to_claim_ms`.
    pub time_to_execute_ms: Option<u64>,
    /// Model calls of all runs: how many, their tokens, their cost in millionths of a US dollar.
    pub model_calls: u64,
    /// See `model_calls`.
    pub input_tokens: u64,
    /// See `model_calls`.
    pub output_tokens: u64,
    /// See `model_calls`.
    pub cost_micro_usd: u64,
}

/// A version of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "named and described as in the event SpecRegistered")]
pub struct SpecRow {
    pub task: String,
    pub version: u32,
    pub checksum: String,
    pub repository: String,
    pub path: String,
    pub commit: String,
    /// `git`, `intake`, `ledger` or `manual`.
    pub source: String,
    pub submitted_by: String,
    pub submission: String,
    pub title: String,
    pub summary: String,
    pub format: String,
    pub domain: String,
    pub target: String,
    /// `ready`, `draft` or `done`.
    pub readiness: String,
    pub acceptance_criteria: u32,
    pub warnings: u32,
    /// Address of the bytes in the content-addressed store, and their number.
    pub spec_sha256: String,
    pub spec_size: u64,
    pub plan_sha256: String,
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub registered_at: Option<Timestamp>,
}

/// A work order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkOrderRow {
    /// `<task>/<run>.<attempt>/<kind>/<round>`.
    pub id: String,
    /// Its task, run and attempt.
    pub task: String,
    /// See `task`.
    pub run: u32,
    /// See `task`.
    pub attempt: u32,
    /// `change` or `check`.
    pub kind: String,
    /// `offered`, `acknowledged`, `expired`, or how it ended: `completed`, `failed`, `suspended`, `passed`,
    /// `not_passed`.
    pub state: String,
    /// How often it was offered.
    pub tries: u32,
    /// Who holds or held it, and with which fencing token.
    pub worker: String,
    /// See `worker`.
    pub fencing_token: u64,
    /// Code of the failure or expiry.
    pub code: String,
    /// First offered; to be acknowledged by; acknowledged; ended.
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub issued_at: Option<Timestamp>,
    /// See `issued_at`.
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub acknowledge_by: Option<Timestamp>,
    /// See `issued_at`.
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub acknowledged_at: Option<Timestamp>,
    /// See `issued_at`.
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub ended_at: Option<Timestamp>,
}

/// A phase of an attempt that was completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "named and described as in the message PhaseRecord")]
pub struct PhaseRow {
    pub run: u32,
    pub attempt: u32,
    pub phase: String,
    pub iteration: u32,
    pub duration_ms: u64,
    pub summary: String,
    /// Array of `{name, sha256, size}`.
    pub evidence: serde_json::Value,
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub completed_at: Option<Timestamp>,
}

/// A failure, from whichever log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "named and described as in the message Failure")]
pub struct FailureRow {
    /// The event that tells it.
    pub stream: String,
    pub sequence: u64,
    pub log: String,
    pub event: String,
    pub task: String,
    pub run: u32,
    pub attempt: u32,
    pub repository: String,
    pub code: String,
    /// `refused`, `transient`, `poison` or `bug`.
    pub class: String,
    pub stage: String,
    pub source: String,
    pub message: String,
    /// Array of texts, outermost first.
    pub causes: serde_json::Value,
    /// Object of texts.
    pub context: serde_json::Value,
    pub trace_id: String,
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub time: Option<Timestamp>,
}

/// What like failures have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "named and described as in the event InsightPublished")]
pub struct InsightRow {
    pub group: String,
    pub code: String,
    pub stage: String,
    pub domain: String,
    pub model: String,
    pub prompt_version: String,
    pub count: u64,
    pub recent: u64,
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub first_seen: Option<Timestamp>,
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub last_seen: Option<Timestamp>,
    /// Array of task ids.
    pub tasks: Vec<String>,
    pub trend: String,
    pub advice: String,
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub published_at: Option<Timestamp>,
}

/// A message that a service could not handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "named and described as in the event DeadLettered")]
pub struct DeadLetterRow {
    pub stream: String,
    pub sequence: u64,
    pub service: String,
    pub subject: String,
    pub code: String,
    pub message: String,
    pub attempts: u32,
    /// When it was given up the last time.
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub time: Option<Timestamp>,
    /// How often it was given up: once, and once for each replay that failed.
    pub failures: u32,
    /// How often it was read again.
    pub replays: u32,
    /// When a person asked for it to be read again, and who.
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub replay_requested_at: Option<Timestamp>,
    pub replay_requested_by: String,
    /// Sequence of the last request in the log `operator`; 0 for none.
    pub requested: u64,
    /// Sequence of the last request that was answered; 0 for none.
    pub answered: u64,
    /// When it was handled after all.
    #[serde(serialize_with = "time_text::maybe::serialize")]
    pub handled_at: Option<Timestamp>,
}
