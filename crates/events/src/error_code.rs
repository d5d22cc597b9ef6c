//! What every error code means: its class, where it leaves the task, whether an attempt may be repeated,
//! and what to do about it. One table; `docs/errors/` has a page each. DESIGN section 6.

use crate::generated::v1::ErrorCode;

/// Whose fault it is, and so what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A rule said no. Only a changed input helps.
    Refused,
    /// The world failed. Trying again may help.
    Transient,
    /// The input itself cannot be handled, however often it is tried.
    Poison,
    /// A fault of Millrace.
    Bug,
}

impl Class {
    /// The name: `refused`, `transient`, `poison`, `bug`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Transient => "transient",
            Self::Poison => "poison",
            Self::Bug => "bug",
        }
    }
}

/// Where a failure leaves its task when nothing further is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusOnFailure {
    /// The run is over.
    Failed,
    /// A person can unblock it.
    Blocked,
    /// The run is over because somebody asked for it.
    Cancelled,
    /// The task stays as it is; the failure is recorded beside it.
    Unchanged,
}

macro_rules! codes {
    ($($code:ident $name:literal $class:ident $status:ident $retryable:literal $advice:literal)+) => {
        /// The closed list. There is no code for "unknown".
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = concat!("`", $name, "`: ", $advice)] $code),+
        }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$code),+];

            /// The name, such as `CHECKS_FAILED`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => $name),+ }
            }

            /// Whose fault it is.
            pub const fn class(self) -> Class {
                match self { $(Self::$code => Class::$class),+ }
            }

            /// Where it leaves the task.
            pub const fn status(self) -> StatusOnFailure {
                match self { $(Self::$code => StatusOnFailure::$status),+ }
            }

            /// Whether a new attempt of the same run may be made by itself.
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$code => $retryable),+ }
            }

            /// What to do, in a sentence or two.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$code => $advice),+ }
            }

            /// The value on the wire.
            pub const fn to_wire(self) -> ErrorCode {
                match self { $(Self::$code => ErrorCode::$code),+ }
            }

            /// From the value on the wire; `None` for its absence and for what a later version added.
            pub fn from_wire(value: i32) -> Option<Self> {
                match ErrorCode::try_from(value).ok()? {
                    ErrorCode::Unspecified => None,
                    $(ErrorCode::$code => Some(Self::$code)),+
                }
            }

            /// The code of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$code),)+ _ => None }
            }
        }
    };
}

codes! {
    SpecNotFound "SPEC_NOT_FOUND" Refused Failed false "Add the spec under the repository's specs path (the file name starts with the task id) or register it with `millrace spec register FILE`."
    SpecInvalid "SPEC_INVALID" Refused Failed false "Run `millrace spec lint FILE`, mend every error it lists, and commit; the new version starts a new run by itself."
    SpecIdConflict "SPEC_ID_CONFLICT" Refused Unchanged false "Two specs claim one task id. Give the later one an id of its own; the first keeps it."
    SpecTemplateUnfilled "SPEC_TEMPLATE_UNFILLED" Refused Failed false "The file is still a template. Replace the placeholders it names and commit."
    SpecChecksumMismatch "SPEC_CHECKSUM_MISMATCH" Poison Failed false "The stored bytes are not the registered ones. Run `millrace ledger verify`, then register the spec again."
    SpecLocked "SPEC_LOCKED" Refused Unchanged false "A run holds this version of the spec. The change is kept as a new version for the next run."
    TaskIdInvalid "TASK_ID_INVALID" Refused Failed false "Use a prefix, a dash and 4 or more digits, such as VTID-01213."
    PolicyDenied "POLICY_DENIED" Refused Failed false "A policy forbids it. The failure names the rule; change the spec, or ask for an override."
    ApprovalDenied "APPROVAL_DENIED" Refused Failed false "A person said no; the reason stands in the failure. Change the spec and retry."
    ApprovalExpired "APPROVAL_EXPIRED" Refused Failed false "Nobody answered in time. Retry the task and approve it."
    DispatchExhausted "DISPATCH_EXHAUSTED" Transient Blocked false "No worker took the work order. See that workers run (`millrace health`), then `millrace task retry`."
    LeaseLost "LEASE_LOST" Transient Blocked true "The worker fell silent. Look at its log and its machine; a new attempt is made by itself."
    ExecutionTimeout "EXECUTION_TIMEOUT" Transient Failed false "The work took longer than its limit. Make the spec smaller, or raise `limits.execution`."
    ContractViolation "CONTRACT_VIOLATION" Refused Blocked false "The answers did not fit their schema, re-prompts included. The failure lists what was wrong; mend the plan or the prompt, then retry."
    ModelUnavailable "MODEL_UNAVAILABLE" Transient Blocked true "No candidate of the role answered. See the provider's status and the crew file."
    ModelRateLimited "MODEL_RATE_LIMITED" Transient Blocked true "The provider asks to slow down. Wait, or add a candidate to the role."
    ModelQuotaExhausted "MODEL_QUOTA_EXHAUSTED" Refused Blocked false "The provider's quota is spent. Raise it, then retry."
    ModelRefused "MODEL_REFUSED" Refused Blocked false "The model declined, or the spec has no plan while only plans in specs are configured. The failure says which; change the spec, then retry."
    BudgetExceeded "BUDGET_EXCEEDED" Refused Blocked false "The task's budget is spent. Raise the budget or make the spec smaller, then retry."
    ToolOutOfPhase "TOOL_OUT_OF_PHASE" Refused Blocked true "A tool was called in a phase that does not allow it."
    ToolNotAllowed "TOOL_NOT_ALLOWED" Refused Blocked true "A tool was called that this role may not use."
    SandboxUnavailable "SANDBOX_UNAVAILABLE" Transient Blocked true "The worker cannot build its sandbox and never runs bare. Run `millrace doctor` on its machine."
    SandboxViolation "SANDBOX_VIOLATION" Refused Failed false "A command went beyond its limits. The failure names the limit; change the plan, then retry."
    CommandFailed "COMMAND_FAILED" Refused Failed true "A command of the change failed. Its output is in the evidence; mend the plan, then retry."
    PromptDrift "PROMPT_DRIFT" Refused Blocked false "A prompt is not its baseline. Reset the baseline if the change was meant."
    EvidenceMissing "EVIDENCE_MISSING" Refused Failed true "An artifact that must be there is not. The failure names it."
    EvidenceEmpty "EVIDENCE_EMPTY" Refused Failed true "An artifact has no content. The failure names it."
    EvidenceInvalid "EVIDENCE_INVALID" Refused Failed true "An artifact is not what it should be. The failure says where."
    EvidenceStale "EVIDENCE_STALE" Refused Failed true "An artifact belongs to an earlier iteration."
    PrNotCreated "PR_NOT_CREATED" Transient Failed true "The forge never showed the pull request. See the forge's state and the deployer's log."
    PrNotFound "PR_NOT_FOUND" Refused Failed false "The pull request is gone. Somebody deleted it; retry the task to open a new one."
    PrClosed "PR_CLOSED" Refused Failed false "Somebody closed the pull request. Retry the task to open a new one."
    PrHeadMoved "PR_HEAD_MOVED" Refused Failed false "Somebody pushed to the task's branch. Only what was checked is merged; retry the task."
    ChecksFailed "CHECKS_FAILED" Refused Failed false "A check failed on the pull request. Its output is in the evidence; mend the spec or plan, then retry."
    ChecksTimeout "CHECKS_TIMEOUT" Transient Failed true "The checks did not finish in time. See the checking worker, or raise `limits.checks_wait`."
    ImageNotFound "IMAGE_NOT_FOUND" Transient Failed true "The registry has no image for the commit. See the repository's own CI."
    ValidationTimeout "VALIDATION_TIMEOUT" Transient Failed true "The validation took longer than its limit. See the forge and the evidence store."
    MergeConflict "MERGE_CONFLICT" Refused Failed true "The change does not merge into its base. A new attempt starts from the present base."
    DeploymentTimeout "DEPLOYMENT_TIMEOUT" Transient Failed false "The target did not report the commit in time and was rolled back. See the release's log."
    DeploymentFailed "DEPLOYMENT_FAILED" Refused Failed false "The release did not start and was rolled back. Its log stands in the failure."
    ReleaseShaMismatch "RELEASE_SHA_MISMATCH" Refused Failed false "The target reports another commit than the one released; it was rolled back. See how the application learns its commit (MILLRACE_COMMIT)."
    HealthCheckFailed "HEALTH_CHECK_FAILED" Refused Failed false "The release did not become healthy and was rolled back. See its log."
    RollbackFailed "ROLLBACK_FAILED" Transient Failed false "The previous release could not be restored: the target needs a person now."
    StateMismatch "STATE_MISMATCH" Refused Unchanged false "Something was asked for that this state does not allow. `millrace task why` says what stands."
    LedgerRegressed "LEDGER_REGRESSED" Bug Unchanged false "A log has lost events that the ledger knows. `millrace ledger reseed --dry-run` says which, `millrace ledger reseed` writes them back."
    SecretDetected "SECRET_DETECTED" Refused Failed false "A secret stands in what was handed in. Take it out, revoke it, and submit again."
    Cancelled "CANCELLED" Refused Cancelled false "Somebody cancelled it. `millrace task retry` starts a new run."
    Internal "INTERNAL" Bug Failed true "A fault of Millrace. Report it with the cause chain and the trace id."
    PrBaseMoved "PR_BASE_MOVED" Transient Failed false "The base branch kept moving while the checks ran. Retry when it is quieter."
    RepositoryUnavailable "REPOSITORY_UNAVAILABLE" Transient Failed true "The repository is not configured or cannot be read. See its id, URL, branch and access in the configuration."
    ForgeUnavailable "FORGE_UNAVAILABLE" Transient Failed true "The forge does not answer. See its state and the deployer's log."
    EventInvalid "EVENT_INVALID" Poison Unchanged false "An event cannot be read. Mend what wrote it and send it anew, or mend the service that cannot read it, then `millrace dead-letter replay`."
    LogDiffers "LOG_DIFFERS" Refused Unchanged false "A stream or consumer is not as declared. Find out who changed it, then run `millrace bootstrap --update`."
    ModelKeyRejected "MODEL_KEY_REJECTED" Refused Blocked false "The provider rejects the key of a model. See the key's variable or file in the crew file, then retry."
    ModelRequestInvalid "MODEL_REQUEST_INVALID" Bug Blocked false "A provider does not accept what it was sent. The failure holds its words; see the model's entry in the crew file, then report it."
    ModelContextExceeded "MODEL_CONTEXT_EXCEEDED" Refused Blocked false "What must be asked is longer than the model can read. Make the spec smaller, or name a model with a larger window under `fallbacks.on_context_window`."
    ModelsSwitchedOff "MODELS_SWITCHED_OFF" Refused Blocked false "Somebody has switched all model calls off. `millrace models on` switches them on again; then retry."
    IterationsExceeded "ITERATIONS_EXCEEDED" Refused Blocked false "The model used up its turns without an end. The timeline shows what it did; make the spec smaller, or raise the phase's limit."
    FormatErrorsExceeded "FORMAT_ERRORS_EXCEEDED" Refused Blocked false "One answer after the other was no tool call that could be read. See the last ones in the evidence; another model may do better."
    AgentRepeats "AGENT_REPEATS" Refused Blocked true "The model made the same call again and again with the same result."
    AgentAlternates "AGENT_ALTERNATES" Refused Blocked true "The model went back and forth between two calls without an effect."
    AgentMonologue "AGENT_MONOLOGUE" Refused Blocked true "The model talked to itself and called no tool."
    PlanUngrounded "PLAN_UNGROUNDED" Refused Blocked true "The plan names files or symbols that are not in the repository. The failure lists them."
    ProfileMissing "PROFILE_MISSING" Refused Blocked false "The repository has no usable profile: neither its own files nor `.millrace.toml` say how it is built and tested. `millrace repo profile` shows what was found."
    SetupFailed "SETUP_FAILED" Refused Failed true "The repository's dependencies could not be set up. The output of the setup step is in the evidence."
    ReviewRejected "REVIEW_REJECTED" Refused Failed true "The review stayed below its thresholds after every round. Its rubric is in the evidence."
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn s1_gap6_2_the_list_is_closed_and_complete() {
        // Every value of the wire but its absence has a row, and none is called unknown.
        for value in 1..=i32::try_from(Code::ALL.len()).unwrap() {
            let code = Code::from_wire(value).unwrap();
            assert_eq!(code.to_wire() as i32, value);
            assert_eq!(code.to_wire().as_str_name(), format!("ERROR_CODE_{}", code.name()));
            assert_eq!(Code::from_name(code.name()), Some(code));
            assert!(!code.name().contains("UNKNOWN"));
            assert!(code.advice().ends_with('.') && code.advice().len() > 20, "{}", code.name());
        }
        assert_eq!(Code::from_wire(0), None);
        assert_eq!(Code::from_wire(i32::try_from(Code::ALL.len()).unwrap() + 1), None);
    }

    #[test]
    fn s1_gap6_4_the_code_decides_about_a_retry() {
        assert!(Code::LeaseLost.is_retryable());
        for code in Code::ALL {
            if matches!(code.class(), Class::Poison) {
                assert!(!code.is_retryable(), "{} is retried although it cannot get better", code.name());
            }
        }
        for refused in [Code::SpecNotFound, Code::ContractViolation, Code::ChecksFailed, Code::Cancelled] {
            assert!(!refused.is_retryable(), "{}", refused.name());
        }
    }
}
